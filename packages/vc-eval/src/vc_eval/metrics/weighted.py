"""Errors weighted towards genes that really respond, against which predicting the mean is not good (docs/metrics.md#weighted).

Weights come from the truth only: compute them once per data set. The t-score compares a perturbation with all other
perturbed cells, not with control, so what every perturbation does gets little weight.
"""

import hashlib

import numpy as np

from vc_eval.metrics.registry import Metric

METRICS = (
    Metric(
        name="wmse", title="Weighted squared error", direction="lower", best=0.0, chance="high for the mean profile",
        unit="(log1p_cp10k)^2", space="log1p_cp10k",
        definition="Sum over genes of weight times (predicted - real)^2; weights are squared, min-max scaled |t| of the "
        "perturbation against all others, summing to 1.",
        reference="docs/metrics.md#weighted; Diversity by design 2025", undefined="fewer than 2 cells, or all |t| equal",
    ),
    Metric(
        name="r2_weighted_delta", title="Weighted R2 of change", direction="higher", best=1.0,
        chance="0 or less for the mean", unit="share of variance", space="log1p_cp10k delta to the mean of perturbations",
        definition="1 - weighted squared error over the weighted spread of the real change, both against the mean of all "
        "perturbations.", reference="docs/metrics.md#weighted; Diversity by design 2025",
        undefined="fewer than 2 cells, or all |t| equal",
    ),
)  # fmt: skip


def welch_t(mean_pg: np.ndarray, square_pg: np.ndarray, sizes_p: np.ndarray) -> np.ndarray:
    """`[p, g]` Welch t-score of every perturbation against the cells of all others; NaN below 2 cells on a side.

    Args:
        mean_pg: `[p, g]` means of the cells.
        square_pg: `[p, g]` sums of squared deviations from that mean, as `de.group_moments` returns.
        sizes_p: `[p]` cells.
    """
    n = np.asarray(sizes_p, np.float64)[:, None]
    total_n = n.sum()
    total = (n * mean_pg).sum(axis=0)
    whole_mean = total / total_n
    whole_square = (square_pg + n * (mean_pg - whole_mean) ** 2).sum(axis=0)
    rest_n = total_n - n
    with np.errstate(divide="ignore", invalid="ignore"):
        rest_mean = (total - n * mean_pg) / rest_n
        rest_square = (
            whole_square - square_pg - n * (mean_pg - whole_mean) ** 2 - rest_n * (rest_mean - whole_mean) ** 2
        )
        variance = square_pg / (n - 1) / n + np.maximum(rest_square, 0) / (rest_n - 1) / rest_n
        t = (mean_pg - rest_mean) / np.sqrt(variance)
    t = np.where(variance > 0, t, 0.0)
    return np.where((n >= 2) & (rest_n >= 2), t, np.nan)


def weights(t_pg: np.ndarray) -> np.ndarray:
    """`[p, g]` |t| scaled to 0..1 over genes, squared, normalised to sum 1; NaN rows where all |t| are equal."""
    size = np.abs(t_pg)
    low, high = size.min(axis=1, keepdims=True), size.max(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = ((size - low) / (high - low)) ** 2
        return scaled / scaled.sum(axis=1, keepdims=True)


def weights_digest(weight_pg: np.ndarray) -> str:
    """SHA-256 of the weights, to write beside the scores."""
    return hashlib.sha256(np.ascontiguousarray(weight_pg, np.float64).tobytes()).hexdigest()


def wmse(predicted_pg: np.ndarray, real_pg: np.ndarray, weight_pg: np.ndarray) -> np.ndarray:
    """`[p]` weighted squared error of mean profiles."""
    return (weight_pg * (predicted_pg - real_pg) ** 2).sum(axis=1)


def r2_weighted_delta(
    predicted_pg: np.ndarray, real_pg: np.ndarray, mean_g: np.ndarray, weight_pg: np.ndarray
) -> np.ndarray:
    """`[p]` weighted R2 of the change against the mean of all perturbations.

    Args:
        predicted_pg: `[p, g]` predicted profiles.
        real_pg: `[p, g]` real profiles.
        mean_g: `[g]` mean over perturbations, each weighted equally.
        weight_pg: `[p, g]` from `weights`.
    """
    real_delta = real_pg - mean_g
    centre = (weight_pg * real_delta).sum(axis=1, keepdims=True)
    spread = (weight_pg * (real_delta - centre) ** 2).sum(axis=1)
    error = wmse(predicted_pg, real_pg, weight_pg)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, 1 - error / spread, np.nan)
