"""`vc-eval cells`: predicted cells against real cells."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vc_contracts.command import print_json

from vc_eval.cli import options
from vc_eval.cli.predictions import Predictions, load_plugin, name_files
from vc_eval.cli.tables import write_page
from vc_eval.cli.text import lines, plain, records
from vc_eval.errors import VcEvalError

if TYPE_CHECKING:
    import anndata

    from vc_eval.cells.result import RuleResult
    from vc_eval.cells.settings import Settings


def cells(command: options.Cells) -> None:
    """`vc-eval cells`: read, score, write, say what was written."""
    from vc_eval.contracts import check_target
    from vc_eval.hashing import hash_beside

    if command.rule and command.profile:
        raise VcEvalError("cells: expected --rule or --profile, found both.")
    sources = [command.real, *command.pred, *([command.baseline] if command.baseline else [])]
    check_target(command.out, kind="scores", overwrite=command.overwrite, inputs=sources, make_parent=True)
    for plugin in command.plugin:
        load_plugin(plugin)
    hash_beside(sources)
    from vc_eval.cells import inputs

    rule = command.profile or command.rule or "vcc2025"
    real = inputs.open_cells(command.real)
    files = name_files(command.pred)
    results = _score_files(command, rule, real, files)
    baselines = _baselines(command, files, results)
    model = files.focus(command.model, baselines)
    if model not in files.paths:
        raise VcEvalError(f"--model: {model!r} is not among the predictions {sorted(files.paths)!r}.")
    _write(command, rule, results, files, model=model, baselines=baselines, sources=sources)


def _settings(command: options.Cells, real: "anndata.AnnData") -> "Settings":
    from vc_eval.cells import inputs
    from vc_eval.cells.settings import Settings

    given = Settings(
        seed=command.seed, n_threads=command.threads, cache=command.cache, memory_mb=command.memory_mb,
        allow_counts=command.allow_counts, progress=not command.quiet, controls=command.controls,
        options=_options(command.set),
    )  # fmt: skip
    return inputs.settings_for(
        real, pert_col=command.pert_col, control=command.control, context_col=command.context_col, settings=given
    )


def _score_files(
    command: options.Cells, rule: str, real: "anndata.AnnData", files: Predictions
) -> "dict[str, RuleResult]":
    """Results of every prediction, then of the mean baseline, then of the controls that follow from the real side."""
    from vc_eval.cells import rules
    from vc_eval.roles import MEAN_BASELINE

    settings = _settings(command, real)
    measured: Any = real
    if rule == "vcc2026":
        from vc_eval import vcc2026

        measured = vcc2026.prepare_real(real, settings=settings)
    uncontrolled = replace(settings, controls=False)  # controls depend on the real side alone: once is enough
    results: dict[str, RuleResult] = {}
    for name, path in files.paths.items():
        results[name] = rules.score_pair(path, measured, rule=rule, settings=uncontrolled if results else settings)
    controls = next(iter(results.values())).controls
    if command.baseline is not None:
        results[MEAN_BASELINE] = rules.score_pair(command.baseline, measured, rule=rule, settings=uncontrolled)
    return results | {name: result for name, result in controls.items() if name not in results}


def _baselines(command: options.Cells, files: Predictions, results: "dict[str, RuleResult]") -> list[str]:
    from vc_eval.roles import MEAN_BASELINE, REFERENCES

    own = [name for name in files.baselines(command.baselines, command.model) if name in files.paths]
    added = [name for name in results if name not in files.paths and name not in (MEAN_BASELINE, *REFERENCES)]
    return [*own, *added, *([MEAN_BASELINE] if command.baseline is not None else [])]


def _write(
    command: options.Cells, rule: str, results: "dict[str, RuleResult]", files: Predictions, *, model: str,
    baselines: list[str], sources: list[Path],
) -> None:  # fmt: skip
    """Write scores, the peer's files and the page, and print the table."""
    from vc_eval.contracts import fill_scores, write_whole
    from vc_eval.hashing import sha256_tree
    from vc_eval.stats.pair import pair_scores, summarise_pair
    from vc_eval.stats.trust import dynamic_ranges

    dataset = command.real.stem
    table = summarise_pair(results, dataset=dataset, baselines=baselines, seed=command.seed, n_boot=command.n_boot)
    scores = pair_scores(results, dataset=dataset)
    ranges = dynamic_ranges([scores])
    own = table[(table["group"] == "all") & (table["model"] == model)]
    notes = [*files.notes(command.baselines), *_result_notes(results)]
    summary = {
        "model": model,
        "scores": records(own.drop(columns=["model", "dataset", "split", "group"])),
        "dynamic_range": records(ranges),
        "notes": scores.notes | {"said": notes},
    }
    config = {"model": model, "baselines": baselines, "seed": command.seed, "n_boot": command.n_boot, "rule": rule}
    config |= {"truth": [command.real.name]}
    hashes = {path.name: sha256_tree(path) for path in sources}
    written = ["scores.parquet", "scores.json"]
    with write_whole(
        command.out, kind="scores", overwrite=command.overwrite, inputs=sources, make_parent=True
    ) as folder:
        folder.mkdir()
        fill_scores(folder, table, parents=hashes, config=config, summary=plain(summary))
        if rule != "vcc2026" and command.profile != "bio":
            written += _peer_files(folder, results, list(files.paths))
        write_page(folder, folder / "report.html")
    if command.json:
        print_json(summary)
        return
    for note in notes:
        print(note)
    print(lines(own, model, f"{rule} on {dataset}", ranges))
    print(
        f"wrote {', '.join(written)} and report.html to {command.out}; open {command.out / 'report.html'} in a browser."
    )


def _peer_files(out: Path, results: "dict[str, RuleResult]", names: list[str]) -> list[str]:
    """cell-eval's own tables, in a folder each where there are several predictions; what was written."""
    from vc_contracts.text.names import file_names

    from vc_eval.cells import peer_files

    written, part_of = [], file_names(names)
    for name in names:
        folder = out if len(names) == 1 else out / part_of[name]
        files = peer_files.write_peer_files(folder, results[name].per_perturbation)
        written += [str((folder / file).relative_to(out)) for file in files]
    return written


def _options(pairs: tuple[str, ...]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise VcEvalError(f"--set: expected NAME=VALUE, found {pair!r}.")
        try:
            given[name] = json.loads(value)
        except (json.JSONDecodeError, RecursionError, ValueError):
            given[name] = value
    return given


def _result_notes(results: "dict[str, RuleResult]") -> list[str]:
    """A line for everything a reader has to know of a result, each once."""
    from vc_eval.cells.states import notes_of

    return list(dict.fromkeys(note for name, result in results.items() for note in notes_of(name, result.provenance)))
