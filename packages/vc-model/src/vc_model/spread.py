"""Predictive variance from out-of-fold errors, with the noise of measurement taken out.

var(condition, gene) = temperature(bin) * size(condition) * variance(gene, bin). The gene-wise variance is the mean of
squared out-of-fold errors minus measurement noise, shrunk towards a common level; `size` grows with the predicted
effect, because large effects are missed by more; the temperature makes central intervals cover what they should, out
of fold.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls
from scipy.special import ndtri

from vc_model.folds import BINS, KnownActions, OutOfFold, known_actions
from vc_model.table import Conditions, EffectTable

PRIOR_ROWS = 10  # how many conditions the common level is worth against a gene's own variance
MIN_ROWS = 8  # conditions below which a bin borrows its variance
GENES_FOR_COVERAGE = 50  # evenly spaced genes on which coverage is matched
FLOOR = 1e-8  # (log1p CP10k)^2; no prediction is certain
LEVELS = np.arange(1, 10) / 10
# Where a bin had too few out-of-fold rows: which other bins stand in, in this order.
FALLBACK = {
    "measured": (),
    "unseen": ("transfer", "new_line_unseen", "new_line"),
    "transfer": ("unseen", "new_line"),
    "new_line": ("new_line_unseen", "transfer", "unseen"),
    "new_line_unseen": ("new_line", "unseen", "transfer"),
    "combo_measured": ("combo_unmeasured",),
    "combo_unmeasured": ("combo_measured",),
}


@dataclass(frozen=True, eq=False)
class Spread:
    """Fitted predictive variance.

    Attributes:
        known: What was in training, to tell the bin of a condition.
        var_bg: [b, g] float32, per bin and gene, temperature included.
        size_b2: [b, 2] float32, the condition's factor is size[0] + size[1] * (mean squared predicted effect / usual).
        usual_b: [b] float32, mean squared predicted effect of the bin's out-of-fold rows.
    """

    known: KnownActions
    var_bg: np.ndarray
    size_b2: np.ndarray
    usual_b: np.ndarray

    def variance(self, conditions: Conditions, delta_qg: np.ndarray) -> np.ndarray:
        """[q, g] float32 variance of the noise-free effect around the prediction `delta_qg`."""
        bin_q = self.known.bins(conditions)
        return self.var_bg[bin_q] * self._factor(bin_q, delta_qg)[:, None]

    def _factor(self, bin_q: np.ndarray, delta_qg: np.ndarray) -> np.ndarray:
        ratio_q = np.einsum("qg,qg->q", delta_qg, delta_qg) / delta_qg.shape[1] / self.usual_b[bin_q]
        # Beyond what was seen out of fold the factor stays where it was.
        return (self.size_b2[bin_q, 0] + self.size_b2[bin_q, 1] * np.minimum(ratio_q, 10)).astype(np.float32)


def fit_spread(table: EffectTable, oof: OutOfFold, delta_mg: np.ndarray) -> Spread:
    """Fit the variance of a model from its out-of-fold predictions.

    Args:
        table: The training effects.
        oof: Which rows were held out in which bin.
        delta_mg: [m, g] the model's out-of-fold predictions.

    Returns:
        The fitted variance; bins without enough rows borrow from related ones, combinations at last from singles
        (twice, as a sum of two), `measured` has the noise of its own measurement.
    """
    n_bins, n_genes = len(BINS), len(table.genes)
    var_bg = np.zeros((n_bins, n_genes), dtype=np.float32)
    size_b2 = np.tile(np.array([1, 0], dtype=np.float32), (n_bins, 1))
    usual_b = np.ones(n_bins, dtype=np.float32)
    fitted = set()
    for kind in np.unique(oof.bin_m):
        at = np.flatnonzero(oof.bin_m == kind)
        if len(at) < MIN_ROWS:
            continue
        rows = oof.row_m[at]
        var_bg[kind], size_b2[kind], usual_b[kind] = _fit_bin(
            table.check_pg[rows] - delta_mg[at], table.noise_pg(rows), delta_mg[at]
        )
        fitted.add(BINS[kind])
    everything = table.delta_pg.astype(np.float64).var(axis=0) + FLOOR
    for kind, name in enumerate(BINS):
        if name in fitted:
            continue
        source = next((other for other in FALLBACK[name] if other in fitted), None)
        factor = 1.0
        if source is None and name.startswith("combo"):
            source, factor = next((other for other in ("unseen", "transfer", "new_line") if other in fitted), None), 2.0
        if name == "measured":
            var_bg[kind] = np.median(table.noise_pg(), axis=0)
        elif source is None:
            var_bg[kind] = everything
        else:
            at = BINS.index(source)
            var_bg[kind], size_b2[kind], usual_b[kind] = factor * var_bg[at], size_b2[at], usual_b[at]
    return Spread(known_actions(table), np.maximum(var_bg, FLOOR), size_b2, usual_b)


def _fit_bin(error_mg: np.ndarray, noise_mg: np.ndarray, delta_mg: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Gene variances, size factor and usual size of one bin."""
    m = len(error_mg)
    excess_mg = error_mg**2 - noise_mg
    # Rows measured on few cells say little about the error, so they count less.
    weight_m = 1 / (noise_mg.mean(axis=1) + np.mean(error_mg**2))
    raw_g = weight_m @ excess_mg / weight_m.sum()
    floor = max(FLOOR, 1e-3 * float(np.mean(error_mg**2)))
    common = max(float(raw_g.mean()), floor)
    var_g = np.maximum((m * raw_g + PRIOR_ROWS * common) / (m + PRIOR_ROWS), min(floor, common))
    size_m = np.einsum("mg,mg->m", delta_mg, delta_mg) / delta_mg.shape[1]
    usual = max(float(size_m.mean()), 1e-12)
    ratio_m = np.minimum(size_m / usual, 10)
    scale_m = np.maximum((excess_mg / var_g).mean(axis=1), 0)
    root_m = np.sqrt(weight_m)
    size_2 = nnls(np.stack([np.ones(m), ratio_m], axis=1) * root_m[:, None], scale_m * root_m)[0]
    size_2 = np.array([max(size_2[0], 0.05), size_2[1]])
    genes = np.linspace(0, len(var_g) - 1, min(len(var_g), GENES_FOR_COVERAGE)).astype(np.int64)
    var_mg = (size_2[0] + size_2[1] * ratio_m)[:, None] * var_g[genes]
    temperature = _match_coverage(error_mg[:, genes], noise_mg[:, genes], var_mg)
    return (var_g * temperature).astype(np.float32), size_2.astype(np.float32), usual


def _match_coverage(error_mg: np.ndarray, noise_mg: np.ndarray, var_mg: np.ndarray) -> float:
    """The temperature at which central intervals of 10 to 90 % cover their share, on average over the levels."""
    width_l = ndtri((1 + LEVELS) / 2)
    best, temperature = np.inf, 1.0
    for candidate in np.geomspace(0.05, 5, 25):
        z_mg = np.abs(error_mg) / np.sqrt(candidate * var_mg + noise_mg)
        inside_l = np.cumsum(np.bincount(np.searchsorted(width_l, z_mg.ravel()), minlength=len(LEVELS) + 1))[:-1]
        gap = np.abs(inside_l / z_mg.size - LEVELS).mean()
        if gap < best:
            best, temperature = gap, float(candidate)
    return temperature
