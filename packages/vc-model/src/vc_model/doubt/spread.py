"""Predictive variance and calibrated intervals from out-of-fold errors, with the noise of measurement taken out.

    var(condition, gene) = size(condition) * level(stratum) * variance(gene) + slope(stratum)^2 * predicted effect^2

all per kind of condition. A gene's variance is its mean squared out-of-fold error minus measurement noise, shrunk by a mixture
of scales (`genes.py`); `size` grows with the predicted effect of the condition, because large effects are missed by more,
and with the model's own doubt. Level and slope (`strata.py`) make intervals cover as much of the strongly expressed genes and
of the large predicted effects as of all others. What is left of the shape of the errors is in the conformal thresholds. All of it
is judged on variances to which the judged perturbation has not contributed.
"""

from dataclasses import dataclass, replace

import numpy as np

from vc_model.doubt.conformal import Conformal, fit_conformal
from vc_model.doubt.genes import FLOOR, GeneVariance, Squares, fit_genes
from vc_model.doubt.noise import carried_noise, cell_floor, control_noise, measured_noise
from vc_model.doubt.strata import fit_strata, keep_called
from vc_model.stored import stored
from vc_model.table.effects import EffectTable
from vc_model.table.folds import BINS, KnownActions, OutOfFold, known_actions, target_groups, units

PRIOR_ROWS = 10  # conditions that the prior of the size of a condition is worth
MIN_ROWS = 5  # conditions below which a bin borrows its variance
GENES_FOR_CONFORMAL = 500  # evenly spaced genes on which strata and thresholds are fitted
MOST = 10  # times the usual size or doubt beyond which a condition's variance grows no more
QUARTERS = 4  # of the genes by mean expression in control cells
MOVED_SHARE = 0.8  # of a quarter's genes have smaller predicted effects than those that are a stratum of their own
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
        var_bg: [b, g] float32, per bin and gene, level of the stratum included.
        slope_bg: [b, g] float32, what a squared predicted effect adds.
        carried_2g: [2, g] float32, noise of controls that predictions carry (`vc_model.doubt.noise.carried_noise`).
        size_b3: [b, 3] float32, the condition's factor is size[0] + size[1] * (mean squared predicted effect / usual) +
            size[2] * (mean doubt / usual).
        usual_b2: [b, 2] float32, mean squared predicted effect and mean doubt of the bin's out-of-fold rows.
        conformal: Thresholds of the errors in units of the standard deviation.
    """

    known: KnownActions
    var_bg: np.ndarray
    slope_bg: np.ndarray
    carried_2g: np.ndarray
    size_b3: np.ndarray
    usual_b2: np.ndarray
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
        factor_q = _factor(self.size_b3[bin_q].T, self.usual_b2[bin_q].T, size_q, doubt_q).astype(np.float32)
        out_qg = np.empty(delta_qg.shape, np.float32) if out_qg is None else out_qg
        for kind in np.unique(bin_q):
            at = np.flatnonzero(bin_q == kind)
            rows = slice(None) if len(at) == len(bin_q) else at
            grown_qg = _of_prediction(np.square(delta_qg[rows]), self.slope_bg[kind], self.carried_2g)
            out_qg[rows] = np.add(grown_qg, factor_q[at][:, None] * self.var_bg[kind], out=grown_qg)
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
        total_pg = var_pg[:, genes] + measured_noise(table, self.conformal.least_g)[:, genes]
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


def expression_quarters(table: EffectTable) -> np.ndarray:
    """[g] int, the quarter of each gene by its mean expression over the control cells of the trained lines."""
    contexts = table.contexts
    mean_g = contexts.base_cg[contexts.positions(table.trained_lines)].mean(axis=0)
    rank_g = np.argsort(np.argsort(mean_g, kind="stable"), kind="stable")
    return rank_g * QUARTERS // max(len(rank_g), 1)


def _strata(quarter_g: np.ndarray, delta_mg: np.ndarray) -> np.ndarray:
    """[g] int, quarter of expression, twice, plus 1 for the genes of each with the largest predicted effects."""
    size_g, stratum_g = np.square(delta_mg).mean(axis=0), 2 * quarter_g
    for quarter in range(QUARTERS):
        at = np.flatnonzero(quarter_g == quarter)
        if len(at):
            stratum_g[at] += size_g[at] > np.quantile(size_g[at], MOVED_SHARE)
    return stratum_g


def _evenly(n: int, most: int) -> np.ndarray:
    return np.linspace(0, n - 1, min(n, most)).astype(np.int64)


def fit_spread(
    table: EffectTable,
    oof: OutOfFold,
    delta_mg: np.ndarray,
    doubt_m: np.ndarray | None = None,
    apart: tuple[np.ndarray, np.ndarray] | None = None,
) -> Spread:
    """Fit the variance of a model from its out-of-fold predictions.

    Args:
        table: The training effects.
        oof: Which rows were held out in which bin.
        delta_mg: [m, g] the model's out-of-fold predictions.
        doubt_m: [m] mean over genes of the variance that the model states for them, if it states one.
        apart: Rows and columns of `delta_mg` whose variance the model knows by other means; they say nothing of the others.

    Returns:
        The fitted variance; bins without enough rows borrow from related ones, combinations at last from singles
        (twice, as a sum of two), `measured` has the noise of its own measurement.
    """
    n_bins, n_genes = len(BINS), len(table.genes)
    var_bg, slope_bg = (np.zeros((n_bins, n_genes), dtype=np.float32) for _ in range(2))
    size_b3 = np.tile(np.array([1, 0, 0], dtype=np.float32), (n_bins, 1))
    usual_b2 = np.ones((n_bins, 2), dtype=np.float32)
    quarter_g, least_g = expression_quarters(table), cell_floor(table)
    halves_2g, carried_2g = (carried_noise(table, least_g, half=half) for half in (True, False))
    scores, borrowed = {}, {}
    apart_mg = np.zeros(delta_mg.shape, dtype=bool)
    if apart is not None:
        apart_mg[apart] = True
    for kind in np.unique(oof.bin_m):
        at = np.flatnonzero(oof.bin_m == kind)
        rows = oof.row_m[at]
        unit_m = units(table.conditions.subset(rows))
        if len(at) < MIN_ROWS or len(np.unique(unit_m)) < 2:
            continue
        noise_mg = measured_noise(table, least_g, rows)
        errors = _Errors(
            # As wrong as measuring is: no variance beside it.
            np.where(apart_mg[at], np.sqrt(noise_mg), table.check_pg[rows] - delta_mg[at]),
            noise_mg,
            control_noise(table, least_g, rows, table.n_check_p),
            control_noise(table, least_g, rows, table.n_half_p),
            table.half_pg[rows],
            delta_mg[at],
            (table.check_pg[rows] != 0) & ~apart_mg[at],
            np.zeros(len(at)) if doubt_m is None else doubt_m[at],
            np.unique(unit_m, return_inverse=True)[1],
            len(np.unique(table.line_p[rows])),
        )
        var_bg[kind], slope_bg[kind], size_b3[kind], usual_b2[kind], score_mg = _fit_bin(
            errors, quarter_g, halves_2g, carried_2g[1]
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
            var_bg[kind] = np.median(measured_noise(table, least_g), axis=0)
        elif source is None:
            var_bg[kind] = everything
        else:
            at = BINS.index(source)
            var_bg[kind], size_b3[kind], usual_b2[kind] = factor * var_bg[at], size_b3[at], usual_b2[at]
            slope_bg[kind] = slope_bg[at]
            borrowed[name] = source
    conformal = replace(fit_conformal(table.trained_lines, scores, borrowed), least_g=least_g)
    return Spread(known_actions(table), np.maximum(var_bg, FLOOR), slope_bg, carried_2g, size_b3, usual_b2, conformal)


@dataclass(frozen=True, eq=False)
class _Errors:
    """Out-of-fold errors of one bin.

    Attributes:
        error_mg: [m, g] measured minus predicted.
        noise_mg: [m, g] variance of measurement.
        judges_mg: [m, g] variance that the controls of the measured effects add, the same error in all rows of a line.
        half_mg: [m, g] the same of the controls that these predictions were made with.
        trained_mg: [m, g] effects of the kind that these predictions are made of.
        delta_mg: [m, g] predicted.
        shown_mg: [m, g] bool, genes that a cell or a control shows; others say nothing about errors, and the scorer leaves
            them out, too.
        doubt_m: [m] variance that the model states, or zeros.
        unit_m: [m] int from 0, the perturbation of each row.
        n_lines: Lines.
    """

    error_mg: np.ndarray
    noise_mg: np.ndarray
    judges_mg: np.ndarray
    half_mg: np.ndarray
    trained_mg: np.ndarray
    delta_mg: np.ndarray
    shown_mg: np.ndarray
    doubt_m: np.ndarray
    unit_m: np.ndarray
    n_lines: int

    def genes(self, at: np.ndarray) -> "_Errors":
        """The same of some genes."""
        return replace(self, **{name: value[:, at] for name, value in vars(self).items() if np.ndim(value) == 2})

    def squares(self, weight_m: np.ndarray, *, without_own: bool = False) -> Squares:
        """Weighted mean squares of all rows, u = 1; or u of them, each without the rows of one perturbation."""
        unit_u, parts = (
            np.bincount(self.unit_m, weight_m),
            (self.error_mg**2, self.noise_mg, self.judges_mg + self.half_mg),
        )
        totals = [(weight_m @ part)[None] for part in parts]
        weight_u, square_u = np.array([unit_u.sum()]), np.array([(unit_u**2).sum()])
        if without_own:
            totals = [
                total - _by_unit(weight_m[:, None] * part, self.unit_m)
                for total, part in zip(totals, parts, strict=True)
            ]
            weight_u, square_u = weight_u - unit_u, square_u - unit_u**2
        square_ug, noise_ug, shared_ug = (total / weight_u[:, None] for total in totals)
        return Squares(square_ug, noise_ug, shared_ug, weight_u**2 / square_u, self.n_lines)


def _fit_bin(
    errors: _Errors, quarter_g: np.ndarray, carried_2g: np.ndarray, control_g: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Gene variances, squared slopes, size factor, usual sizes, and standardised errors of one bin."""
    delta_mg, noise_mg, doubt_m = errors.delta_mg, errors.noise_mg, errors.doubt_m
    # Rows measured on few cells say little about the error, so they count less.
    weight_m = 1 / (noise_mg.mean(axis=1) + float(np.mean(errors.error_mg**2)))
    seen = errors.squares(weight_m)
    mixture = fit_genes(seen, quarter_g)
    var_g = mixture.posterior(seen)[0]
    size_m = np.einsum("mg,mg->m", delta_mg, delta_mg) / delta_mg.shape[1]
    usual_2 = np.maximum([size_m.mean(), doubt_m.mean()], 1e-12)
    parts_m3 = np.stack(
        [np.ones(len(size_m)), *np.minimum(np.stack([size_m, doubt_m]) / usual_2[:, None], MOST)], axis=1
    )
    # A ratio of sums: genes whose variance is hardly known to be above 0 must not speak loudest.
    scale_m = np.maximum((errors.error_mg**2 - noise_mg).mean(axis=1) / var_g.mean(), 0)
    size_3 = _fit_size(parts_m3[:, : 3 if doubt_m.any() else 2], scale_m, weight_m)
    # What the gene variances would be without the rows of a perturbation; only these may judge it.
    at, stratum_g = _evenly(len(var_g), GENES_FOR_CONFORMAL), _strata(quarter_g, delta_mg)
    some, few = errors.genes(at), GeneVariance(mixture.common, mixture.share_es, quarter_g[at])
    others_uh = few.posterior(some.squares(weight_m, without_own=True))
    # No prediction is surer than the controls of the effects that it is made of, as far as it follows these.
    kept_g = _kept(errors, stratum_g) ** 2
    floor_h = (kept_g * carried_2g[1])[at]
    var_mh = np.maximum((parts_m3 @ size_3)[:, None] * others_uh[errors.unit_m], floor_h)
    fit_e2 = fit_strata(
        some.error_mg, some.noise_mg, some.delta_mg, var_mh, some.shown_mg, some.unit_m, stratum_g[at], 2 * QUARTERS
    )
    fit_e2 = keep_called(
        fit_e2,
        some.error_mg + some.delta_mg,
        some.delta_mg,
        var_mh,
        _of_prediction(some.delta_mg**2, np.zeros(len(at), np.float32), carried_2g[:, at]),
        some.shown_mg,
        some.unit_m,
        stratum_g[at],
    )
    level_g, slope_g = fit_e2[stratum_g].T
    total_mh = np.maximum(var_mh * level_g[at], floor_h) + some.noise_mg
    total_mh += _of_prediction(some.delta_mg**2, slope_g[at], carried_2g[:, at])
    score_mh = np.where(some.shown_mg, np.abs(some.error_mg) / np.sqrt(total_mh), np.nan)
    var_g = np.maximum(var_g * level_g, kept_g * control_g).astype(np.float32)
    return var_g, slope_g, size_3.astype(np.float32), usual_2.astype(np.float32), score_mh


def _kept(errors: _Errors, stratum_g: np.ndarray) -> np.ndarray:
    """[g] share of the mean training effect, noise of its controls included, that is in the predictions of the stratum."""
    said_g, found_g = errors.delta_mg.mean(axis=0), errors.trained_mg.mean(axis=0)
    cross_e = np.bincount(stratum_g, said_g * found_g, 2 * QUARTERS)
    square_e = np.bincount(stratum_g, found_g**2, 2 * QUARTERS)
    return np.clip(np.divide(cross_e, square_e, out=np.zeros_like(cross_e), where=square_e > 0), 0, 1)[stratum_g]


def _of_prediction(square_qg: np.ndarray, slope_g: np.ndarray, carried_2g: np.ndarray) -> np.ndarray:
    """[q, g] variance that grows with the squared prediction: errors in proportion to it, or the noise that it carries."""
    carried_qg = np.minimum(square_qg * carried_2g[0], carried_2g[1])
    return np.maximum(carried_qg, square_qg * slope_g, out=carried_qg)


def _by_unit(value_mh: np.ndarray, unit_m: np.ndarray) -> np.ndarray:
    """[u, h] sums over the rows of each perturbation."""
    total_uh = np.zeros((int(unit_m.max()) + 1, value_mh.shape[1]))
    np.add.at(total_uh, unit_m, value_mh)
    return total_uh


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
