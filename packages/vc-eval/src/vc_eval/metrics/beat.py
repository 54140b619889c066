"""How often a model beats a baseline, condition by condition, on the same cells and genes.

A tie is a loss, so a model that copies the baseline scores 0. An undefined Pearson counts as 0: a model that says
nothing about a condition does not get it left out.
"""

import numpy as np

from vc_eval.metrics.registry import Metric


def _metric(name: str, title: str, won: str, *, ties: str = "ties are losses", excludes_target: bool = True) -> Metric:
    return Metric(
        name=name, title=title, direction="higher", best=1.0, chance="0.5", unit="share of conditions",
        definition=f"Share of conditions where {won}; {ties}.", reference="docs/metrics.md#profile-suite",
        excludes_target=excludes_target,
    )  # fmt: skip


def mse_metric(baseline: str) -> Metric:
    """The metric `beat/<baseline>`."""
    return _metric(
        f"beat/{baseline}", f"Beats {baseline}", f"the squared error of the delta is below that of {baseline}"
    )


def pearson_metric(baseline: str) -> Metric:
    """The metric `beat_pearson/<baseline>`."""
    won = f"the Pearson correlation of the delta is above that of {baseline}"
    ties = "undefined counts as 0, ties are losses"
    return _metric(f"beat_pearson/{baseline}", f"Beats {baseline} by Pearson", won, ties=ties)


def wmse_metric(baseline: str) -> Metric:
    """The metric `beat_wmse/<baseline>`."""
    won = f"the weighted squared error (wmse) is below that of {baseline}"
    return _metric(f"beat_wmse/{baseline}", f"Beats {baseline} by weighted error", won, excludes_target=False)


def wins_by_mse(model_p: np.ndarray, baseline_p: np.ndarray) -> np.ndarray:
    """`[p]` 1.0 where the model's squared error is strictly smaller."""
    return (np.asarray(model_p) < np.asarray(baseline_p)).astype(np.float64)


def wins_by_pearson(model_p: np.ndarray, baseline_p: np.ndarray) -> np.ndarray:
    """`[p]` 1.0 where the model's Pearson correlation is strictly greater; NaN counts as 0."""
    return (np.nan_to_num(model_p, nan=0.0) > np.nan_to_num(baseline_p, nan=0.0)).astype(np.float64)


FAMILIES = {
    "beat": (mse_metric, "mse_delta", wins_by_mse),
    "beat_pearson": (pearson_metric, "pearson_delta", wins_by_pearson),
    "beat_wmse": (wmse_metric, "wmse", wins_by_mse),
}
"""Family -> (maker of its metrics, the metric that decides, who wins by it)."""
