"""Predictive variance and calibrated intervals from out-of-fold errors, with the noise of measurement taken out.

var(condition, gene) = temperature(bin) * size(condition) * variance(gene, bin). The gene-wise variance is the mean of
squared out-of-fold errors minus measurement noise, shrunk towards a common level; `size` grows with the predicted
effect, because large effects are missed by more, and with the model's own doubt. Factors per stratum of genes (by expression in
control cells) and of predicted effects (in standard deviations) make intervals cover as much of the strongly expressed
genes and of the large predicted effects as of all others (Mondrian strata; Vovk et al., Algorithmic Learning in a Random
World, 2005). The temperature makes central Gaussian intervals cover what they should; what is left of the shape of the errors is in the conformal thresholds. Both are judged
on variances to which the judged perturbation has not contributed.
"""

from dataclasses import dataclass, replace

import numpy as np

from vc_model.doubt.conformal import Conformal, fit_conformal
from vc_model.stored import stored
from vc_model.table.effects import EffectTable
from vc_model.table.folds import BINS, KnownActions, OutOfFold, known_actions, target_groups, units

PRIOR_ROWS = 10  # how many conditions the common level is worth against a gene's own variance
MIN_ROWS = 5  # conditions below which a bin borrows its variance
GENES_FOR_COVERAGE = 50  # evenly spaced genes on which coverage is matched
GENES_FOR_CONFORMAL = 500  # evenly spaced genes on which thresholds are taken
MOST = 10  # times the usual size or doubt beyond which a condition's variance grows no more
FLOOR = 1e-8  # (log1p CP10k)^2; no prediction is certain
LEVELS = np.arange(1, 10) / 10
EXPRESSION_STRATA = 4  # quarters of the genes by mean expression in control cells
EFFECT_SHARES = (
    0.85,
    0.98,
)  # of out-of-fold predictions are smaller, in standard deviations: edges of strata of effects
STRATUM_LEVEL = 0.9  # central interval at which strata are made to cover alike
STRATUM_PRIOR = 200  # genes of conditions that a factor of 1 is worth
STRATUM_FACTORS = np.geomspace(1 / 16, 64, 41)  # of the variance
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


@stored
@dataclass(frozen=True, eq=False)
class Spread:
    """Fitted predictive variance.

    Attributes:
        known: What was in training, to tell the bin of a condition.
        var_bg: [b, g] float32, per bin and gene, temperature included.
        size_b3: [b, 3] float32, the condition's factor is size[0] + size[1] * (mean squared predicted effect / usual) +
            size[2] * (mean doubt / usual).
        usual_b2: [b, 2] float32, mean squared predicted effect and mean doubt of the bin's out-of-fold rows.
        stratum_g: [g] int8, stratum of expression of each gene.
        edge_b2: [b, 2] float32, predicted effects in standard deviations that part the strata of effects.
        stratum_bes: [b, e, s] float32, factor of the variance per stratum of expression and of predicted effect.
        conformal: Thresholds of the errors in units of the standard deviation.
    """

    known: KnownActions
    var_bg: np.ndarray
    size_b3: np.ndarray
    usual_b2: np.ndarray
    stratum_g: np.ndarray
    edge_b2: np.ndarray
    stratum_bes: np.ndarray
    conformal: Conformal

    def variance(
        self,
        bin_q: np.ndarray,
        delta_qg: np.ndarray,
        doubt_q: np.ndarray | None = None,
        out_qg: np.ndarray | None = None,
    ) -> np.ndarray:
        """[q, g] float32 variance of the noise-free effect around the prediction.

        Args:
            bin_q: [q] position in `BINS`.
            delta_qg: [q, g] predicted effects.
            doubt_q: [q] mean over genes of the variance that the model itself states, or None: the usual one.
            out_qg: Where to write it.
        """
        size_q = np.einsum("qg,qg->q", delta_qg, delta_qg) / delta_qg.shape[1]
        factor_q = _factor(self.size_b3[bin_q].T, self.usual_b2[bin_q].T, size_q, doubt_q)
        out_qg = np.empty(delta_qg.shape, np.float32) if out_qg is None else out_qg
        for kind in np.unique(bin_q):
            at = np.flatnonzero(bin_q == kind)
            rows = slice(None) if len(at) == len(bin_q) else at
            plain_qg = factor_q[at].astype(np.float32)[:, None] * self.var_bg[kind]
            out_qg[rows] = plain_qg * _stratum_factor(
                self.stratum_bes[kind], self.edge_b2[kind], self.stratum_g, delta_qg[rows], plain_qg
            )
        return out_qg

    def recalibrated(self, table: EffectTable, bin_p: np.ndarray, delta_pg: np.ndarray, var_pg: np.ndarray) -> "Spread":
        """The same variances with thresholds from conditions that the model has not seen: split-conformal.

        Bins and lines without such conditions keep their thresholds.

        Args:
            table: Measured effects of these conditions, at least one of each perturbation that is to count.
            bin_p: [p] their bins to the model.
            delta_pg: [p, g] what the model predicts.
            var_pg: [p, g] its variances.
        """
        genes = _evenly(delta_pg.shape[1], GENES_FOR_CONFORMAL)
        total_pg = var_pg[:, genes] + table.noise_pg()[:, genes]
        score_pg = np.abs(table.check_pg[:, genes] - delta_pg[:, genes]) / np.sqrt(total_pg)
        score_pg[table.check_pg[:, genes] == 0] = np.nan
        unit_p, lines = target_groups(table.conditions), self.conformal.lines
        line_p = np.array([(*lines, line).index(line) for line in table.conditions.cell_line.tolist()])
        scores = {BINS[k]: tuple(part[bin_p == k] for part in (score_pg, unit_p, line_p)) for k in np.unique(bin_p)}
        return replace(self, conformal=fit_conformal(lines, scores, {}, self.conformal))


def _factor(size_3: np.ndarray, usual_2: np.ndarray, size_q: np.ndarray, doubt_q: np.ndarray | None) -> np.ndarray:
    """[q] factor of a condition's variance; coefficients and usual values broadcast over q."""
    doubt = 1.0 if doubt_q is None else np.minimum(doubt_q / usual_2[1], MOST)
    return size_3[0] + size_3[1] * np.minimum(size_q / usual_2[0], MOST) + size_3[2] * doubt


def _stratum_factor(
    factor_es: np.ndarray, edge_2: np.ndarray, stratum_g: np.ndarray, delta_qg: np.ndarray, var_qg: np.ndarray
) -> np.ndarray:
    """[q, g] float32 factors of the variance of each gene of each condition."""
    result_qg = np.broadcast_to(factor_es[stratum_g, 0], var_qg.shape)
    square_qg = delta_qg * delta_qg
    for at, edge in enumerate(edge_2):
        above_qg = square_qg > np.float32(edge**2) * var_qg
        result_qg = np.where(above_qg, factor_es[stratum_g, at + 1], result_qg)
    return result_qg.astype(np.float32, copy=False)


def expression_strata(table: EffectTable) -> np.ndarray:
    """[g] int8, the quarter of each gene by its mean expression over the control cells of the trained lines."""
    contexts = table.contexts
    mean_g = contexts.base_cg[contexts.positions(table.trained_lines)].mean(axis=0)
    rank_g = np.argsort(np.argsort(mean_g, kind="stable"), kind="stable")
    return (rank_g * EXPRESSION_STRATA // max(len(rank_g), 1)).astype(np.int8)


def _evenly(n: int, most: int) -> np.ndarray:
    return np.linspace(0, n - 1, min(n, most)).astype(np.int64)


def fit_spread(table: EffectTable, oof: OutOfFold, delta_mg: np.ndarray, doubt_m: np.ndarray | None = None) -> Spread:
    """Fit the variance of a model from its out-of-fold predictions.

    Args:
        table: The training effects.
        oof: Which rows were held out in which bin.
        delta_mg: [m, g] the model's out-of-fold predictions.
        doubt_m: [m] mean over genes of the variance that the model states for them, if it states one.

    Returns:
        The fitted variance; bins without enough rows borrow from related ones, combinations at last from singles
        (twice, as a sum of two), `measured` has the noise of its own measurement.
    """
    n_bins, n_genes = len(BINS), len(table.genes)
    var_bg = np.zeros((n_bins, n_genes), dtype=np.float32)
    size_b3 = np.tile(np.array([1, 0, 0], dtype=np.float32), (n_bins, 1))
    usual_b2 = np.ones((n_bins, 2), dtype=np.float32)
    stratum_g = expression_strata(table)
    edge_b2 = np.full((n_bins, len(EFFECT_SHARES)), np.inf, dtype=np.float32)
    stratum_bes = np.ones((n_bins, EXPRESSION_STRATA, len(EFFECT_SHARES) + 1), dtype=np.float32)
    scores, borrowed = {}, {}
    for kind in np.unique(oof.bin_m):
        at = np.flatnonzero(oof.bin_m == kind)
        rows = oof.row_m[at]
        unit_m = units(table.conditions.subset(rows))
        if len(at) < MIN_ROWS or len(np.unique(unit_m)) < 2:
            continue
        doubt = None if doubt_m is None else doubt_m[at]
        var_bg[kind], size_b3[kind], usual_b2[kind], edge_b2[kind], stratum_bes[kind], score_mg = _fit_bin(
            table.check_pg[rows], table.noise_pg(rows), delta_mg[at], doubt, unit_m, stratum_g
        )
        scores[BINS[kind]] = (score_mg, unit_m, table.line_p[rows])
    everything = table.delta_pg.astype(np.float64).var(axis=0) + FLOOR
    for kind, name in enumerate(BINS):
        if name in scores:
            continue
        source = next((other for other in FALLBACK[name] if other in scores), None)
        factor = 1.0
        if source is None and name.startswith("combo"):
            source, factor = next((other for other in ("unseen", "transfer", "new_line") if other in scores), None), 2.0
        if name == "measured":
            var_bg[kind] = np.median(table.noise_pg(), axis=0)
        elif source is None:
            var_bg[kind] = everything
        else:
            at = BINS.index(source)
            var_bg[kind], size_b3[kind], usual_b2[kind] = factor * var_bg[at], size_b3[at], usual_b2[at]
            edge_b2[kind], stratum_bes[kind] = edge_b2[at], stratum_bes[at]
            borrowed[name] = source
    conformal = fit_conformal(table.trained_lines, scores, borrowed)
    var_bg = np.maximum(var_bg, FLOOR)
    return Spread(known_actions(table), var_bg, size_b3, usual_b2, stratum_g, edge_b2, stratum_bes, conformal)


def _fit_bin(
    check_mg: np.ndarray,
    noise_mg: np.ndarray,
    delta_mg: np.ndarray,
    doubt_m: np.ndarray | None,
    unit_m: np.ndarray,
    stratum_g: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Gene variances, size factor, usual sizes, edges and factors of strata, and standardised errors of one bin."""
    unit_m = np.unique(unit_m, return_inverse=True)[1]
    error_mg = check_mg - delta_mg
    mean_square = float(np.mean(error_mg**2))
    excess_mg = error_mg**2 - noise_mg
    # Rows measured on few cells say little about the error, so they count less.
    weight_m = 1 / (noise_mg.mean(axis=1) + mean_square)
    var_g = _gene_variance((weight_m @ excess_mg)[None], weight_m.sum(), len(error_mg), mean_square)[0]
    size_m = np.einsum("mg,mg->m", delta_mg, delta_mg) / delta_mg.shape[1]
    doubt_m = np.zeros(len(size_m)) if doubt_m is None else doubt_m
    usual_2 = np.maximum([size_m.mean(), doubt_m.mean()], 1e-12)
    parts_m3 = np.stack(
        [np.ones(len(size_m)), *np.minimum(np.stack([size_m, doubt_m]) / usual_2[:, None], MOST)], axis=1
    )
    # A ratio of sums: genes whose variance is hardly known to be above 0 must not speak loudest.
    scale_m = np.maximum(excess_mg.mean(axis=1) / var_g.mean(), 0)
    size_3 = _fit_size(parts_m3[:, : 3 if doubt_m.any() else 2], scale_m, weight_m)
    factor_m1 = (parts_m3 @ size_3)[:, None]
    # What the gene variances would be without the rows of a perturbation; only these may judge it.
    genes = _evenly(error_mg.shape[1], GENES_FOR_CONFORMAL)
    n_u, error_mh, noise_mh = np.bincount(unit_m), error_mg[:, genes], noise_mg[:, genes]
    own_uh = np.zeros((len(n_u), len(genes)))
    np.add.at(own_uh, unit_m, weight_m[:, None] * excess_mg[:, genes])
    others_uh = _gene_variance(
        own_uh.sum(axis=0) - own_uh,
        (weight_m.sum() - np.bincount(unit_m, weight_m))[:, None],
        (len(unit_m) - n_u)[:, None],
        mean_square,
    )
    var_mh = factor_m1 * others_uh[unit_m]
    few = _evenly(len(genes), GENES_FOR_COVERAGE)
    # A gene that no cell and no control shows says nothing about errors; the scorer leaves it out, too.
    shown_mh = check_mg[:, genes] != 0
    at = shown_mh[:, few] if shown_mh[:, few].any() else np.ones_like(shown_mh[:, few])
    temperature = _match_coverage(error_mh[:, few][at], noise_mh[:, few][at], var_mh[:, few][at])
    var_mh *= temperature
    edge_2 = np.quantile(np.abs(delta_mg[:, genes]) / np.sqrt(var_mh), EFFECT_SHARES).astype(np.float32)
    factor_es = _fit_strata(error_mh, noise_mh, delta_mg[:, genes], var_mh, shown_mh, stratum_g[genes], edge_2)
    var_mh *= _stratum_factor(factor_es, edge_2, stratum_g[genes], delta_mg[:, genes], var_mh)
    score_mh = np.where(shown_mh, np.abs(error_mh) / np.sqrt(var_mh + noise_mh), np.nan)
    return (
        (var_g * temperature).astype(np.float32),
        size_3.astype(np.float32),
        usual_2.astype(np.float32),
        edge_2,
        factor_es,
        score_mh,
    )


def _fit_strata(
    error_mh: np.ndarray,
    noise_mh: np.ndarray,
    delta_mh: np.ndarray,
    var_mh: np.ndarray,
    shown_mh: np.ndarray,
    stratum_h: np.ndarray,
    edge_2: np.ndarray,
) -> np.ndarray:
    """[e, s] float32 factors of the variance at which every stratum has the share inside that all genes together have.

    Factors are shrunk to 1 as few genes of conditions tell them.
    """
    factor_es = np.ones((EXPRESSION_STRATA, len(edge_2) + 1), dtype=np.float32)
    score_mh = np.abs(error_mh) / np.sqrt(var_mh + noise_mh)
    if not shown_mh.any():
        return factor_es
    width = float(np.quantile(score_mh[shown_mh], STRATUM_LEVEL))
    if width == 0:
        return factor_es
    effect_mh = (delta_mh[..., None] ** 2 > edge_2.astype(np.float64) ** 2 * var_mh[..., None]).sum(axis=-1)
    least_n = _least_factor(error_mh[shown_mh], noise_mh[shown_mh], var_mh[shown_mh], width)
    effect_n, gene_n = effect_mh[shown_mh], np.broadcast_to(stratum_h, shown_mh.shape)[shown_mh]
    for e in range(EXPRESSION_STRATA):
        for s in range(len(edge_2) + 1):
            here_n = least_n[(effect_n == s) & (gene_n == e)]
            n = len(here_n)
            if n == 0:
                continue
            inside_f = np.cumsum(np.bincount(here_n, minlength=len(STRATUM_FACTORS) + 1))[:-1] / n
            # The nearest to 1 of the factors that fit equally well: noise may cover everything by itself.
            gap_f = np.abs(inside_f - STRATUM_LEVEL)
            near_f = np.flatnonzero(gap_f <= gap_f.min() + 1e-3)
            best = STRATUM_FACTORS[near_f[np.abs(np.log(STRATUM_FACTORS[near_f])).argmin()]]
            factor_es[e, s] = best ** (n / (n + STRATUM_PRIOR))
    return factor_es


def _least_factor(error_n: np.ndarray, noise_n: np.ndarray, var_n: np.ndarray, width: float) -> np.ndarray:
    """[n] position in `STRATUM_FACTORS` of the least factor of the variance that brings an error inside; their number if none does.

    An interval only grows with the factor, so halving finds it in six steps.
    """
    size_n = np.abs(error_n)
    low_n, high_n = np.zeros(len(size_n), dtype=np.int64), np.full(len(size_n), len(STRATUM_FACTORS))
    while (open_n := low_n < high_n).any():
        middle_n = np.minimum((low_n + high_n) // 2, len(STRATUM_FACTORS) - 1)
        inside_n = size_n <= width * np.sqrt(STRATUM_FACTORS[middle_n] * var_n + noise_n)
        high_n = np.where(open_n & inside_n, middle_n, high_n)
        low_n = np.where(open_n & ~inside_n, middle_n + 1, low_n)
    return low_n


def _fit_size(parts_mj: np.ndarray, scale_m: np.ndarray, weight_m: np.ndarray) -> np.ndarray:
    """[3] coefficients >= 0 of the constant, the predicted size and the doubt.

    Squared errors are spread in proportion to what is expected of them, so rows weigh by the inverse square of that.
    The prior, worth `PRIOR_ROWS` conditions, is that the parts matter alike: few conditions cannot tell them apart.
    """
    from scipy.optimize import nnls

    weight_m = weight_m / weight_m.mean()
    level = max(float(np.average(scale_m, weights=weight_m)), 0.05)
    n = parts_mj.shape[1]
    prior_j, size_j = np.full(n, level / n), np.full(n, level / n)
    for _ in range(10):
        root_m = np.sqrt(weight_m) / np.maximum(parts_mj @ size_j, 0.05 * level)
        prior_jj = np.eye(n) * np.sqrt(PRIOR_ROWS) / level
        size_j = nnls(
            np.concatenate([parts_mj * root_m[:, None], prior_jj]),
            np.concatenate([scale_m * root_m, prior_jj @ prior_j]),
        )[0]
    size_j[0] = max(size_j[0], 0.05 * level)
    return np.pad(size_j, (0, 3 - n))


def _gene_variance(
    sum_ug: np.ndarray, weight_u: np.ndarray | float, n_u: np.ndarray | int, mean_square: float
) -> np.ndarray:
    """[u, g] weighted mean excess, shrunk to its mean over genes as n rows allow, and never below a floor."""
    floor = max(FLOOR, 1e-3 * mean_square)
    raw_ug = sum_ug / weight_u
    common_u1 = np.maximum(raw_ug.mean(axis=1, keepdims=True), floor)
    return np.maximum((n_u * raw_ug + PRIOR_ROWS * common_u1) / (n_u + PRIOR_ROWS), np.minimum(floor, common_u1))


def _match_coverage(error_n: np.ndarray, noise_n: np.ndarray, var_n: np.ndarray) -> float:
    """The temperature at which central intervals of 10 to 90 % cover their share, on average over the levels."""
    from scipy.special import ndtri

    width_l = ndtri((1 + LEVELS) / 2)
    best, temperature = np.inf, 1.0
    # Where measurement noise is most of the error, coverage says little about the variance: no large factors.
    for candidate in np.geomspace(0.5, 2, 17):
        z_n = np.abs(error_n) / np.sqrt(candidate * var_n + noise_n)
        inside_l = np.cumsum(np.bincount(np.searchsorted(width_l, z_n), minlength=len(LEVELS) + 1))[:-1]
        gap = np.abs(inside_l / z_n.size - LEVELS).mean()
        if gap < best:
            best, temperature = gap, float(candidate)
    return temperature
