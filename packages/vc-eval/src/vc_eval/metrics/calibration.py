"""Whether predicted intervals hold what they promise.

A predicted sd speaks about the true mean; the measured delta carries sampling noise on top, so intervals are widened
by the measurement noise before coverage is counted.
"""

import numpy as np
import scipy.special

from vc_eval.metrics.uncertainty import LEVELS

FLAT = 1e-6  # relative spread below which a float32 quantity is constant


def coverage(
    predicted_pg: np.ndarray,
    sd_pg: np.ndarray,
    measured_pg: np.ndarray,
    noise_var_pg: np.ndarray,
    keep_pg: np.ndarray,
    width_pl: np.ndarray | None = None,
) -> np.ndarray:
    """`[p, 9]` share of measured deltas inside the central interval of each level 0.1 to 0.9.

    Genes detected in no cell of the condition and in no control have no noise and no delta; they are left out.

    Args:
        predicted_pg: `[p, g]` predicted deltas.
        sd_pg: `[p, g]` predicted standard deviations.
        measured_pg: `[p, g]` measured deltas.
        noise_var_pg: `[p, g]` sampling variance of the measured deltas.
        keep_pg: `[p, g]` bool.
        width_pl: `[p, 9]` half-widths of the intervals in standard deviations; by default those of a Gaussian.
    """
    keep_pg = keep_pg & ~((noise_var_pg == 0) & (measured_pg == 0))
    total_sd = np.sqrt(sd_pg**2 + noise_var_pg)
    residual = np.abs(measured_pg - predicted_pg)
    if width_pl is None:
        width_pl = np.broadcast_to(scipy.special.ndtri(0.5 + np.array(LEVELS) / 2), (len(residual), len(LEVELS)))
    with np.errstate(invalid="ignore"):
        inside = [
            ((residual <= width_p[:, None] * total_sd) & keep_pg).sum(axis=1) / keep_pg.sum(axis=1)
            for width_p in width_pl.T
        ]
    return np.stack(inside, axis=1)


def coverage_error(coverage_l: np.ndarray) -> np.ndarray:
    """Mean over levels of |coverage - level|; levels are the last axis."""
    return np.abs(np.asarray(coverage_l) - np.array(LEVELS)).mean(axis=-1)


def predicted_error(sd_pg: np.ndarray, keep_pg: np.ndarray) -> np.ndarray:
    """`[p]` root mean square of the predicted sd over the kept genes."""
    return np.sqrt((np.where(keep_pg, sd_pg, 0) ** 2).sum(axis=1) / keep_pg.sum(axis=1))


def error_rank_correlation(predicted_p: np.ndarray, realised_p: np.ndarray) -> float:
    """Spearman correlation of predicted and realised error over conditions; NaN below 3 or where a side is constant."""
    from scipy.stats import rankdata  # heavy to import, rarely needed

    kept = np.isfinite(predicted_p) & np.isfinite(realised_p)
    a, b = np.asarray(predicted_p)[kept], np.asarray(realised_p)[kept]
    if a.size < 3 or np.ptp(a) <= FLAT * np.abs(a).max() or np.ptp(b) <= FLAT * np.abs(b).max():
        return float("nan")
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def error_rank_correlation_draws(predicted_p: np.ndarray, realised_p: np.ndarray, weights_bp: np.ndarray) -> np.ndarray:
    """`[b]` what `error_rank_correlation` gives when each condition occurs as often as a resample drew it.

    Ranks are midranks of the resampled conditions, computed from counts without writing the resamples out.

    Args:
        predicted_p: `[p]` predicted errors.
        realised_p: `[p]` realised errors.
        weights_bp: `[b, p]` how often each condition occurs in each resample.
    """
    kept = np.isfinite(predicted_p) & np.isfinite(realised_p)
    a, b = np.asarray(predicted_p, np.float64)[kept], np.asarray(realised_p, np.float64)[kept]
    weights_bp = np.asarray(weights_bp, np.float64)[:, kept]
    n_b = weights_bp.sum(axis=1)
    if a.size == 0:
        return np.full(len(weights_bp), np.nan)
    centred = [_resampled_midranks(side, weights_bp) - (n_b[:, None] + 1) / 2 for side in (a, b)]
    var_a, var_b, both = (
        (weights_bp * x * y).sum(axis=1)
        for x, y in ((centred[0], centred[0]), (centred[1], centred[1]), (centred[0], centred[1]))
    )
    defined = (n_b >= 3) & ~_resampled_flat(a, weights_bp) & ~_resampled_flat(b, weights_bp)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(defined, both / np.sqrt(var_a * var_b), np.nan)


def _resampled_midranks(values_p: np.ndarray, weights_bp: np.ndarray) -> np.ndarray:
    """`[b, p]` midrank of each value among the resampled ones."""
    block_p = np.unique(values_p, return_inverse=True)[1]
    block_sizes_bk = np.zeros((len(weights_bp), int(block_p.max()) + 1))
    np.add.at(block_sizes_bk.T, block_p, weights_bp.T)
    before_bk = np.cumsum(block_sizes_bk, axis=1) - block_sizes_bk
    return (before_bk + (block_sizes_bk + 1) / 2)[:, block_p]


def _resampled_flat(values_p: np.ndarray, weights_bp: np.ndarray) -> np.ndarray:
    """`[b]` bool: the drawn values are constant up to float32 rounding."""
    drawn = weights_bp > 0
    high = np.where(drawn, values_p, -np.inf).max(axis=1)
    low = np.where(drawn, values_p, np.inf).min(axis=1)
    return high - low <= FLAT * np.maximum(np.abs(high), np.abs(low))
