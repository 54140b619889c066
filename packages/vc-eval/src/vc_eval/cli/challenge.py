"""`vc-eval baseline`, `prep` and `score`: files of the challenges."""

import sys
from dataclasses import replace

from vc_contracts.command import print_json

from vc_eval.cli import options
from vc_eval.errors import VcEvalError


def baseline(command: options.Baseline) -> None:
    """`vc-eval baseline`: the mean baseline as cells."""
    from vc_eval.contracts import check_target

    sources = [path for path in (command.real, command.counts) if path is not None]
    check_target(command.out, kind="cells", overwrite=command.overwrite, inputs=sources, make_parent=True)
    from vc_eval.cells import inputs
    from vc_eval.cells.settings import Settings
    from vc_eval.vcc2025 import baseline as mean_baseline

    real = inputs.open_cells(command.real)
    settings = inputs.settings_for(
        real, pert_col=command.pert_col, control=command.control, context_col=None,
        settings=Settings(allow_counts=command.allow_counts, cache=command.cache, memory_mb=command.memory_mb),
    )  # fmt: skip
    counts = None
    if command.counts is not None:
        counts = mean_baseline.read_counts(
            command.counts, pert_col=settings.pert_col, counts_col=command.counts_col, control=settings.control
        )
    n = mean_baseline.write_baseline(command.out, real, settings=settings, counts=counts, overwrite=command.overwrite)
    print(
        f"wrote {n} cells to {command.out}; score them with `vc-eval cells --real ... --pred ... --baseline {command.out}`."
    )


def prep(command: options.Prep) -> None:
    """`vc-eval prep`: the archive of a challenge."""
    from vc_eval.contracts import check_target

    sources = [path for path in (command.pred, command.genes, command.perturbations) if path is not None]
    check_target(command.out, kind="archive", overwrite=command.overwrite, inputs=sources, make_parent=True)
    if command.rule == "vcc2026":
        _prep_2026(command)
        return
    from vc_eval.vcc2025 import archive

    if command.perturbations or command.contexts:
        raise VcEvalError("prep: --perturbations and --contexts belong to --rule vcc2026.")
    config = archive.PrepConfig(
        pert_col=command.pert_col, output_pert_col=command.pert_col, control=command.control,
        celltype_col=command.celltype_col, encoding=command.encoding, allow_counts=command.allow_counts,
        expected_genes=_limit(command.expected_genes, 18_080), max_cells=_limit(command.max_cells, 200_000),
    )  # fmt: skip
    cells, notes = archive.prepare_submission(command.pred, archive.read_gene_list(command.genes), config)
    for note in notes:
        print(f"note: {note}")
    archive.write_archive(command.out, cells, overwrite=command.overwrite)
    print(f"wrote {cells.n_obs} cells x {cells.n_vars} genes to {command.out}; hand it in.")


def _limit(asked: int | None, default: int) -> int | None:
    """A number the user gave, -1 for none; or the challenge's."""
    return default if asked is None else None if asked == -1 else asked


def _prep_2026(command: options.Prep) -> None:
    from vc_eval.cells import inputs
    from vc_eval.vcc2026 import archive
    from vc_eval.vcc2026.submission import N_GENES

    if command.perturbations is None:
        raise VcEvalError(
            "prep: --rule vcc2026 needs --perturbations, the challenge's list (pert_counts.csv). For 2025: --rule vcc2025."
        )
    rules, panel = archive.read_rules(
        command.genes, command.perturbations, contexts=command.contexts, pert_col=command.pert_col,
        cells_per_perturbation=command.cells_per_perturbation, context_col=command.context_col,
        celltype_col=command.celltype_col,
    )  # fmt: skip
    rules = replace(rules, control=command.control, max_cells=_limit(command.max_cells, rules.max_cells) or sys.maxsize)
    expected = _limit(command.expected_genes, N_GENES)
    if expected is not None and len(rules.genes) != expected:
        print(f"note: the gene list has {len(rules.genes)} genes, the challenge {expected}; the list is taken.")
    pred = inputs.load_cells(command.pred)
    meta = archive.write_archive(command.out, pred, rules, panel_id=panel, overwrite=command.overwrite)
    print(
        f"wrote {meta['n_obs']} cells x {meta['n_vars']} genes of {len(meta['contexts'])} contexts to {command.out}; hand it in."
    )


def score(command: options.Score) -> None:
    """`vc-eval score`: scaled scores from two aggregate tables."""
    from vc_eval.contracts import check_target

    check_target(command.out, overwrite=command.overwrite, inputs=[command.user, command.base], make_parent=True)
    from vc_eval.cells import peer_files

    scores = peer_files.score_against_baseline(peer_files.read_mean(command.user), peer_files.read_mean(command.base))
    peer_files.write_score(command.out, scores, overwrite=command.overwrite)
    if command.json:
        print_json(dict(scores))
        return
    for name, value in scores:
        print(f"  {name:28} {value:8.4f}")
    print(f"wrote {command.out}; avg_score is the mean of the others, from baseline (0) to perfect (1).")
