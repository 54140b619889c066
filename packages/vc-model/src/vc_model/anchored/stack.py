"""Stacked anchors: a non-negative combination of baselines, chosen per bin on out-of-fold predictions.

Weights are non-negative least squares, shrunk towards the best single anchor by a ridge worth a few conditions. Leaving
change out is always possible: weights may sum to less than one, and "no change" can be the best anchor. They are
averaged over a Bayesian bootstrap of the independent units (Rubin, Annals of Statistics 1981), which makes them posterior
means: a stack that rather predicts nothing keeps the direction in which something might be. How the draws differ is kept
too: it is what the training set does not say about how to weigh the anchors. On a small screen a dozen weights fit noise,
so the stack has to be clearly better than one scaled anchor to be used (`fall_back`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import scipy.sparse as sp

from vc_model.baselines.singles import noise_weights
from vc_model.doubt.spread import FALLBACK
from vc_model.table.effect import BasisEffect, Effect, Parts, Weights, scale_rows, sum_by_owner
from vc_model.table.effects import Action, Conditions, EffectTable
from vc_model.table.folds import BINS, KnownActions, OutOfFold, known_actions, units

MEASURED = "measured"  # the anchor that returns the training effect of a condition that is in training
MIN_ROWS = 3  # out-of-fold rows below which a bin borrows the weights of a related one
MIN_COMBOS = 8  # held-out combinations below which combinations are sums of what is known of their targets
SMALL = 20  # independent units up to which the rule of one standard error has its full say
MIN_UNITS = 5  # independent units below which a stack cannot be judged against its anchors
# Anchors from the simplest on; any other comes after these.
SIMPLE = (
    "measured mean_effect",
    "measured txpert_general",
    "measured additive",
    "mean_effect",
    "txpert_general",
    "additive",
)
N_DRAWS = 200  # of the Bayesian bootstrap
N_DRAWS_NESTED = 50  # of the nested ones
N_FOLDS = 5  # of the nested cross-validation
LEAST = 0.1  # of a scale is kept where an anchor is not clearly better than no change: the direction is still the best guess
COMBOS = tuple(kind for kind, name in enumerate(BINS) if name.startswith("combo"))


@dataclass(frozen=True, eq=False)
class MeasuredEffect(BasisEffect):
    """The measured effect of conditions that are in training; zero for others."""

    basis_rg: np.ndarray
    pairs: tuple[tuple[str, Action], ...]

    def weigh(self, conditions: Conditions) -> Weights:
        """A one for the row of each known condition."""
        pairs = zip(conditions.cell_line.tolist(), conditions.actions, strict=True)
        row_q = np.array([self._row_of.get(pair, -1) for pair in pairs], dtype=np.int64)
        at = np.flatnonzero(row_q >= 0)
        shape = (len(conditions), len(self.pairs))
        return sp.csr_array((np.ones(len(at), dtype=np.float32), (at, row_q[at])), shape=shape)

    @cached_property
    def _row_of(self) -> dict[tuple[str, Action], int]:
        return {pair: row for row, pair in enumerate(self.pairs)}


@dataclass(frozen=True, eq=False)
class Stack(Effect):
    """Fitted stack.

    Attributes:
        known: Tells the bin of a condition.
        names: Names of the j anchors; the last one is `measured`.
        anchors: The fitted anchors.
        weight_bj: [b, j] weights per bin.
        doubt_kbj: [k, b, j] main directions of the draws around their mean, scaled by their standard deviation.
        whole_b: [b] bool; False: conditions of this bin are sums of their single targets, because no training
            combinations could teach a weight.
    """

    known: KnownActions
    names: tuple[str, ...]
    anchors: tuple[Effect, ...]
    weight_bj: np.ndarray
    doubt_kbj: np.ndarray
    whole_b: np.ndarray

    def parts(self, conditions: Conditions) -> Parts:
        """The weighted parts of all anchors."""
        return self.parts_and_doubts(conditions, doubts=False)[0]

    def parts_and_doubts(self, conditions: Conditions, *, doubts: bool = True) -> list[Parts]:
        """Parts of the stack, and of its change along each direction of the draws; each anchor is asked once."""
        weight_kbj = np.concatenate([self.weight_bj[None], self.doubt_kbj]) if doubts else self.weight_bj[None]
        bin_q = self.known.bins(conditions)
        whole_q = self.whole_b[bin_q]
        gathered = self._weighted(conditions, bin_q, whole_q, weight_kbj)
        if whole_q.all():
            return gathered
        owner_r, singles = conditions.subset(~whole_q).components()
        owner_r = np.flatnonzero(~whole_q)[owner_r]
        summed = self._weighted(singles, self.known.bins(singles), np.ones(len(singles), dtype=bool), weight_kbj)
        for parts, more in zip(gathered, summed, strict=True):
            parts += [(sum_by_owner(weight_rn, owner_r, len(conditions)), basis_ng) for weight_rn, basis_ng in more]
        return gathered

    def _weighted(
        self, conditions: Conditions, bin_q: np.ndarray, use_q: np.ndarray, weight_kbj: np.ndarray
    ) -> list[Parts]:
        gathered: list[Parts] = [[] for _ in weight_kbj]
        for at, anchor in enumerate(self.anchors):
            factor_kq = np.where(use_q, weight_kbj[:, bin_q, at], 0).astype(np.float32)
            if not factor_kq.any():
                continue
            parts = anchor.parts(conditions)
            for factor_q, own in zip(factor_kq, gathered, strict=True):
                own += [(scale_rows(weight_qn, factor_q), basis_ng) for weight_qn, basis_ng in parts]
        basis_ng = cast("BasisEffect", self.anchors[-1]).basis_rg
        nothing = [(sp.csr_array((len(conditions), len(basis_ng)), dtype=np.float32), basis_ng)]
        return [own or list(nothing) for own in gathered]


def fit_stack(
    table: EffectTable,
    oof: OutOfFold,
    anchors: dict[str, Effect],
    basis_pg: np.ndarray,
    prior_conditions: float,
    *,
    fallback: bool = True,
    n_directions: int = 0,
    seed: int = 0,
) -> tuple[Stack, np.ndarray, np.ndarray]:
    """Choose weights per bin.

    Args:
        table: Training effects.
        oof: Out-of-fold predictions of the anchors.
        anchors: Name -> anchor fitted on the whole table; one is `mean_effect`.
        basis_pg: [p, g] effects to give for conditions that are in training.
        prior_conditions: How many conditions the pull towards the best single anchor is worth.
        fallback: Whether the stack gives way to one scaled anchor where it is not clearly better (`fall_back`).
        n_directions: In how many directions the spread of the draws is kept.
        seed: Of the draws.

    Returns:
        stack: The stack.
        delta_mg: [m, g] its out-of-fold predictions.
        doubt_m: [m] mean over genes of their variance over the draws of the weights.
    """
    names = (*anchors, MEASURED)
    weight_dbj = np.zeros((N_DRAWS, len(BINS), len(names)))
    whole_b = np.ones(len(BINS), dtype=bool)
    weight_p = noise_weights(table)
    rng = np.random.default_rng(seed)
    fitted = set()
    for kind in np.unique(oof.bin_m):
        at = np.flatnonzero(oof.bin_m == kind)
        if len(at) < MIN_ROWS:
            continue
        rows = oof.row_m[at]
        unit_m = np.unique(units(table.conditions.subset(rows)), return_inverse=True)[1]
        if fallback and kind in COMBOS and unit_m.max() + 1 < MIN_COMBOS:
            continue
        moments = make_moments([oof.delta_mg[name][at] for name in anchors], table.check_pg[rows], weight_p[rows])
        draws_dj = stack_weights(moments, unit_m, prior_conditions, rng)
        # A few strong interactions make a standard error so large that combinations would never leave their sum.
        if fallback and kind not in COMBOS:
            order = sorted(
                range(len(anchors)),
                key=lambda j: (names[j] not in SIMPLE, SIMPLE.index(names[j]) if names[j] in SIMPLE else j),
            )
            draws_dj = fall_back(moments, unit_m, draws_dj, prior_conditions, rng, order)
        weight_dbj[:, kind, :-1] = draws_dj
        fitted.add(BINS[kind])
    for kind, name in enumerate(BINS):
        if name == MEASURED:
            weight_dbj[:, kind] = np.eye(len(names))[-1]
        elif name not in fitted and kind in COMBOS:
            whole_b[kind] = False
        elif name not in fitted:
            source = next((other for other in FALLBACK[name] if other in fitted), None)
            mean_j = np.eye(len(names))[names.index("mean_effect")]
            weight_dbj[:, kind] = mean_j if source is None else weight_dbj[:, BINS.index(source)]
    weight_bj = weight_dbj.mean(axis=0)
    measured = MeasuredEffect(basis_pg, known_actions(table).pairs)
    stack = Stack(
        known_actions(table),
        names,
        (*anchors.values(), measured),
        weight_bj.astype(np.float32),
        _directions(weight_dbj - weight_bj, n_directions).astype(np.float32),
        whole_b,
    )
    return stack, *_stack_out_of_fold(stack, oof, list(anchors))


def _directions(draw_dbj: np.ndarray, n: int) -> np.ndarray:
    """[n, b, j] main directions of centred draws, bin by bin, times their standard deviation."""
    result = np.zeros((n, *draw_dbj.shape[1:]))
    for kind in range(draw_dbj.shape[1]):
        _, size, direction = np.linalg.svd(draw_dbj[:, kind], full_matrices=False)
        found = min(n, len(size))
        result[:found, kind] = (size[:found, None] * direction[:found]) / np.sqrt(len(draw_dbj))
    return result


@dataclass(frozen=True, eq=False)
class Moments:
    """Inner products over genes, all that squared errors of a stack are made of.

    Attributes:
        a_mjj: [m, j, j] of the guesses.
        b_mj: [m, j] of the guesses with the measured effects.
        weight_m: [m] weights of the conditions.
    """

    a_mjj: np.ndarray
    b_mj: np.ndarray
    weight_m: np.ndarray

    def rows(self, use_m: np.ndarray) -> "Moments":
        """Those of some conditions."""
        return Moments(self.a_mjj[use_m], self.b_mj[use_m], self.weight_m[use_m])


def make_moments(guesses: list[np.ndarray], truth_mg: np.ndarray, weight_m: np.ndarray) -> Moments:
    """Moments of j guesses [m, g]."""
    n, n_rows = len(guesses), len(truth_mg)
    a_mjj = np.empty((n_rows, n, n))
    b_mj = np.empty((n_rows, n))
    for i in range(n):
        b_mj[:, i] = np.einsum("mg,mg->m", guesses[i], truth_mg)
        for j in range(i, n):
            a_mjj[:, i, j] = a_mjj[:, j, i] = np.einsum("mg,mg->m", guesses[i], guesses[j])
    return Moments(a_mjj, b_mj, weight_m)


def fall_back(
    moments: Moments,
    unit_m: np.ndarray,
    draws_dj: np.ndarray,
    prior_conditions: float,
    rng: np.random.Generator,
    order: Sequence[int],
) -> np.ndarray:
    """Mix the stack with one scaled anchor, as far as the stack is not clearly better: the one-standard-error rule.

    Both are judged on units that neither was fitted on. The anchor is the simplest one whose leave-unit-out squared error
    is within one standard error of the smallest. With t the mean gain of the stack over it in standard errors, the share
    of the stack is max(0, 1 - 1 / t^2): none within one standard error, nearly everything beyond five (positive-part
    James-Stein, which is the rule without its jump). The anchor's scale is shrunk towards no change by the same factor. Beyond `SMALL` units
    the rule's say falls with the square of their number: they tell a dozen weights by themselves.

    Args:
        moments: Of the out-of-fold predictions.
        unit_m: [m] int from 0, independent units.
        draws_dj: [d, j] weights of the stack.
        prior_conditions: As for `stack_weights`.
        rng: Deals the folds, draws the scale.
        order: Anchors from the simplest to the least simple.

    Returns:
        [d, j] weights >= 0.
    """
    n_units, n = int(unit_m.max()) + 1, draws_dj.shape[1]
    if n_units < MIN_UNITS:
        return draws_dj

    def by_unit(value_m: np.ndarray) -> np.ndarray:
        return np.bincount(unit_m, moments.weight_m * value_m, n_units)

    a_uj = np.stack([by_unit(moments.a_mjj[:, j, j]) for j in range(n)], axis=1)
    b_uj = np.stack([by_unit(moments.b_mj[:, j]) for j in range(n)], axis=1)
    speaks_j = a_uj.sum(axis=0) > 0
    if not speaks_j.any():
        return draws_dj
    others_uj = np.maximum(a_uj.sum(axis=0) - a_uj, 1e-30)
    scale_uj = np.clip((b_uj.sum(axis=0) - b_uj) / others_uj, 0, 1)
    single_uj = 2 * scale_uj * b_uj - scale_uj**2 * a_uj
    top = int(np.where(speaks_j, single_uj.sum(axis=0), -np.inf).argmax())
    lost_uj = single_uj[:, [top]] - single_uj
    near_j = speaks_j & (lost_uj.mean(axis=0) <= lost_uj.std(axis=0, ddof=1) / np.sqrt(n_units))
    best = next(j for j in order if near_j[j])
    stack_u = np.zeros(n_units)
    fold_u = rng.permutation(n_units) % N_FOLDS
    for fold in range(N_FOLDS):
        held_m = fold_u[unit_m] == fold
        seen_m = np.unique(unit_m[~held_m], return_inverse=True)[1]
        weight_j = stack_weights(moments.rows(~held_m), seen_m, prior_conditions, rng, N_DRAWS_NESTED).mean(axis=0)
        held = moments.rows(held_m)
        gain_m = 2 * held.b_mj @ weight_j - np.einsum("i,mij,j->m", weight_j, held.a_mjj, weight_j)
        np.add.at(stack_u, unit_m[held_m], held.weight_m * gain_m)
    gain_u = stack_u - single_uj[:, best]
    share = _clear_share(gain_u.mean(), gain_u.std(ddof=1) / np.sqrt(n_units))
    share = 1 - (1 - share) * min(1.0, (SMALL / n_units) ** 2)
    total = a_uj[:, best].sum()
    scale = b_uj[:, best].sum() / total
    residual_u = b_uj[:, best] - scale * a_uj[:, best]
    error = np.sqrt(n_units / (n_units - 1) * (residual_u**2).sum()) / total
    kept = max(scale * _clear_share(scale, error), LEAST * max(scale, error))
    scale_d = np.clip(kept + min(error, kept) * rng.standard_normal(len(draws_dj)), 0, 1)
    # Draws tell the doubt; their mean is the scale itself.
    scale_d = np.maximum(scale_d + min(kept, 1.0) - scale_d.mean(), 0)
    return share * draws_dj + (1 - share) * scale_d[:, None] * np.eye(n)[best]


def _clear_share(value: float, error: float) -> float:
    """The share of a value that is clear of its standard error, 0 if it is within one."""
    return 1 - (error / value) ** 2 if value > error else 0.0


def stack_weights(
    moments: Moments,
    unit_m: np.ndarray,
    prior_conditions: float,
    rng: np.random.Generator,
    n_draws: int = N_DRAWS,
) -> np.ndarray:
    """Non-negative least squares weights, ridge-shrunk towards the best single guess (or none, if that is best).

    Args:
        moments: Of the guesses.
        unit_m: [m] int from 0, rows of one unit are no independent evidence.
        prior_conditions: Strength of the shrinkage in conditions.
        rng: Draws how much each unit counts.
        n_draws: Draws of the Bayesian bootstrap.

    Returns:
        [d, j] weights >= 0, one row per draw.
    """
    from scipy.optimize import nnls

    n_rows, n = moments.b_mj.shape
    n_units = int(unit_m.max()) + 1
    result_dj = np.empty((n_draws, n))
    flat_mn = moments.a_mjj.reshape(n_rows, -1)
    for draw, share_u in enumerate(rng.dirichlet(np.ones(n_units), n_draws) * n_units):
        use_m = moments.weight_m * share_u[unit_m]
        a_jj, b_j = (use_m @ flat_mn).reshape(n, n), use_m @ moments.b_mj
        error_j = np.diag(a_jj) - 2 * b_j
        target_j = np.zeros(n)
        if error_j.min() < 0:
            target_j[error_j.argmin()] = 1
        ridge = max(prior_conditions * np.diag(a_jj).mean() / n_rows, 1e-12)
        root = np.linalg.cholesky(a_jj + ridge * np.eye(n))
        result_dj[draw] = nnls(root.T, np.linalg.solve(root, b_j + ridge * target_j))[0]
    return result_dj


def _stack_out_of_fold(stack: Stack, oof: OutOfFold, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The stack's own out-of-fold predictions and their mean doubt.

    Bins without fitted weights fall back to the best the folds offer, and are in no doubt.
    """
    total_mg = np.zeros_like(oof.delta_mg[names[0]])
    additive = names.index("additive") if "additive" in names else 0
    for at, name in enumerate(names):
        weight_m = stack.weight_bj[oof.bin_m, at]
        weight_m = np.where(stack.whole_b[oof.bin_m], weight_m, float(at == additive))
        total_mg += weight_m[:, None].astype(np.float32) * oof.delta_mg[name]
    doubt_m = np.zeros(len(total_mg))
    for doubt_bj in stack.doubt_kbj:
        part_mg = np.zeros_like(total_mg)
        for at, name in enumerate(names):
            part_mg += doubt_bj[oof.bin_m, at, None].astype(np.float32) * oof.delta_mg[name]
        doubt_m += np.einsum("mg,mg->m", part_mg, part_mg) / part_mg.shape[1]
    return total_mg, np.where(stack.whole_b[oof.bin_m], doubt_m, 0)
