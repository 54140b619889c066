"""`vc-eval compare`, `report` and `list`: what is made of scores."""

import json
import sys
from pathlib import Path

from vc_contracts.command import print_json

from vc_eval.cli import options


def compare(command: options.Compare) -> None:
    """`vc-eval compare`: two models, paired."""
    from vc_contracts.text.names import safe_table

    from vc_eval.contracts import check_same_truth, check_target, read_scores, write_whole

    if command.out is not None:
        check_target(command.out, overwrite=command.overwrite, inputs=command.folders, make_parent=True)
    from vc_eval.stats.compare import compare_scores

    tables, models = [], []
    for k, folder in enumerate(command.folders):
        table, summary = read_scores(folder)
        tables.append(table)
        models.append(command.models[k] if command.models else str(summary.get("model", "")))
    check_same_truth(*command.folders)
    result = compare_scores(
        *tables, first_model=models[0], second_model=models[1], metrics=list(command.metrics) or None,
        seed=command.seed, n_boot=command.n_boot,
    )  # fmt: skip
    if command.out is not None:
        with write_whole(command.out, overwrite=command.overwrite, make_parent=True) as temporary:
            safe_table(result).to_csv(temporary, index=False)
        print(f"wrote {command.out}.", file=sys.stderr)
    if command.json:
        print_json(result.to_dict("records"))
        return
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


def report(command: options.Report) -> None:
    """`vc-eval report`: the page of a folder of scores."""
    from vc_eval.contracts import check_target

    out = command.out or command.folder / "report.html"
    inputs = [command.folder / name for name in ("scores.json", "scores.parquet")]
    check_target(out, overwrite=command.overwrite, inputs=inputs, make_parent=True)
    write_page(command.folder, out, overwrite=command.overwrite)
    print(f"wrote {out}; open it in a browser.")


def write_page(folder: Path, out: Path, *, overwrite: bool = False) -> None:
    """Draw the page of a folder of scores."""
    from vc_eval.contracts import read_scores
    from vc_eval.report.page import scores_from_table, write_report

    table, summary = read_scores(folder)
    header = json.loads((folder / "scores.json").read_text(encoding="utf-8"))["contract"]
    config = header.get("config", {})
    model = summary.get("model") or config.get("model")
    meta = config | {"model": model, "hashes": header.get("parents", {})}
    scores = scores_from_table(table, summary.get("notes", {}))
    write_report(out, summary=table, splits_scores=scores, meta=meta, overwrite=overwrite)


def list_metrics(command: options.List) -> None:
    """`vc-eval list`: every metric."""
    if command.markdown:
        from vc_eval.metrics.page import markdown

        print(markdown(), end="")
        return
    from vc_eval.metrics import REGISTRY, beat

    metrics = [*REGISTRY.values(), *(make("BASELINE") for make, _, _ in beat.FAMILIES.values())]
    found = []
    families = {metric.name.split("/")[0] for metric in metrics}
    for metric in sorted(metrics, key=lambda m: m.name):
        family = metric.name.split("/")[0]
        if family == command.family or (command.family not in families and metric.name.startswith(command.family)):
            if command.json:
                found.append(
                    {"name": metric.name, "direction": metric.direction, "best": metric.best, "chance": metric.chance,
                     "unit": metric.unit, "definition": metric.definition, "excludes_target": metric.excludes_target,
                     "reference": metric.reference, "version": metric.version}
                )  # fmt: skip
                continue
            print(
                f"{metric.name}  ({metric.direction} is better, best {metric.best}, chance {metric.chance}; {metric.unit})"
            )
            target = " The perturbed gene is left out." if metric.excludes_target else ""
            print(f"    {metric.definition}{target} [{metric.reference}; version {metric.version}]")
    if command.json:
        print_json(found)
