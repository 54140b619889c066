"""Gates: how much of a correction to let through, decided on predictions that never saw what they are judged on."""

import numpy as np


def fit_gate(
    error_mg: np.ndarray, correction_mg: np.ndarray, weight_m: np.ndarray, fold_m: np.ndarray, group_m: np.ndarray
) -> float:
    """The share of a correction to add, or 0 unless the data support it.

    The share is least squares, cut to [0, 1]. It is judged fold by fold with the share of the other folds, and kept only
    if the mean improvement over groups exceeds one standard error.

    Args:
        error_mg: [m, g] what is left to explain, measured minus predicted out of fold.
        correction_mg: [m, g] cross-fitted correction.
        weight_m: [m] weights of the conditions.
        fold_m: [m] fold of each row.
        group_m: [m] rows of one target share a group; groups are the independent units.

    Returns:
        A number in [0, 1].
    """
    cross_m, square_m = _products(error_mg, correction_mg, weight_m)
    if square_m.sum() <= 0:
        return 0.0
    share_m = np.array([_share(cross_m[fold_m != fold], square_m[fold_m != fold]) for fold in fold_m])
    gain_m = 2 * share_m * cross_m - share_m**2 * square_m
    group_m = np.unique(group_m, return_inverse=True)[1]
    gain_u = np.bincount(group_m, weights=gain_m)
    if len(gain_u) < 2 or gain_u.mean() <= gain_u.std(ddof=1) / np.sqrt(len(gain_u)):
        return 0.0
    return _share(cross_m, square_m)


def least_squares_share(error_mg: np.ndarray, correction_mg: np.ndarray, weight_m: np.ndarray) -> float:
    """The share of a correction that explains an error best, in [0, 1], whether the data support it or not."""
    return _share(*_products(error_mg, correction_mg, weight_m))


def _products(error_mg: np.ndarray, correction_mg: np.ndarray, weight_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[m] weighted products of the correction with the error, and with itself."""
    cross_m = weight_m * np.einsum("mg,mg->m", error_mg, correction_mg, dtype=np.float64)
    return cross_m, weight_m * np.einsum("mg,mg->m", correction_mg, correction_mg, dtype=np.float64)


def _share(cross_m: np.ndarray, square_m: np.ndarray) -> float:
    total = square_m.sum()
    return float(np.clip(cross_m.sum() / total, 0, 1)) if total > 0 else 0.0
