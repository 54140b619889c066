"""Stacked anchors: a non-negative combination of baselines, chosen per bin on out-of-fold predictions.

Weights are non-negative least squares, shrunk towards the best single anchor by a ridge worth a few conditions. Leaving
change out is always possible: weights may sum to less than one, and "no change" can be the best anchor.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from vc_model.baselines.singles import noise_weights
from vc_model.effect import BasisEffect, Effect
from vc_model.folds import BINS, KnownActions, OutOfFold, known_actions
from vc_model.spread import FALLBACK, MIN_ROWS
from vc_model.table import Action, Conditions, EffectTable

MEASURED = "measured"  # the anchor that returns the training effect of a condition that is in training
COMBOS = tuple(kind for kind, name in enumerate(BINS) if name.startswith("combo"))


@dataclass(frozen=True, eq=False)
class MeasuredEffect(BasisEffect):
    """The measured effect of conditions that are in training; zero for others."""

    basis_rg: np.ndarray
    pairs: tuple[tuple[str, Action], ...]

    def weigh(self, conditions: Conditions) -> np.ndarray:
        """A one for the row of each known condition."""
        row_of = {pair: row for row, pair in enumerate(self.pairs)}
        weight_qp = np.zeros((len(conditions), len(self.pairs)), dtype=np.float32)
        for q, pair in enumerate(zip(conditions.cell_line.tolist(), conditions.actions, strict=True)):
            if pair in row_of:
                weight_qp[q, row_of[pair]] = 1
        return weight_qp


@dataclass(frozen=True, eq=False)
class Stack(Effect):
    """Fitted stack.

    Attributes:
        known: Tells the bin of a condition.
        names: Names of the j anchors; the last one is `measured`.
        anchors: The fitted anchors.
        weight_bj: [b, j] weights per bin.
        whole_b: [b] bool; False: conditions of this bin are sums of their single targets, because no training
            combinations could teach a weight.
    """

    known: KnownActions
    names: tuple[str, ...]
    anchors: tuple[Effect, ...]
    weight_bj: np.ndarray
    whole_b: np.ndarray

    def parts(self, conditions: Conditions) -> list[tuple[np.ndarray, np.ndarray]]:
        """The weighted parts of all anchors."""
        bin_q = self.known.bins(conditions)
        whole_q = self.whole_b[bin_q]
        gathered = self._weighted(conditions, bin_q, whole_q)
        if not whole_q.all():
            owner_r, singles = conditions.subset(~whole_q).components()
            owner_r = np.flatnonzero(~whole_q)[owner_r]
            n = len(conditions)
            for weight_rk, basis_rg in self._weighted(
                singles, self.known.bins(singles), np.ones(len(singles), dtype=bool)
            ):
                total_qk = np.zeros((n, weight_rk.shape[1]), dtype=np.float32)
                np.add.at(total_qk, owner_r, weight_rk)
                gathered.append((total_qk, basis_rg))
        return gathered

    def _weighted(
        self, conditions: Conditions, bin_q: np.ndarray, use_q: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        gathered = []
        for at, anchor in enumerate(self.anchors):
            factor_q = np.where(use_q, self.weight_bj[bin_q, at], 0).astype(np.float32)
            if factor_q.any():
                gathered += [(factor_q[:, None] * weight, basis) for weight, basis in anchor.parts(conditions)]
        return gathered or [
            (np.zeros((len(conditions), len(self.anchors[0].basis_rg)), np.float32), self.anchors[0].basis_rg)
        ]


def fit_stack(
    table: EffectTable, oof: OutOfFold, anchors: dict[str, Effect], prior_conditions: float
) -> tuple[Stack, np.ndarray]:
    """Choose weights per bin.

    Args:
        table: Training effects.
        oof: Out-of-fold predictions of the anchors.
        anchors: Name -> anchor fitted on the whole table; one is `mean_effect`.
        prior_conditions: How many conditions the pull towards the best single anchor is worth.

    Returns:
        stack: The stack.
        delta_mg: [m, g] its out-of-fold predictions.
    """
    names = (*anchors, MEASURED)
    weight_bj = np.zeros((len(BINS), len(names)))
    whole_b = np.ones(len(BINS), dtype=bool)
    weight_p = noise_weights(table)
    fitted = set()
    for kind in np.unique(oof.bin_m):
        at = np.flatnonzero(oof.bin_m == kind)
        if len(at) < MIN_ROWS:
            continue
        guesses = [oof.delta_mg[name][at] for name in anchors]
        weight_bj[kind, :-1] = stack_weights(
            guesses, table.check_pg[oof.row_m[at]], weight_p[oof.row_m[at]], prior_conditions
        )
        fitted.add(BINS[kind])
    for kind, name in enumerate(BINS):
        if name == MEASURED:
            weight_bj[kind] = np.eye(len(names))[-1]
        elif name not in fitted and kind in COMBOS:
            whole_b[kind] = False
        elif name not in fitted:
            source = next((other for other in FALLBACK[name] if other in fitted), None)
            mean = np.eye(len(names))[names.index("mean_effect")]
            weight_bj[kind] = mean if source is None else weight_bj[BINS.index(source)]
    measured = MeasuredEffect(table.delta_pg, known_actions(table).pairs)
    stack = Stack(known_actions(table), names, (*anchors.values(), measured), weight_bj.astype(np.float32), whole_b)
    return stack, _stack_out_of_fold(stack, oof, list(anchors))


def stack_weights(
    guesses: list[np.ndarray], truth_mg: np.ndarray, weight_m: np.ndarray, prior_conditions: float
) -> np.ndarray:
    """Non-negative least squares weights, ridge-shrunk towards the best single guess (or none, if that is best).

    Args:
        guesses: j predictions [m, g].
        truth_mg: [m, g] measured effects.
        weight_m: [m] weights of the conditions.
        prior_conditions: Strength of the shrinkage in conditions.

    Returns:
        [j] weights >= 0.
    """
    weighted = [guess * weight_m[:, None].astype(np.float32) for guess in guesses]
    a_jj = np.array([[np.vdot(x, y) for y in guesses] for x in weighted], dtype=np.float64)
    b_j = np.array([np.vdot(x, truth_mg) for x in weighted], dtype=np.float64)
    error_j = np.diag(a_jj) - 2 * b_j
    target_j = np.zeros(len(guesses))
    if error_j.min() < 0:
        target_j[error_j.argmin()] = 1
    ridge = max(prior_conditions * np.diag(a_jj).mean() / len(truth_mg), 1e-12)
    root = np.linalg.cholesky(a_jj + ridge * np.eye(len(b_j)))
    return nnls(root.T, np.linalg.solve(root, b_j + ridge * target_j))[0]


def _stack_out_of_fold(stack: Stack, oof: OutOfFold, names: list[str]) -> np.ndarray:
    """The stack's own out-of-fold predictions; bins without fitted weights fall back to the best the folds offer."""
    total_mg = np.zeros_like(oof.delta_mg[names[0]])
    additive = names.index("additive") if "additive" in names else 0
    for at, name in enumerate(names):
        weight_m = stack.weight_bj[oof.bin_m, at]
        weight_m = np.where(stack.whole_b[oof.bin_m], weight_m, float(at == additive))
        total_mg += weight_m[:, None].astype(np.float32) * oof.delta_mg[name]
    return total_mg
