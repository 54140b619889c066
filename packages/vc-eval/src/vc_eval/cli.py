"""Command line: `vc-eval run` scores predictions on a split, `vc-eval list` prints the metrics."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

KNOWN_BASELINES = (
    "no_change", "mean_effect", "context_mean", "pert_mean", "cell_line_mean", "txpert_general", "additive",
    "additive_scaled", "lowrank_ridge", "linear", "nearest", "knn", "feature_ridge", "pls", "kernel_ridge", "random",
)  # fmt: skip

_EXAMPLES = """
examples:
  vc-eval run --screen screen.zarr --splits split.json --pred anchored.zarr mean_effect.zarr no_change.zarr --out scores
  vc-eval run --screen screen.zarr --splits split.json --pred *.zarr --model anchored --baselines mean_effect --out scores
  vc-eval list
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Score predictions on the test conditions of a split: scores.parquet, scores.json and report.html."""

    screen: Path
    """The measured data (screen-v1, .zarr or .h5ad)."""
    splits: Path
    """What is held out (splits-v1, .json)."""
    pred: tuple[Path, ...]
    """Predictions to score (predictions-v1); model and baselines alike. Each file says its model's name."""
    out: Path
    """Folder to write; made if absent, files of an earlier run are replaced."""
    model: str | None = None
    """The model in focus; default is the first that is no baseline."""
    baselines: tuple[str, ...] = ()
    """Names of the models that are baselines; default is every well-known baseline among them."""
    seed: int = 0
    """Seed of emission, split halves and bootstrap."""
    n_boot: int = 2000
    """Bootstrap resamples of perturbations."""
    n_ceiling: int = 20
    """Split-half repeats for the ceiling."""
    n_ceiling_des: int = 3
    """Split-half repeats that also give DES."""
    quiet: bool = False
    """No progress bar."""


@dataclass(frozen=True, kw_only=True)
class List:
    """Print every metric with its definition."""

    family: str = field(default="")
    """Only names that start so, e.g. vcc2025."""


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `vc-eval`: exit code 0 when whole, 2 on refusal, 130 on Ctrl-C."""
    import tyro

    from vc_eval.errors import VcEvalError

    command = tyro.cli(
        Annotated[Run, tyro.conf.subcommand("run")] | Annotated[List, tyro.conf.subcommand("list")],
        args=arguments,
        prog="vc-eval",
        description="Scores for perturbation predictions, with baselines, ceilings and intervals." + _EXAMPLES,
    )
    try:
        (_run if isinstance(command, Run) else _list)(command)
    except (VcEvalError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("error: stopped; nothing half-written was left.", file=sys.stderr)
        sys.exit(130)


def _run(command: Run) -> None:
    import shlex
    from importlib.metadata import version

    from vc_eval.contracts import read_predictions, sha256_tree, write_scores
    from vc_eval.errors import VcEvalError
    from vc_eval.report import write_report
    from vc_eval.score import score_split
    from vc_eval.summary import MEAN_BASELINE, paired_differences, summarise, undefined_counts

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
        if name not in {*files, MEAN_BASELINE}
    ]
    if unknown:
        raise VcEvalError(
            f"--model/--baselines: {unknown!r} not among the predictions {sorted(files)!r}. Add their files."
        )
    baselines += [MEAN_BASELINE] * (MEAN_BASELINE not in baselines)
    model = command.model or next((n for n in files if n not in baselines), next(iter(files)))
    scores = score_split(
        command.screen, command.splits, loaded, seed=command.seed, n_ceiling=command.n_ceiling,
        n_ceiling_des=command.n_ceiling_des, progress=not command.quiet,
    )  # fmt: skip
    table = summarise([scores], baselines=baselines, seed=command.seed, n_boot=command.n_boot)
    sources = [command.screen, command.splits, *files.values()]
    hashes = {path.name: sha256_tree(path) for path in sources}
    config = {
        "model": model, "baselines": baselines, "seed": command.seed, "n_boot": command.n_boot,
        "n_ceiling": command.n_ceiling, "n_ceiling_des": command.n_ceiling_des,
    }  # fmt: skip
    headline = table[(table["group"] == "all") & (table["model"] == model)]
    paired = paired_differences(
        [scores], models=[model], baselines=[b for b in baselines if b != model],
        metrics=["pearson_delta", "mse_delta", "centroid_accuracy", "vcc2025/overall"], seed=command.seed, n_boot=command.n_boot,
    )  # fmt: skip
    summary = {
        "model": model,
        "scores": _records(headline.drop(columns=["model", "dataset", "split", "group"])),
        "paired": _records(paired.drop(columns=["model", "dataset", "split"])),
        "undefined": undefined_counts([scores]),
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
    print(_headline(headline, model))
    print(
        f"wrote scores.parquet, scores.json and report.html to {command.out}; open {command.out / 'report.html'} in a browser."
    )


def _records(frame: object) -> list[dict]:
    """Rows as JSON: NaN becomes null."""
    rows = frame.to_dict("records")
    return [{k: None if isinstance(v, float) and v != v else v for k, v in row.items()} for row in rows]


def _headline(rows: object, model: str) -> str:
    from vc_eval.metrics import HEADLINES

    lines = [f"{model}, all held-out conditions (value, 95 % interval; best baseline; half the data):"]
    by_name = rows.set_index("metric")
    for name in HEADLINES:
        r = by_name.loc[name]
        lines.append(
            f"  {name:20} {r['value']:7.3f}  {r['lower']:7.3f} to {r['upper']:7.3f}   {r['baseline']:7.3f}   {r['ceiling']:7.3f}"
        )
    return "\n".join(lines)


def _list(command: List) -> None:
    from vc_eval.metrics import REGISTRY, beat

    metrics = [*REGISTRY.values(), beat.mse_metric("BASELINE"), beat.pearson_metric("BASELINE")]
    for metric in sorted(metrics, key=lambda m: m.name):
        if metric.name.startswith(command.family):
            print(
                f"{metric.name}  ({metric.direction} is better, best {metric.best}, chance {metric.chance}; {metric.unit})"
            )
            target = " The perturbed gene is left out." if metric.excludes_target else ""
            print(f"    {metric.definition}{target} [{metric.reference}; version {metric.version}]")


if __name__ == "__main__":
    main()
