"""Do other seeds find the same features? Decoder directions matched one to one by their cosine."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from vc_interp.sae.dictionary import Dictionary

SAME = 0.7


@dataclass(frozen=True, eq=False)
class Stability:
    """Of one dictionary against others.

    Attributes:
        cosine_f: [f] mean over the others of the cosine with the partner of each feature.
        mean: Mean over features.
        shared: Share of features whose partner is at least `SAME` in every other one.
    """

    cosine_f: np.ndarray
    mean: float
    shared: float


def stability(first: Dictionary, others: Sequence[Dictionary]) -> Stability:
    """Match the features of a dictionary to those of others (same activations, other seeds)."""
    found = np.stack([matched_cosine(first.dec_fd, other.dec_fd) for other in others])
    return Stability(found.mean(axis=0), float(found.mean()), float((found >= SAME).all(axis=0).mean()))


def cosines(one_fd: np.ndarray, other_gd: np.ndarray) -> np.ndarray:
    """[f, g] cosines between rows; 0 for rows of zeros."""
    units = [rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (one_fd, other_gd)]
    return units[0] @ units[1].T


def matched_cosine(one_fd: np.ndarray, other_gd: np.ndarray) -> np.ndarray:
    """[f] cosine with the partner under the one-to-one matching of greatest sum; 0 for rows left over."""
    cosine_fg = cosines(one_fd, other_gd)
    rows, columns = linear_sum_assignment(-cosine_fg)
    out_f = np.zeros(len(one_fd), np.float32)
    out_f[rows] = cosine_fg[rows, columns]
    return out_f


def max_cosine(truth_kd: np.ndarray, found_fd: np.ndarray) -> np.ndarray:
    """[k] greatest cosine of every true direction with any found one (mean max cosine similarity, Sharkey et al. 2022)."""
    return cosines(truth_kd, found_fd).max(axis=1)
