"""Cells moved to another mean: counts that are not zero are scaled, zeros stay."""

import numpy as np


def shift_factors(x_ng: np.ndarray, mean_g: np.ndarray, rounds: int = 4) -> np.ndarray:
    """[g] factors on linear values that bring the mean of log1p values to a goal as far as a factor of 100 can."""
    factor_g = np.ones(x_ng.shape[1], np.float32)
    linear_ng = np.expm1(x_ng)
    for _ in range(rounds):
        found_g = np.log1p(linear_ng * factor_g).mean(axis=0)
        factor_g = np.clip(factor_g * (np.expm1(mean_g) + 1e-4) / (np.expm1(found_g) + 1e-4), 0.01, 100)
    return factor_g.astype(np.float32)


def shift_cells(x_ng: np.ndarray, factor_g: np.ndarray) -> np.ndarray:
    """[n, g] log1p values of cells whose genes are scaled; zeros stay."""
    return np.log1p(np.expm1(x_ng) * factor_g)
