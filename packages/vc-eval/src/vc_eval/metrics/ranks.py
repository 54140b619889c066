"""Rank statistics that several families share: AUROC, average precision, correlations, similarity of vectors."""

import numpy as np
from numpy.typing import ArrayLike

FLAT = 1e-12  # relative spread below which a list is constant


def auroc(score_n: np.ndarray, label_n: np.ndarray) -> float:
    """Chance that a positive scores above a negative, ties half; NaN with one class.

    Args:
        score_n: `[n]` scores, greater means positive.
        label_n: `[n]` bool.
    """
    label_n = np.asarray(label_n, bool)
    n_positive = int(label_n.sum())
    n_negative = label_n.size - n_positive
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    from scipy.stats import rankdata  # heavy to import

    ranks = rankdata(np.asarray(score_n, np.float64))  # ranks take the type of what is ranked
    return float((ranks[label_n].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def average_precision(score_n: np.ndarray, label_n: np.ndarray) -> float:
    """Sum over distinct scores, descending, of the gain in recall times the precision; NaN with one class."""
    label_n = np.asarray(label_n, bool)
    if not 0 < label_n.sum() < label_n.size:
        return float("nan")
    order = np.argsort(-np.asarray(score_n), kind="stable")
    ordered = np.asarray(score_n)[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), ordered.size - 1)
    hits = np.cumsum(label_n[order])[last]
    return float((np.diff(hits, prepend=0) / label_n.sum() * (hits / (last + 1))).sum())


def pearson(a_n: np.ndarray, b_n: np.ndarray) -> float:
    """Pearson correlation of two lists; NaN below 3 values or where one is constant."""
    a_n, b_n = np.asarray(a_n, np.float64), np.asarray(b_n, np.float64)
    if a_n.size < 3 or _constant(a_n) or _constant(b_n):
        return float("nan")
    return float(np.clip(np.corrcoef(a_n, b_n)[0, 1], -1, 1))


def spearman(a_n: np.ndarray, b_n: np.ndarray) -> float:
    """Spearman correlation of two lists, ties midrank; NaN below 3 values or where one is constant."""
    from scipy.stats import rankdata  # heavy to import

    return pearson(*(rankdata(np.asarray(x, np.float64)) for x in (a_n, b_n)))


def cosine_matrix(a_pd: np.ndarray, b_qd: np.ndarray, eps: float = 1e-8) -> np.ndarray:
    """`[p, q]` cosine of every pair of rows; norms are floored at `eps`, so a zero vector is at 0."""
    a = a_pd / np.maximum(np.linalg.norm(a_pd, axis=1, keepdims=True), eps)
    b = b_qd / np.maximum(np.linalg.norm(b_qd, axis=1, keepdims=True), eps)
    return a @ b.T


def cosine_rows(a_pd: np.ndarray, b_pd: np.ndarray, eps: float = 1e-8) -> np.ndarray:
    """`[p]` cosine of equal rows."""
    norms = np.maximum(np.linalg.norm(a_pd, axis=1), eps) * np.maximum(np.linalg.norm(b_pd, axis=1), eps)
    return np.einsum("pd,pd->p", a_pd, b_pd) / norms


def top_k(size_pg: np.ndarray, k: int) -> np.ndarray:
    """`[p, k]` positions of the k largest values of each row, ties by position; NaN and -inf come last."""
    return np.argsort(-np.nan_to_num(size_pg, nan=-np.inf, posinf=np.inf, neginf=-np.inf), axis=1, kind="stable")[:, :k]


def mean_defined(values: ArrayLike) -> float:
    """Mean of the values that are not NaN; NaN if there is none."""
    array = np.asarray(values, np.float64)
    array = array[~np.isnan(array)]
    return float(array.mean()) if array.size else float("nan")


def _constant(a_n: np.ndarray) -> bool:
    return bool(np.ptp(a_n) <= FLAT * np.abs(a_n).max())
