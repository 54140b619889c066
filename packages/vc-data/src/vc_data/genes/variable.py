"""Highly variable genes across data sets, chosen on what trains.

Definition. Per data set, over its training cells: x = 10,000 x counts / total counts; dispersion = log(variance / mean) of x;
genes are cut into 20 equal-width bins of log1p(mean), and the score is the dispersion's distance from its bin's mean in
standard deviations of the bin (Satija et al., Nature Biotechnology 2015). Only genes that all data sets measure compete.
A gene is ranked by the number of data sets in whose top `n_top` it is, then by its mean rank over data sets.

Training cells are those of training conditions, and control cells that are not kept for evaluation: a list that has seen
test cells would leak.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vc_data.errors import GeneError, OptionError

N_BINS = 20
BLOCK_ROWS = 8192


def variable_genes(members: Sequence[tuple[Any, Any]], n_top: int = 2000) -> list[str]:
    """Names of the most variable genes, best first.

    Args:
        members: (screen, splits) of each screen; a screen of several data sets counts as several.
        n_top: How many; fewer where fewer genes are measured in all data sets.

    Raises:
        OptionError: `n_top` below 1.
        GeneError: No gene is measured in all data sets.
    """
    if n_top < 1:
        raise OptionError("variable", "number of genes", "1 or more", n_top, "Pass --n-top 2000.")
    names = _measured_by_all([screen for screen, _ in members])
    scores = []
    for screen, splits in members:
        trains = training_cells(screen, splits)
        dataset = screen.obs["dataset"].astype(str).to_numpy()
        columns = screen.var_names.get_indexer(names)
        for key in np.unique(dataset):
            mean, variance = moments(screen, np.flatnonzero(trains & (dataset == key)), columns)
            scores.append(dispersion_score(mean, variance))
    # [d, g] Rank of each gene in each data set, 0 for the most variable.
    rank_dg = np.argsort(np.argsort(-np.stack(scores), axis=1, kind="stable"), axis=1)
    n_sets = (rank_dg < n_top).sum(axis=0)
    best = np.lexsort((np.arange(len(names)), rank_dg.mean(axis=0), -n_sets))
    return [names[i] for i in best[:n_top]]


def training_cells(screen, splits) -> np.ndarray:
    """[n] bool: cells of training conditions, and controls that are not kept for evaluation."""
    trained = set(splits.part("train"))
    obs = screen.obs
    pairs = zip(obs["cell_line"].astype(str), obs["perturbation"].astype(str), strict=True)
    is_control = obs["is_control"].to_numpy()
    free = is_control & ~obs.index.isin(splits.controls["evaluation"])
    return np.array([pair in trained for pair in pairs]) & ~is_control | free


def moments(screen, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[g] mean and variance of 10,000 x counts / total counts over some cells."""
    total, squares = np.zeros(len(columns)), np.zeros(len(columns))
    library = screen.obs["total_counts"].to_numpy(np.float64)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        x = screen.X[block][:, columns].astype(np.float64)
        x = x.multiply(1e4 / library[block][:, None]).tocsr()
        total += np.asarray(x.sum(axis=0)).ravel()
        squares += np.asarray(x.multiply(x).sum(axis=0)).ravel()
    n = max(len(rows), 2)
    mean = total / n
    return mean, np.maximum(squares / n - mean**2, 0) * n / (n - 1)


def dispersion_score(mean: np.ndarray, variance: np.ndarray, n_bins: int = N_BINS) -> np.ndarray:
    """[g] Distance of log(variance / mean) from its bin of log1p(mean), in standard deviations; -inf without counts."""
    score = np.full(len(mean), -np.inf)
    seen = (mean > 0) & (variance > 0)
    if not seen.any():
        return score
    dispersion, level = np.log(variance[seen] / mean[seen]), np.log1p(mean[seen])
    edges = np.linspace(level.min(), level.max(), n_bins + 1)[1:-1]
    bins = np.searchsorted(edges, level)
    n = np.bincount(bins, minlength=n_bins)
    centre = np.bincount(bins, dispersion, n_bins) / np.maximum(n, 1)
    spread = np.sqrt(np.bincount(bins, (dispersion - centre[bins]) ** 2, n_bins) / np.maximum(n - 1, 1))
    # A gene alone in its bin has nothing to be compared with: it counts as one standard deviation, as in Seurat.
    score[seen] = np.where(spread[bins] > 0, (dispersion - centre[bins]) / np.where(spread > 0, spread, 1)[bins], 1.0)
    return score


def _measured_by_all(screens: Sequence[Any]) -> list[str]:
    shared: set[str] | None = None
    for screen in screens:
        own = set(screen.var_names[screen.var["measured"].to_numpy()])
        shared = own if shared is None else shared & own
    if not shared:
        do = "Merge them onto one panel with 'vc-data merge' first."
        raise GeneError("variable", "genes", "some that all data sets measure", "none", do)
    return [name for name in screens[0].var_names if name in shared]
