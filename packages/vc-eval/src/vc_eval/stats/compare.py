"""Whether one model is better than another: the same conditions, paired, metric by metric.

Differences are turned so that positive means the second is better. Perturbations are resampled and sign-flipped as a
whole; p values are corrected over metrics by Holm.
"""

from typing import TYPE_CHECKING

import numpy as np

from vc_eval.errors import VcEvalError
from vc_eval.metrics import get_metric
from vc_eval.stats.bootstrap import cluster_means, cluster_weights, interval

if TYPE_CHECKING:
    import pandas as pd

CONDITION = "condition:"


def compare_scores(
    first: "pd.DataFrame",
    second: "pd.DataFrame",
    *,
    first_model: str,
    second_model: str,
    metrics: list[str] | None = None,
    seed: int = 0,
    n_boot: int = 2000,
) -> "pd.DataFrame":
    """Paired comparison of two models over the conditions both were scored on.

    Args:
        first: scores-v1 table that holds `first_model`.
        second: scores-v1 table that holds `second_model`; may be the same table.
        first_model: The one to beat.
        second_model: The one that may be better.
        metrics: Names; None takes every metric with values per condition on both sides.
        seed: Seed of resampling and sign flips.
        n_boot: Resamples, and sign flips.

    Returns:
        One row per metric: `first` and `second` (means over the shared conditions), `difference` (positive: second is
        better), `lower`, `upper` (95 %), `n` conditions, `wins`, `ties`, `losses` of the second, `p` (two-sided, sign
        flips of perturbations) and `p_holm`.

    Raises:
        VcEvalError: If a model is unknown, the data differ, or no condition or metric is shared.
    """
    import pandas as pd

    tables = []
    for table, model in ((first, first_model), (second, second_model)):
        if model not in set(table["model"]):
            raise VcEvalError(f"compare: no model {model!r} among {', '.join(sorted(set(table['model'])))}.")
        tables.append(table[(table["model"] == model) & table["group"].str.startswith(CONDITION)])
    data = [sorted(set(table["dataset"] + " / " + table["split"])) for table in tables]
    if data[0] != data[1]:
        raise VcEvalError(f"compare: scored on different data, {data[0]!r} and {data[1]!r}; score both on the same.")
    merged = tables[0].merge(tables[1], on=["dataset", "split", "metric", "group"], suffixes=("_a", "_b"))
    apart = merged[merged["metric_version_a"] != merged["metric_version_b"]]["metric"].unique()
    if apart.size:
        raise VcEvalError(f"compare: {apart[0]!r} has two versions; score both with the same version of vc-eval.")
    merged = merged[np.isfinite(merged["value_a"]) & np.isfinite(merged["value_b"])]
    shared = sorted(set(merged["metric"]))
    metrics = shared if metrics is None else metrics
    missing = sorted(set(metrics) - set(shared))
    if missing or not metrics:
        raise VcEvalError(
            f"compare: no shared conditions with a value of {missing or 'any metric'}; shared: {shared!r}."
        )
    rows = [_compare_one(merged[merged["metric"] == name], name, seed, n_boot) for name in metrics]
    result = pd.DataFrame(rows)
    result["p_holm"] = holm(result["p"].to_numpy())
    return result


def _compare_one(part: "pd.DataFrame", metric: str, seed: int, n_boot: int) -> dict:
    import pandas as pd

    gain = get_metric(metric).gain
    a, b = part["value_a"].to_numpy(), part["value_b"].to_numpy()
    difference = gain(b) - gain(a)
    perturbation = part["group"].str.removeprefix(CONDITION).str.split("|", n=1).str[-1]
    cluster, names = pd.factorize(perturbation, sort=True)
    means = cluster_means(difference[:, None], cluster, cluster_weights(len(names), n_boot, seed))
    lower, upper = interval(means.point, means.draws, len(names))
    sums = np.bincount(cluster, weights=difference)
    signs = np.random.default_rng([seed, 1]).choice([-1.0, 1.0], size=(n_boot, len(names)))
    extreme = np.abs(signs @ sums) >= np.abs(sums.sum()) * (1 - 1e-12)
    return {
        "metric": metric, "first": a.mean(), "second": b.mean(), "difference": means.point[0], "lower": lower[0],
        "upper": upper[0], "n": difference.size, "wins": int((difference > 0).sum()),
        "ties": int((difference == 0).sum()), "losses": int((difference < 0).sum()),
        "p": float((1 + extreme.sum()) / (1 + n_boot)),
    }  # fmt: skip


def holm(p: np.ndarray) -> np.ndarray:
    """P values corrected over a family, step down.

    References:
        Holm (1979), Scand. J. Stat. 6.
    """
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    corrected = np.empty_like(p, dtype=np.float64)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected
