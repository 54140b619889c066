"""What the commands do: read, score, write, say what was written and what to do next."""

import json
import shlex
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from vc_eval.errors import VcEvalError

if TYPE_CHECKING:
    import pandas as pd

    from vc_eval.cells.rules import RuleResult
    from vc_eval.cli.main import main as cli

KNOWN_BASELINES = (
    "no_change", "mean_effect", "context_mean", "pert_mean", "cell_line_mean", "txpert_general", "additive",
    "additive_scaled", "lowrank_ridge", "linear", "nearest", "knn", "feature_ridge", "pls", "kernel_ridge", "random",
)  # fmt: skip
PAIRED = ("pearson_delta", "mse_delta", "centroid_accuracy", "vcc2025/overall")


def run(command: "cli.Run") -> None:
    """`vc-eval run`: cells against cells, or mean profiles on a split."""
    for plugin in command.plugin:
        _load_plugin(plugin)
    on_split = command.screen is not None or command.splits is not None
    if on_split and (command.screen is None or command.splits is None):
        raise VcEvalError("run: --screen and --splits go together; found one of them.")
    if on_split == (command.real is not None):
        raise VcEvalError("run: expected either --real (cells) or --screen with --splits, found both or neither.")
    if on_split and (command.rule or command.profile or command.baseline):
        raise VcEvalError("run: --rule, --profile and --baseline score cells; give --real instead of --screen.")
    if command.rule and command.profile:
        raise VcEvalError("run: expected --rule or --profile, found both.")
    (_run_split if on_split else _run_cells)(command)


def _run_cells(command: "cli.Run") -> None:
    from vc_eval.hashing import hash_beside, sha256_tree

    hash_beside([command.real, *command.pred, *([command.baseline] if command.baseline else [])])
    from vc_eval.cells import inputs, peer_files, rules
    from vc_eval.cells.pair import pair_scores, summarise_pair
    from vc_eval.contracts import write_scores
    from vc_eval.stats.summary import MEAN_BASELINE, REFERENCES
    from vc_eval.stats.trust import dynamic_ranges

    rule = command.profile or command.rule or "vcc2025"
    real = inputs.open_cells(command.real)
    settings = inputs.settings_for(
        real, pert_col=command.pert_col, control=command.control, context_col=command.context_col,
        settings=rules.Settings(
            seed=command.seed, n_threads=command.threads, cache=command.cache, memory_mb=command.memory_mb,
            allow_counts=command.allow_counts, progress=not command.quiet, controls=command.controls, options=_options(command.set),
        ),
    )  # fmt: skip
    files = _named(command.pred)
    results: dict[str, RuleResult] = {}
    measured = real
    if rule == "vcc2026":
        from vc_eval import vcc2026

        measured = vcc2026.prepare_real(real, settings=settings)
    for name, path in files.items():
        first = settings if not results else replace(settings, controls=False)  # controls depend on the real side alone
        results[name] = rules.score_pair(path, measured, rule=rule, settings=first)
    controls = next(iter(results.values())).controls
    sources = [command.real, *files.values()]
    if command.baseline is not None:
        uncontrolled = replace(settings, controls=False)
        results[MEAN_BASELINE] = rules.score_pair(command.baseline, measured, rule=rule, settings=uncontrolled)
        sources.append(command.baseline)
    added = {name: result for name, result in controls.items() if name not in results}
    results |= added
    baselines = [n for n in files if n in (command.baselines or KNOWN_BASELINES) and n != command.model]
    baselines += [name for name in added if name not in REFERENCES]
    baselines += [MEAN_BASELINE] * (command.baseline is not None)
    model = command.model or next((n for n in files if n not in baselines), next(iter(files)))
    if model not in files:
        raise VcEvalError(f"--model: {model!r} is not among the predictions {sorted(files)!r}.")
    dataset = command.real.stem
    table = summarise_pair(results, dataset=dataset, baselines=baselines, seed=command.seed, n_boot=command.n_boot)
    scores = pair_scores(results, dataset=dataset)
    ranges = dynamic_ranges([scores])
    hashes = {path.name: sha256_tree(path) for path in sources}
    config = {"model": model, "baselines": baselines, "seed": command.seed, "n_boot": command.n_boot, "rule": rule}
    own = table[(table["group"] == "all") & (table["model"] == model)]
    summary = {
        "model": model,
        "scores": _records(own.drop(columns=["model", "dataset", "split", "group"])),
        "dynamic_range": _records(ranges),
        "notes": scores.notes,
    }
    write_scores(command.out, table, parents=hashes, config=config, summary=_plain(summary))
    written = ["scores.parquet", "scores.json"]
    if rule != "vcc2026" and command.profile != "bio":
        for name in files:
            folder = command.out if len(files) == 1 else command.out / name
            written += [str((folder / f).relative_to(command.out)) for f in peer_files.write_peer_files(folder, results[name].per_perturbation)]  # fmt: skip
    _write_page(command.out, command.out / "report.html")
    for note in _scale_notes(results):
        print(note)
    print(_lines(own, model, f"{rule} on {dataset}", ranges))
    print(
        f"wrote {', '.join(written)} and report.html to {command.out}; open {command.out / 'report.html'} in a browser."
    )


def _named(paths: tuple[Path, ...]) -> dict[str, Path]:
    """Predictions by model: what a contract says, else the file's name."""
    from vc_eval.cells.inputs import open_cells

    files: dict[str, Path] = {}
    for path in paths:
        uns = open_cells(path).uns
        name = str(uns["model"]) if "contract" in uns and "model" in uns else path.stem
        if name in files:
            raise VcEvalError(f"--pred: {str(files[name])!r} and {str(path)!r} are both named {name!r}. Rename one.")
        files[name] = path
    return files


def _options(pairs: tuple[str, ...]) -> dict:
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise VcEvalError(f"--set: expected NAME=VALUE, found {pair!r}.")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    return options


def _load_plugin(path: Path) -> None:
    """Run a Python file for what it registers."""
    import runpy

    if not path.is_file():
        raise VcEvalError(f"--plugin: no file {str(path)!r}.")
    try:
        runpy.run_path(str(path))
    except VcEvalError:
        raise
    except Exception as error:
        raise VcEvalError(f"--plugin {str(path)!r}: {type(error).__name__}: {error}.") from error


OTHER_DEPTH = 1.25  # control cells of one experiment differ by less


def _scale_notes(results: "dict[str, RuleResult]") -> list[str]:
    """One line for every side that was not taken as it was, and for sides that do not go together."""
    notes = []
    for model, result in results.items():
        for context, sides in result.provenance.get("scale", {}).items():
            for side, scale in sides.items():
                if isinstance(scale, dict) and scale.get("target_sum") is not None:
                    where = f"{model}, {side}" + (f", {context}" if context != "all" else "")
                    notes.append(
                        f"note: {where}: whole counts, scaled to {scale['target_sum']:g} per cell (their median) and log1p."
                    )
            depths = [scale["control_depth"] for scale in sides.values() if "control_depth" in scale]
            if len(depths) == 2 and max(depths) > OTHER_DEPTH * min(depths):
                notes.append(
                    f"note: {model}: a control cell holds about {depths[1]:,.0f} counts, one of the real file "
                    f"{depths[0]:,.0f}: the two were scaled to different depths, which counts as error. Scale both alike."
                )
        if result.provenance.get("genes_reordered"):
            notes.append(f"note: {model}: genes in another order than the real file's; matched by name.")
    return list(dict.fromkeys(notes))


def _run_split(command: "cli.Run") -> None:
    from vc_eval.contracts import read_predictions, write_scores
    from vc_eval.hashing import sha256_tree
    from vc_eval.report.page import write_report
    from vc_eval.split.controls import NO_CHANGE
    from vc_eval.split.score import score_split
    from vc_eval.stats.summary import MEAN_BASELINE, paired_differences, summarise, undefined_counts
    from vc_eval.stats.trust import dynamic_ranges

    files: dict[str, Path] = {}
    loaded = {}
    for path in command.pred:
        adata = read_predictions(path)
        name = adata.uns["model"]
        if name in files:
            raise VcEvalError(
                f"--pred: {str(files[name])!r} and {str(path)!r} both say their model is {name!r}; expected different "
                "names. Write one of them under another name."
            )
        files[name], loaded[name] = path, adata
    baselines = list(command.baselines) or [n for n in files if n in KNOWN_BASELINES and n != command.model]
    unknown = [
        name
        for name in [*baselines, *([command.model] if command.model else [])]
        if name not in {*files, MEAN_BASELINE, NO_CHANGE}
    ]
    if unknown:
        raise VcEvalError(
            f"--model/--baselines: {unknown!r} not among the predictions {sorted(files)!r}. Add their files."
        )
    baselines += [name for name in (NO_CHANGE, MEAN_BASELINE) if name not in baselines]
    model = command.model or next((n for n in files if n not in baselines), next(iter(files)))
    scores = score_split(
        command.screen, command.splits, loaded, seed=command.seed, n_ceiling=command.n_ceiling,
        n_ceiling_des=command.n_ceiling_des, n_threads=command.threads, progress=not command.quiet,
    )  # fmt: skip
    table = summarise([scores], baselines=baselines, seed=command.seed, n_boot=command.n_boot)
    ranges = dynamic_ranges([scores])
    sources = [command.screen, command.splits, *files.values()]
    hashes = {path.name: sha256_tree(path) for path in sources}
    config = {
        "model": model, "baselines": baselines, "seed": command.seed, "n_boot": command.n_boot,
        "n_ceiling": command.n_ceiling, "n_ceiling_des": command.n_ceiling_des,
    }  # fmt: skip
    headline = table[(table["group"] == "all") & (table["model"] == model)]
    paired = paired_differences(
        [scores], models=[model], baselines=[b for b in baselines if b != model], metrics=list(PAIRED),
        seed=command.seed, n_boot=command.n_boot,
    )  # fmt: skip
    summary = {
        "model": model,
        "scores": _records(headline.drop(columns=["model", "dataset", "split", "group"])),
        "paired": _records(paired.drop(columns=["model", "dataset", "split"])),
        "undefined": undefined_counts([scores]),
        "dynamic_range": _records(ranges),
        "notes": scores.notes,
    }
    write_scores(command.out, table, parents=hashes, config=config, summary=summary)
    names = " ".join(path.name for path in files.values())
    shown = f"vc-eval run --screen {command.screen.name} --splits {command.splits.name} --pred {names} --out {command.out.name}"
    extra = shlex.join(
        ["--model", model, "--baselines", *baselines, "--seed", str(command.seed), "--n-boot", str(command.n_boot)]
    )
    write_report(
        command.out / "report.html", summary=table, splits_scores=[scores],
        meta=config | {"command": f"{shown} {extra}", "hashes": hashes, "versions": {n: version(n) for n in ("scipy", "numba", "anndata")}},
    )  # fmt: skip
    print(_headline(headline, model, ranges))
    print(
        f"wrote scores.parquet, scores.json and report.html to {command.out}; open {command.out / 'report.html'} in a browser."
    )


def baseline(command: "cli.Baseline") -> None:
    """`vc-eval baseline`: the mean baseline as cells."""
    from vc_eval.cells import inputs, rules
    from vc_eval.vcc2025 import baseline as mean_baseline

    real = inputs.open_cells(command.real)
    settings = inputs.settings_for(
        real, pert_col=command.pert_col, control=command.control, context_col=None,
        settings=rules.Settings(allow_counts=command.allow_counts, cache=command.cache, memory_mb=command.memory_mb),
    )  # fmt: skip
    counts = None
    if command.counts is not None:
        counts = mean_baseline.read_counts(
            command.counts, pert_col=settings.pert_col, counts_col=command.counts_col, control=settings.control
        )
    command.out.parent.mkdir(parents=True, exist_ok=True)
    n = mean_baseline.write_baseline(command.out, real, settings=settings, counts=counts)
    print(
        f"wrote {n} cells to {command.out}; score them with `vc-eval run --real ... --pred ... --baseline {command.out}`."
    )


def prep(command: "cli.Prep") -> None:
    """`vc-eval prep`: the archive of a challenge."""
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
    command.out.parent.mkdir(parents=True, exist_ok=True)
    archive.write_archive(command.out, cells)
    print(f"wrote {cells.n_obs} cells x {cells.n_vars} genes to {command.out}; hand it in.")


def _limit(asked: int | None, default: int) -> int | None:
    """A number the user gave, -1 for none; or the challenge's."""
    return default if asked is None else None if asked == -1 else asked


def _prep_2026(command: "cli.Prep") -> None:
    from vc_eval.cells import inputs
    from vc_eval.vcc2026 import archive
    from vc_eval.vcc2026.submission import N_GENES

    if command.perturbations is None:
        raise VcEvalError("prep: --rule vcc2026 needs --perturbations, the challenge's list (pert_counts.csv).")
    rules, panel = archive.read_rules(
        command.genes, command.perturbations, contexts=command.contexts, pert_col=command.pert_col,
        cells_per_perturbation=command.cells_per_perturbation, context_col=command.context_col,
        celltype_col=command.celltype_col,
    )  # fmt: skip
    rules = replace(rules, control=command.control, max_cells=_limit(command.max_cells, rules.max_cells) or sys.maxsize)
    expected = _limit(command.expected_genes, N_GENES)
    if expected is not None and len(rules.genes) != expected:
        print(f"note: the gene list has {len(rules.genes)} genes, the challenge {expected}; the list is taken.")
    meta = archive.write_archive(command.out, inputs.load_cells(command.pred), rules, panel_id=panel)
    print(
        f"wrote {meta['n_obs']} cells x {meta['n_vars']} genes of {len(meta['contexts'])} contexts to {command.out}; hand it in."
    )


def score(command: "cli.Score") -> None:
    """`vc-eval score`: scaled scores from two aggregate tables."""
    from vc_eval.cells import peer_files

    scores = peer_files.score_against_baseline(peer_files.read_mean(command.user), peer_files.read_mean(command.base))
    command.out.parent.mkdir(parents=True, exist_ok=True)
    peer_files.write_score(command.out, scores)
    for name, value in scores:
        print(f"  {name:28} {value:8.4f}")
    print(f"wrote {command.out}; avg_score is the mean of the others, from baseline (0) to perfect (1).")


def compare(command: "cli.Compare") -> None:
    """`vc-eval compare`: two models, paired."""
    from vc_eval.contracts import read_scores, write_whole
    from vc_eval.stats.compare import compare_scores

    tables, models = [], []
    for k, folder in enumerate(command.folders):
        table, summary = read_scores(folder)
        tables.append(table)
        models.append(command.models[k] if command.models else str(summary.get("model", "")))
    result = compare_scores(
        *tables, first_model=models[0], second_model=models[1], metrics=list(command.metrics) or None,
        seed=command.seed, n_boot=command.n_boot,
    )  # fmt: skip
    print(
        f"{models[1]} ({command.folders[1].name}) against {models[0]} ({command.folders[0].name}); positive: {models[1]} is better"
    )
    print(
        f"  {'metric':28} {models[0][:9]:>9} {models[1][:9]:>9} {'diff':>9}  95 % interval         n  won/tied/lost   p (Holm)"
    )
    for row in result.itertuples():
        won = f"{row.wins}/{row.ties}/{row.losses}"
        print(
            f"  {row.metric:28} {row.first:9.4f} {row.second:9.4f} {row.difference:9.4f}  {row.lower:8.4f} to {row.upper:8.4f} {row.n:5} {won:>13} {row.p_holm:10.4f}"
        )
    if command.out is not None:
        with write_whole(command.out) as temporary:
            result.to_csv(temporary, index=False)
        print(f"wrote {command.out}.")


def report(command: "cli.Report") -> None:
    """`vc-eval report`: the page of a folder of scores."""
    out = command.out or command.folder / "report.html"
    _write_page(command.folder, out)
    print(f"wrote {out}; open it in a browser.")


def _write_page(folder: Path, out: Path) -> None:
    from vc_eval.contracts import read_scores
    from vc_eval.report.page import scores_from_table, write_report

    table, summary = read_scores(folder)
    header = json.loads((folder / "scores.json").read_text(encoding="utf-8"))["contract"]
    config = header.get("config", {})
    model = summary.get("model") or config.get("model")
    meta = config | {"model": model, "hashes": header.get("parents", {})}
    write_report(out, summary=table, splits_scores=scores_from_table(table, summary.get("notes", {})), meta=meta)


def list_metrics(command: "cli.List") -> None:
    """`vc-eval list`: every metric."""
    from vc_eval.metrics import REGISTRY, beat

    metrics = [*REGISTRY.values(), *(make("BASELINE") for make, _, _ in beat.FAMILIES.values())]
    families = {metric.name.split("/")[0] for metric in metrics}
    for metric in sorted(metrics, key=lambda m: m.name):
        family = metric.name.split("/")[0]
        if family == command.family or (command.family not in families and metric.name.startswith(command.family)):
            print(
                f"{metric.name}  ({metric.direction} is better, best {metric.best}, chance {metric.chance}; {metric.unit})"
            )
            target = " The perturbed gene is left out." if metric.excludes_target else ""
            print(f"    {metric.definition}{target} [{metric.reference}; version {metric.version}]")


def _records(frame: "pd.DataFrame") -> list:
    """Rows as JSON: NaN becomes null."""
    return _plain(frame.to_dict("records"))


def _plain(value: object) -> object:
    """A JSON value without NaN, infinities or paths."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return str(value) if isinstance(value, Path) else value


def _headline(rows: "pd.DataFrame", model: str, ranges: "pd.DataFrame") -> str:
    from vc_eval.metrics import HEADLINES

    wanted = rows[rows["metric"].isin(HEADLINES)].set_index("metric").loc[[*HEADLINES]].reset_index()
    return _lines(wanted, model, "all held-out conditions", ranges)


def _lines(rows: "pd.DataFrame", model: str, where: str, ranges: "pd.DataFrame") -> str:
    lines = [f"{model}, {where} (value, 95 % interval; best baseline; half the data; dynamic range):"]
    range_of = dict(zip(ranges["metric"], ranges["median"], strict=True))
    for r in rows[~rows["metric"].str.endswith(("_lower", "_upper"))].itertuples():
        numbers = [
            f"{x:9.4f}" if x == x else f"{'-':>9}"
            for x in (r.value, r.lower, r.upper, r.baseline, r.ceiling, range_of.get(r.metric, float("nan")))
        ]
        lines.append(
            f"  {r.metric:28} {numbers[0]}  {numbers[1]} to {numbers[2]}  {numbers[3]}  {numbers[4]}  {numbers[5]}"
        )
    return "\n".join(lines)
