"""How two clouds of cells differ, not only their means: energy distances from control.

The distance is Euclidean over genes. Blocks of cells are made dense one after the other; the control's own term costs
the most and is computed once.
"""

from typing import Any

import numpy as np

from vc_eval.metrics.ranks import pearson
from vc_eval.metrics.registry import Metric

ROWS = 512  # cells of one block
type Matrix = Any
"""`[n, g]`, dense or scipy sparse; scipy's own types of the two share no base that can be indexed."""

METRICS = (
    Metric(
        name="edistance_correlation", title="Energy distance correlation", direction="higher", best=1.0, chance="0",
        unit="correlation", space="cells, log1p_cp10k",
        definition="Pearson over perturbations of the unbiased energy distances from control, real and predicted.",
        reference="docs/metrics.md#full-profile", aggregate="derived", undefined="constant or fewer than 3 perturbations",
    ),
    Metric(
        name="edistance_to_real", title="Energy distance to the real cells", direction="lower", best=0.0,
        chance="that of no_change", unit="log1p_cp10k", space="cells, log1p_cp10k",
        definition="Unbiased energy distance between predicted and real cells of a perturbation; below 0 by chance only.",
        reference="docs/metrics.md#population; Szekely and Rizzo 2013", undefined="fewer than 2 cells",
    ),
)  # fmt: skip


def mean_distance(a: Matrix, b: Matrix | None = None, *, unbiased: bool = True) -> float:
    """Mean Euclidean distance between the cells of two groups, or within one.

    Args:
        a: `[n, g]` cells, dense or scipy sparse.
        b: `[m, g]` cells; None for the distances within `a`.
        unbiased: Within a group, leave the zero distance of a cell to itself out. cell-eval counts it.
    """
    within = b is None
    b = a if within else b
    square_a, square_b = _squares(a), _squares(b)
    total = 0.0
    for row in range(0, a.shape[0], ROWS):
        block = _dense(a[row : row + ROWS])
        for column in range(row if within else 0, b.shape[0], ROWS):
            other = block if within and row == column else _dense(b[column : column + ROWS])
            square = square_a[row : row + ROWS, None] + square_b[None, column : column + ROWS] - 2 * block @ other.T
            if other is block:
                np.fill_diagonal(square, 0.0)
            sides = 2 if within and row != column else 1
            total += sides * float(np.sqrt(np.maximum(square, 0)).sum())
    n = a.shape[0]
    pairs = n * (n - 1) if within and unbiased else n * b.shape[0]
    return total / pairs if pairs else float("nan")


def energy_distances(
    cells: Matrix, group_n: np.ndarray, n_groups: int, control: Matrix, *, unbiased: bool = True,
    spread_control: float | None = None,
) -> np.ndarray:  # fmt: skip
    """`[p]` energy distance of every group of cells from the control: 2 E|x - c| - E|x - x'| - E|c - c'|.

    Args:
        cells: `[n, g]` log1p values, dense or sparse.
        group_n: `[n]` group of each cell, -1 to leave a cell out.
        n_groups: Number of groups.
        control: `[m, g]` control cells; give a seeded sample where there are very many.
        unbiased: See `mean_distance`.
        spread_control: Mean distance within the control, where it is known.
    """
    cells, control = _rows(cells), _rows(control)
    if spread_control is None:
        spread_control = mean_distance(control, unbiased=unbiased)
    result = np.empty(n_groups)
    for p in range(n_groups):
        group = cells[np.flatnonzero(group_n == p)]
        apart = mean_distance(group, control)
        result[p] = 2 * apart - mean_distance(group, unbiased=unbiased) - spread_control
    return result


def energy_distance(a: Matrix, b: Matrix, *, unbiased: bool = True) -> float:
    """Energy distance between two groups of cells."""
    a, b = _rows(a), _rows(b)
    return 2 * mean_distance(a, b) - mean_distance(a, unbiased=unbiased) - mean_distance(b, unbiased=unbiased)


def edistance_correlation(real_p: np.ndarray, predicted_p: np.ndarray) -> float:
    """Pearson of the energy distances over perturbations."""
    return pearson(real_p, predicted_p)


def _rows(cells: Matrix) -> Matrix:
    import scipy.sparse

    return scipy.sparse.csr_array(cells) if scipy.sparse.issparse(cells) else np.asarray(cells)


def _dense(block: Matrix) -> np.ndarray:
    return np.asarray(block.toarray() if hasattr(block, "toarray") else block, np.float64)


def _squares(cells: Matrix) -> np.ndarray:
    if hasattr(cells, "toarray"):
        return np.asarray(cells.astype(np.float64).power(2).sum(axis=1)).ravel()
    return np.einsum("ng,ng->n", np.asarray(cells, np.float64), np.asarray(cells, np.float64))
