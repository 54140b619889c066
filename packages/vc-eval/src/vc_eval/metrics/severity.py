"""How strong an effect is: whether its size is predicted, and error by size (docs/metrics.md#profile-suite).

The norm of a measured delta holds sampling noise that grows as cells get fewer, so a model that only knows the number of
cells can score. The debiased form takes the noise out, the partial one holds the number of cells fixed.
"""

import itertools
from typing import Any

import numpy as np

from vc_eval.metrics.ranks import pearson, spearman
from vc_eval.metrics.registry import Metric

BINS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, np.inf)
_SEVERITY: dict[str, Any] = {
    "direction": "higher", "best": 1.0, "chance": "0", "unit": "correlation", "space": "norms of log1p_cp10k deltas",
    "reference": "docs/metrics.md#profile-suite", "aggregate": "derived", "undefined": "fewer than 3 conditions or constant",
}  # fmt: skip

METRICS = (
    Metric(name="severity_pearson", title="Severity, Pearson", definition="Pearson over conditions of the predicted and "
           "measured norm of the delta.", **_SEVERITY),
    Metric(name="severity_spearman", title="Severity, Spearman", definition="Spearman over conditions of the predicted "
           "and measured norm of the delta.", **_SEVERITY),
    Metric(name="severity_spearman_debiased", title="Severity, Spearman, noise removed", definition="Spearman with the "
           "measured squared norm less its sampling variance.", **_SEVERITY),
    Metric(name="severity_partial", title="Severity, Spearman at equal cell number", definition="Partial Spearman of "
           "predicted and measured norm given the number of cells.", **_SEVERITY),
    *(
        Metric(name=f"mae_delta_{low:g}_{high:g}", title=f"Absolute error at |delta| {low:g} to {high:g}",
               definition=f"Mean |predicted - real| of gene and condition pairs with real |delta| from {low:g} to below "
               f"{high:g}.", direction="lower", best=0.0, chance="as no_change", unit="log1p_cp10k",
               space="log1p_cp10k delta", reference="docs/metrics.md#profile-suite", excludes_target=True, aggregate="derived",
               undefined="no pair in the bin")
        for low, high in itertools.pairwise(BINS)
    ),
)  # fmt: skip


def severity(
    predicted_pg: np.ndarray, real_pg: np.ndarray, *, noise_p: np.ndarray | None = None,
    n_cells_p: np.ndarray | None = None, dataset_p: np.ndarray | None = None,
) -> dict[str, float]:  # fmt: skip
    """Agreement of effect sizes over conditions; with several data sets, the mean of the values within each.

    Args:
        predicted_pg: `[p, g]` deltas.
        real_pg: `[p, g]` deltas.
        noise_p: `[p]` sampling variance of the measured delta summed over genes, for the debiased form.
        n_cells_p: `[p]` cells of each condition, for the partial form.
        dataset_p: `[p]` data set of each condition.
    """
    size_a, square_b = np.linalg.norm(predicted_pg, axis=1), (np.asarray(real_pg) ** 2).sum(axis=1)
    groups = np.zeros(len(size_a), int) if dataset_p is None else np.unique(dataset_p, return_inverse=True)[1]
    collected: dict[str, list[float]] = {}
    for group in range(groups.max() + 1):
        here = groups == group
        a, b = size_a[here], np.sqrt(square_b[here])
        values = {"severity_pearson": pearson(a, b), "severity_spearman": spearman(a, b)}
        if noise_p is not None:
            values["severity_spearman_debiased"] = spearman(a, square_b[here] - np.asarray(noise_p)[here])
        if n_cells_p is not None:
            values["severity_partial"] = partial_spearman(a, b, np.asarray(n_cells_p)[here])
        for name, value in values.items():
            collected.setdefault(name, []).append(value)
    return {name: _mean(values) for name, values in collected.items()}


def partial_spearman(a_n: np.ndarray, b_n: np.ndarray, given_n: np.ndarray) -> float:
    """Correlation of the ranks of a and b once what the ranks of `given` explain linearly is taken out of both."""
    ab = spearman(a_n, b_n)
    if np.ptp(np.asarray(given_n)) == 0:
        return ab
    ac, bc = spearman(a_n, given_n), spearman(b_n, given_n)
    rest = (1 - ac**2) * (1 - bc**2)
    return float((ab - ac * bc) / np.sqrt(rest)) if rest > 1e-12 else float("nan")


def mae_by_magnitude(
    predicted_pg: np.ndarray, real_pg: np.ndarray, keep_pg: np.ndarray
) -> dict[str, tuple[float, int]]:
    """Mean absolute error and number of pairs in bins of the real |delta|; NaN in an empty bin.

    Args:
        predicted_pg: `[p, g]` deltas.
        real_pg: `[p, g]` deltas.
        keep_pg: `[p, g]` bool.
    """
    error, size = np.abs(predicted_pg - real_pg)[keep_pg], np.abs(real_pg)[keep_pg]
    result = {}
    for low, high in itertools.pairwise(BINS):
        inside = (size >= low) & (size < high)
        value = float(error[inside].mean()) if inside.any() else float("nan")
        result[f"mae_delta_{low:g}_{high:g}"] = (value, int(inside.sum()))
    return result


def _mean(values: list[float]) -> float:
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
