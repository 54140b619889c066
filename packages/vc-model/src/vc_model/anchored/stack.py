"""Stacked anchors: a non-negative combination of baselines, chosen per bin on out-of-fold predictions.

Weights are non-negative least squares, shrunk towards the best single anchor by a ridge worth a few conditions. Leaving
change out is always possible: weights may sum to less than one, and "no change" can be the best anchor. They are
averaged over a Bayesian bootstrap of the independent units (Rubin, Annals of Statistics 1981), which makes them posterior
means: a stack that rather predicts nothing keeps the direction in which something might be. How the draws differ is kept
too: it is what the training set does not say about how to weigh the anchors.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from scipy.optimize import nnls

from vc_model.baselines.singles import noise_weights
from vc_model.effect import BasisEffect, Effect, Parts, Weights, scale_rows, sum_by_owner
from vc_model.folds import BINS, KnownActions, OutOfFold, known_actions, target_groups
from vc_model.spread import FALLBACK
from vc_model.table import Action, Conditions, EffectTable

MEASURED = "measured"  # the anchor that returns the training effect of a condition that is in training
MIN_ROWS = 3  # out-of-fold rows below which a bin borrows the weights of a related one
N_DRAWS = 200  # of the Bayesian bootstrap
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
        basis_ng = self.anchors[-1].basis_rg
        nothing = [(sp.csr_array((len(conditions), len(basis_ng)), dtype=np.float32), basis_ng)]
        return [own or list(nothing) for own in gathered]


def fit_stack(
    table: EffectTable,
    oof: OutOfFold,
    anchors: dict[str, Effect],
    basis_pg: np.ndarray,
    prior_conditions: float,
    *,
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
        weight_dbj[:, kind, :-1] = stack_weights(
            [oof.delta_mg[name][at] for name in anchors],
            table.check_pg[rows],
            weight_p[rows],
            units(table.conditions.subset(rows)),
            prior_conditions,
            rng,
        )
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


def units(conditions: Conditions) -> np.ndarray:
    """[m] int from 0, what the rows are independent repeats of: targets, or cell lines where there are hardly two targets."""
    group_m = target_groups(conditions)
    if len(np.unique(group_m)) >= MIN_ROWS:
        return group_m
    return np.unique(conditions.cell_line, return_inverse=True)[1]


def stack_weights(
    guesses: list[np.ndarray],
    truth_mg: np.ndarray,
    weight_m: np.ndarray,
    unit_m: np.ndarray,
    prior_conditions: float,
    rng: np.random.Generator,
    n_draws: int = N_DRAWS,
) -> np.ndarray:
    """Non-negative least squares weights, ridge-shrunk towards the best single guess (or none, if that is best).

    Args:
        guesses: j predictions [m, g].
        truth_mg: [m, g] measured effects.
        weight_m: [m] weights of the conditions.
        unit_m: [m] int, rows of one unit are no independent evidence.
        prior_conditions: Strength of the shrinkage in conditions.
        rng: Draws how much each unit counts.
        n_draws: Draws of the Bayesian bootstrap.

    Returns:
        [d, j] weights >= 0, one row per draw.
    """
    n, n_rows = len(guesses), len(truth_mg)
    a_mjj = np.empty((n_rows, n, n))
    b_mj = np.empty((n_rows, n))
    for i in range(n):
        b_mj[:, i] = np.einsum("mg,mg->m", guesses[i], truth_mg)
        for j in range(i, n):
            a_mjj[:, i, j] = a_mjj[:, j, i] = np.einsum("mg,mg->m", guesses[i], guesses[j])
    unit_m = np.unique(unit_m, return_inverse=True)[1]
    n_units = int(unit_m.max()) + 1
    result_dj = np.empty((n_draws, n))
    for draw, share_u in enumerate(rng.dirichlet(np.ones(n_units), n_draws) * n_units):
        use_m = weight_m * share_u[unit_m]
        a_jj, b_j = np.einsum("m,mij->ij", use_m, a_mjj), use_m @ b_mj
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
