"""Intervals by resampling perturbations, never cells or conditions.

All conditions of one perturbation (in several cell lines, or in several splits that are pooled) form one cluster. One
matrix of cluster weights serves every model and metric, so differences and scores made of several means come out paired.
"""

from typing import NamedTuple

import numpy as np


class BootstrapMeans(NamedTuple):
    """Means over conditions: `point [m]`, and under every resample `draws [b, m]`; `n [m]` conditions with a value."""

    point: np.ndarray
    draws: np.ndarray
    n: np.ndarray


def cluster_weights(n_clusters: int, n_boot: int, seed: int) -> np.ndarray:
    """`[b, k]` how often each cluster is drawn in each resample."""
    return np.random.default_rng(seed).multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=n_boot)


def cluster_means(values_nm: np.ndarray, cluster_n: np.ndarray, weights_bk: np.ndarray) -> BootstrapMeans:
    """Means of every column over conditions, NaN left out, and the same under every resample of clusters.

    Args:
        values_nm: `[n, m]` one row per condition, one column per model and metric; NaN where undefined.
        cluster_n: `[n]` cluster 0..k-1 of each condition.
        weights_bk: From `cluster_weights`.
    """
    defined = np.isfinite(values_nm)
    sums, counts = (np.zeros((weights_bk.shape[1], values_nm.shape[1])) for _ in range(2))
    np.add.at(sums, cluster_n, np.where(defined, values_nm, 0.0))
    np.add.at(counts, cluster_n, defined)
    weights = weights_bk.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        point = sums.sum(axis=0) / counts.sum(axis=0)
        draws = (weights @ sums) / (weights @ counts)
    return BootstrapMeans(point, draws, defined.sum(axis=0))


def interval(
    point: np.ndarray, draws: np.ndarray, n_clusters: int, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of each column, widened to hold the point; NaN with fewer than two clusters.

    A percentile interval need not hold the point where the statistic is clipped; readers of scores-v1 may rely on it.

    Args:
        point: `[m]` the statistic itself.
        draws: `[b, m]` the statistic under every resample.
        n_clusters: Number of clusters behind it.
        level: Coverage.
    """
    point = np.asarray(point, np.float64)
    lower, upper = np.full(point.shape, np.nan), np.full(point.shape, np.nan)
    if n_clusters < 2:
        return lower, upper
    tails = [(1 - level) / 2, (1 + level) / 2]
    whole = np.isfinite(draws).all(axis=0)
    lower[whole], upper[whole] = np.quantile(draws[:, whole], tails, axis=0)
    for m in np.flatnonzero(~whole & np.isfinite(point)):
        column = draws[np.isfinite(draws[:, m]), m]
        if column.size:
            lower[m], upper[m] = np.quantile(column, tails)
    undefined = ~np.isfinite(point)
    lower[undefined] = upper[undefined] = np.nan
    return np.minimum(lower, point), np.maximum(upper, point)
