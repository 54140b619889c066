"""Main components of training effects, found in the p x p Gram space so that their cost does not grow with genes."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import scipy.linalg

from vc_model.table.effect import line_weights
from vc_model.table.effects import EffectTable

N_EFFECT_PCS = 50


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of how single effects deviate from their line's mean.

    Attributes:
        rows: [s] rows of the table with one target.
        mean_lp: [l + 1, p] weights of the lines' mean single effects.
        score_sk: [s, k] float64 scores, the largest component first.
        lift_kp: [k, p] float64; scores @ lift_kp are weights of training effects.
    """

    rows: np.ndarray
    mean_lp: np.ndarray
    score_sk: np.ndarray
    lift_kp: np.ndarray


def make_components(table: EffectTable) -> Components:
    """The components of a table's singles, made once per table."""

    def make() -> Components:
        rows = np.flatnonzero(table.single_p)
        mean_lp = line_weights(table, table.single_p, "conditions")
        # Rows of centre_sp turn effects into deviations from the line's mean.
        centre_sp = np.eye(len(table))[rows] - mean_lp[table.line_p[rows]]
        value_k, vector_sk = top_eigen(centre_sp @ table.gram_pp @ centre_sp.T, N_EFFECT_PCS)
        size_k = np.sqrt(value_k)
        return Components(rows, mean_lp, vector_sk * size_k, (vector_sk / size_k).T @ centre_sp)

    return table.once("components", make)


def top_eigen(symmetric_ss: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues (descending) of a positive semi-definite matrix and their vectors.

    Signs are fixed (largest entry positive), because features made of eigenvectors must not depend on chance; values
    that are numerically zero are left out.

    Returns:
        values: [k] with k <= n.
        vectors: [s, k].
    """
    size = len(symmetric_ss)
    if size == 0 or not symmetric_ss.any():
        return np.zeros(0), np.zeros((size, 0))
    found = scipy.linalg.eigh(symmetric_ss, subset_by_index=(max(0, size - n), size - 1))
    value_k, vector_sk = cast("tuple[np.ndarray, np.ndarray]", found)
    keep = np.flatnonzero(value_k > 1e-7 * value_k[-1])[::-1]
    vector_sk = vector_sk[:, keep]
    return value_k[keep], vector_sk * np.where(
        vector_sk[np.abs(vector_sk).argmax(axis=0), np.arange(len(keep))] < 0, -1, 1
    )
