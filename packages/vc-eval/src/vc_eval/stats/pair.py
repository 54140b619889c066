"""From the results of a rule to scores-v1: several predictions of one real data set beside each other.

A rule's result becomes the same table of conditions that a scored split gives, so means, intervals, baselines, the
report page and comparisons are made by the same code. The mean baseline, where given, sets the zero of scaled scores.
"""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from vc_eval.cells.result import RuleResult
from vc_eval.errors import VcEvalError
from vc_eval.metrics import get_metric
from vc_eval.roles import MEAN_BASELINE, REFERENCES
from vc_eval.stats.summary import summarise

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vc_eval.stats.conditions import SplitScores

ONE_CONTEXT = "all"
"""Cell line in the scores of data without contexts."""


def pair_scores(results: dict[str, RuleResult], *, dataset: str) -> "SplitScores":
    """Results of one rule as conditions, one row per model, condition and metric.

    Args:
        results: Model -> result, a prediction first; the mean baseline under `cell_eval_mean`, controls under their
            names.
        dataset: Name of the real data.

    Raises:
        VcEvalError: If there is no result or they come from different rules.
    """
    from vc_eval.stats.conditions import SplitScores

    rules = sorted({result.provenance["rule"] for result in results.values()})
    if len(rules) != 1:
        raise VcEvalError(f"scores: expected results of one rule, found {', '.join(rules) or 'none'}.")
    frames = [_conditions(model, result) for model, result in results.items()]
    conditions = pd.concat(frames, ignore_index=True)
    first = next(iter(results.values()))
    held_out = conditions[["cell_line", "perturbation"]].drop_duplicates().sort_values(["cell_line", "perturbation"])
    notes = {
        "rule": f"{rules[0]} ({first.provenance['rule_version']})",
        "cell_lines": sorted(set(conditions["cell_line"])),
        "test": held_out.to_numpy().tolist(),
        "provenance": {model: result.provenance for model, result in results.items()},
    }
    models = [name for name in results if name not in (MEAN_BASELINE, *REFERENCES)]
    effects = {}
    if first.effects is not None:
        lines = first.effects["context"].replace("", ONE_CONTEXT)
        effects = dict(zip(zip(lines, first.effects["perturbation"], strict=True), first.effects["size"], strict=True))
    return SplitScores(
        dataset=dataset, split=rules[0], models=models, conditions=conditions, deltas=[], effects=effects, notes=notes
    )  # fmt: skip


def summarise_pair(
    results: dict[str, RuleResult], *, dataset: str, baselines: list[str], seed: int, n_boot: int = 2000
) -> pd.DataFrame:
    """Scores in the layout of scores-v1: the rule's own aggregates under `all`, with intervals where they are means.

    Args:
        results: As for `pair_scores`.
        dataset: Name of the real data.
        baselines: Names of the models that are baselines.
        seed: Seed of the bootstrap over perturbations.
        n_boot: Resamples.
    """
    table = summarise([pair_scores(results, dataset=dataset)], baselines=baselines, seed=seed, n_boot=n_boot)
    version = next(iter(results.values())).provenance["rule_version"]
    own = table["metric"].str.startswith(tuple(f"{r.provenance['rule']}/" for r in results.values()))
    table.loc[own, "metric_version"] = version
    extra = []
    keyed = table.set_index(["model", "group", "metric"], drop=False)
    for model, result in results.items():
        for row in cast("Iterable[Any]", result.aggregate.itertuples()):
            key = (model, row.context or "all", row.metric)
            if key not in keyed.index:
                extra.append({
                    "model": model, "dataset": dataset, "split": table["split"].iloc[0], "metric": row.metric,
                    "group": key[1], "value": row.value, "lower": np.nan, "upper": np.nan, "n": row.n,
                    "baseline": np.nan, "ceiling": np.nan, "metric_version": version,
                })  # fmt: skip
                continue
            at = (table["model"] == model) & (table["group"] == key[1]) & (table["metric"] == row.metric)
            is_mean = get_metric(row.metric).aggregate == "mean"
            if not (is_mean and np.isclose(table.loc[at, "value"].iloc[0], row.value, rtol=1e-9, atol=1e-12)):
                table.loc[at, ["lower", "upper"]] = np.nan  # no mean over perturbations: no interval of one
            table.loc[at, "value"] = row.value
    table = pd.concat([table, pd.DataFrame(extra)], ignore_index=True) if extra else table
    return table.astype(dict.fromkeys(("value", "lower", "upper", "baseline", "ceiling"), np.float64) | {"n": np.int64})


def _conditions(model: str, result: RuleResult) -> pd.DataFrame:
    frame = result.per_perturbation
    parts = [frame]
    for bound in ("lower", "upper"):
        ends = frame.assign(metric=frame["metric"] + f"_{bound}", value=frame[bound])
        parts.append(ends[ends["metric"].map(_known).to_numpy(bool)])
    whole = pd.concat(parts, ignore_index=True)
    return pd.DataFrame({
        "model": model,
        "cell_line": whole["context"].replace("", ONE_CONTEXT),
        "perturbation": whole["perturbation"],
        "kind": np.where(whole["perturbation"].str.contains("+", regex=False), "combo", "single"),
        "metric": whole["metric"],
        "value": whole["value"].astype(float),
        "reason": whole["reason"],
    })  # fmt: skip


def _known(name: str) -> bool:
    try:
        get_metric(name)
    except KeyError:
        return False
    return True
