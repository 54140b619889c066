"""Means and squares of a sample of cells, few of them in memory at a time."""

from collections.abc import Callable
from typing import Any

import numpy as np

ROWS_AT_ONCE = 100  # cells of a sample in memory together


def moments(
    read: Callable[[np.ndarray], Any], rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Totals of these rows, and the means of each column and of its squares; few rows are in memory at a time."""
    totals, mean, square = np.zeros(len(rows)), np.zeros(len(columns)), np.zeros(len(columns))
    for start in range(0, len(rows), ROWS_AT_ONCE):
        block: Any = read(rows[start : start + ROWS_AT_ONCE])
        block = block[:, columns].astype(np.float64)
        totals[start : start + ROWS_AT_ONCE] = np.asarray(block.sum(axis=1)).ravel()
        mean += np.asarray(block.sum(axis=0)).ravel() / len(rows)
        block.data **= 2
        square += np.asarray(block.sum(axis=0)).ravel() / len(rows)
    return totals, mean, square
