"""Distances between rows; scipy is imported when one is asked for, so that listing metrics does not wait for it."""

from typing import Literal

import numpy as np


def distances(
    a_nd: np.ndarray, b_md: np.ndarray, kind: Literal["euclidean", "sqeuclidean", "cityblock"] = "euclidean"
) -> np.ndarray:
    """`[n, m]` distance of every row of one table from every row of another.

    Args:
        a_nd: `[n, d]`.
        b_md: `[m, d]`.
        kind: As scipy.spatial.distance.cdist names it.
    """
    from scipy.spatial.distance import cdist

    return cdist(a_nd, b_md, kind)
