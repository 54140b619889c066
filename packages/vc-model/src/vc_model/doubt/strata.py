"""Where errors are larger or smaller than the variances of genes say: in strata of genes, and by size of the prediction.

    variance = level(stratum) * variance of the gene in the condition + slope(stratum)^2 * prediction^2

Genes that are called changed are those whose predictions are large for their variance, where an estimate erred upwards; the
slope counts errors that are in proportion to the prediction beside the others. Both numbers are those at which intervals of
`LEVEL` have the best pinball loss out of fold (Koenker and Bassett, Econometrica 1978): then they cover their share at every size
of prediction, as closely as two numbers can. Every perturbation weighs the same, and a stratum leaves what all strata have in
common only as far as its loss tells the two apart by more than a standard error over perturbations.

Where measuring adds more noise than the effect is large, that loss sees little of the effect itself. Among the out-of-fold genes
that would be called changed, those whose interval of the effect itself excludes 0, measured effects are regressed on the predicted
ones, whose noise is another. A prediction d of which the share b stands is wrong by (1 - b) d^2 in the mean square, so the squared
slope is at least 1 - b, for the smallest b within a standard error, until the genes that are still called stand.
This is calibration after the same selection (Benjamini and Yekutieli, JASA 2005; Jin and Ren, Confidence on the focal, 2024).
"""

from statistics import NormalDist

import numpy as np

LEVEL = 0.9
WIDTH = NormalDist().inv_cdf((1 + LEVEL) / 2)  # standard deviations on each side of a normal interval
# Of the variance; smaller ones fit the many small errors and miss the few large ones.
LEVELS = np.geomspace(1 / 2, 16, 11)
SLOPES = np.array([0, 0.15, 0.3, 0.45, 0.6, 0.8, 1.0, 1.4])
MOST = 3_000  # errors of a stratum that are looked at
STEP = np.log(2)  # of the level that is as far as a step of `SLOPE_STEP` of the slope
SLOPE_STEP = 0.3
START = (2, 3)  # a level of 1 and a slope of 0.45, which few perturbations leave things at
ROUNDS = 10  # of calling and judging the called
ERRORS = 1.0  # standard errors below the slope that the called are judged by


def fit_strata(
    error_mh: np.ndarray,
    noise_mh: np.ndarray,
    delta_mh: np.ndarray,
    var_mh: np.ndarray,
    shown_mh: np.ndarray,
    unit_m: np.ndarray,
    stratum_h: np.ndarray,
    n_strata: int,
) -> np.ndarray:
    """[e, 2] float32: level and squared slope of every stratum of genes.

    Args:
        error_mh: [m, h] out-of-fold errors.
        noise_mh: [m, h] variance of measurement.
        delta_mh: [m, h] out-of-fold predictions.
        var_mh: [m, h] variances of the effect, without what the judged condition tells.
        shown_mh: [m, h] bool, errors that count.
        unit_m: [m] int from 0, perturbation of each row.
        stratum_h: [h] stratum of each gene.
        n_strata: Number of strata.
    """
    n_units, losses = int(unit_m.max(initial=0)) + 1, []
    unit_mh = np.broadcast_to(unit_m[:, None], error_mh.shape)
    for e in range(n_strata):
        at = np.flatnonzero(shown_mh & (stratum_h == e))
        at = at[np.linspace(0, len(at) - 1, min(len(at), MOST)).astype(np.int64)]
        size_n, noise_n, square_n, var_n, unit_n = (
            x.ravel()[at] for x in (np.abs(error_mh), noise_mh, delta_mh**2, var_mh, unit_mh)
        )
        losses.append(_losses(size_n, noise_n, square_n, var_n, unit_n, n_units))
    fit_e2 = np.tile(np.array([1, 0], dtype=np.float32), (n_strata, 1))
    counts = np.array([np.isfinite(loss_ucs).any() for loss_ucs in losses])
    if counts.any():
        with np.errstate(invalid="ignore"):
            common = _choose(np.nanmean(np.stack(losses)[counts], axis=0), START)
        for e in np.flatnonzero(counts):
            level, slope = _choose(losses[e], common)
            fit_e2[e] = LEVELS[level], SLOPES[slope] ** 2
    return fit_e2


def keep_called(
    fit_e2: np.ndarray,
    measured_mh: np.ndarray,
    delta_mh: np.ndarray,
    var_mh: np.ndarray,
    carried_mh: np.ndarray,
    shown_mh: np.ndarray,
    unit_m: np.ndarray,
    stratum_h: np.ndarray,
) -> np.ndarray:
    """[e, 2] levels and squared slopes, the latter as large as genes called changed need.

    Args:
        fit_e2: [e, 2] from `fit_strata`.
        measured_mh: [m, h] measured effects.
        delta_mh: [m, h] out-of-fold predictions.
        var_mh: [m, h] variances of the effect, without what the judged condition tells.
        carried_mh: [m, h] variance that predictions have from the controls of training effects, where that is more.
        shown_mh: [m, h] bool, effects that count.
        unit_m: [m] int from 0, perturbation of each row.
        stratum_h: [h] stratum of each gene.
    """
    fit_e2 = fit_e2.copy()
    unit_mh = np.broadcast_to(unit_m[:, None], delta_mh.shape)
    gene_mh = np.broadcast_to(np.arange(delta_mh.shape[1]), delta_mh.shape)
    for e, (level, slope) in enumerate(fit_e2):
        here_mh = shown_mh & (stratum_h == e)
        square_n, own_n = delta_mh[here_mh] ** 2, level * var_mh[here_mh]
        carried_n = carried_mh[here_mh]
        cross_n, unit_n, gene_n = (delta_mh * measured_mh)[here_mh], unit_mh[here_mh], gene_mh[here_mh]
        for _ in range(ROUNDS):
            at = square_n > WIDTH**2 * (own_n + np.maximum(slope * square_n, carried_n))
            if not at.any():
                break
            need = 1 - _least_share(cross_n[at], square_n[at], unit_n[at], gene_n[at])
            if need <= slope:
                break
            slope = min(need, 1.0)
        fit_e2[e, 1] = slope
    return fit_e2


def _least_share(cross_n: np.ndarray, square_n: np.ndarray, unit_n: np.ndarray, gene_n: np.ndarray) -> float:
    """Slope of measured on predicted effects, minus its standard error over perturbations or over genes, the larger one.

    Genes, because all conditions share the noise of their controls.
    """
    total = square_n.sum()
    share = cross_n.sum() / total
    errors = []
    for group_n in (unit_n, gene_n):
        sums = np.bincount(group_n, cross_n - share * square_n)
        n = len(np.unique(group_n))
        errors.append(np.sqrt((sums**2).sum() * n / (n - 1)) / total if n > 1 else 1.0)
    return float(share - ERRORS * max(errors))


def _losses(
    size_n: np.ndarray, noise_n: np.ndarray, square_n: np.ndarray, var_n: np.ndarray, unit_n: np.ndarray, n_units: int
) -> np.ndarray:
    """[u, l, s] mean pinball loss of every perturbation at every level and slope; NaN where it has no error here."""
    scale_n = 1 / np.sqrt(noise_n + var_n)
    count_u = np.bincount(unit_n, minlength=n_units)
    loss_uls = np.full((n_units, len(LEVELS), len(SLOPES)), np.nan)
    for s, slope in enumerate(SLOPES):
        base_n = slope**2 * square_n + noise_n
        for at, level in enumerate(LEVELS):
            gap_n = (size_n - WIDTH * np.sqrt(level * var_n + base_n)) * scale_n
            total_u = np.bincount(unit_n, np.maximum(LEVEL * gap_n, (LEVEL - 1) * gap_n), n_units)
            np.divide(total_u, count_u, out=loss_uls[:, at, s], where=count_u > 0)
    return loss_uls


def _choose(loss_uls: np.ndarray, start: tuple[int, int]) -> tuple[int, int]:
    """Positions of the level and slope nearest to the start whose loss is the best one's within a standard error.

    Args:
        loss_uls: [u, l, s] losses of perturbations.
        start: Positions that few perturbations leave things at.
    """
    loss_uls = loss_uls[np.isfinite(loss_uls[:, 0, 0])]
    if len(loss_uls) < 2:
        return start
    mean_ls = loss_uls.mean(axis=0)
    best = np.unravel_index(mean_ls.argmin(), mean_ls.shape)
    gap_uls = loss_uls - loss_uls[:, best[0], best[1], None, None]
    good_ls = mean_ls - mean_ls[best] <= gap_uls.std(axis=0, ddof=1) / np.sqrt(len(loss_uls))
    far_ls = np.abs(np.log(LEVELS / LEVELS[start[0]]))[:, None] / STEP
    far_ls = far_ls + np.abs(SLOPES - SLOPES[start[1]]) / SLOPE_STEP
    # Of equally near ones the best.
    order = np.lexsort((mean_ls.ravel(), np.where(good_ls, far_ls, np.inf).ravel()))
    level, slope = np.unravel_index(order[0], mean_ls.shape)
    return int(level), int(slope)
