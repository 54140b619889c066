"""The perturbed gene itself: the share of its expression that a mode leaves, where that beats the rest of the model.

CRISPR interference leaves a share f of its target's transcripts, whatever their number was; no other gene tells this:

    effect = log1p(f x) - log1p(x),    x the expression of the target in control cells

The share is shrunk to 1, and per bin a gate decides how far the target's entry moves from the stack to it. How wrong the
entry then was out of fold, in proportion to it, is its variance: that of the gene under other perturbations says nothing here.
"""

from dataclasses import dataclass

import numpy as np

from vc_model.anchored.gate import fit_gate
from vc_model.doubt.noise import cell_floor, measured_noise
from vc_model.doubt.spread import FLOOR
from vc_model.stored import stored
from vc_model.table.effects import MODES, Conditions, Contexts, EffectTable
from vc_model.table.folds import BINS, OutOfFold, target_groups

PRIOR_TARGETS = 5.0  # targets that the pull towards no effect is worth
N_FOLDS = 5
LEAST, MOST = 1e-3, 1e3  # shares that are looked at
FEWEST = 5  # targets below which nothing is said of the error


@stored
@dataclass(frozen=True, eq=False)
class DirectEffect:
    """Fitted shares, gates and errors.

    Attributes:
        left_m: [modes] share of the target's transcripts that a mode leaves; above 1 for activation.
        gate_b: [b] share of the target's entry taken from that.
        error_b: [b] variance of the target's entry in proportion to its square; NaN: not known, the gene's own variance stays.
    """

    left_m: np.ndarray
    gate_b: np.ndarray
    error_b: np.ndarray

    def apply(
        self,
        delta_qg: np.ndarray,
        conditions: Conditions,
        contexts: Contexts,
        bin_q: np.ndarray,
        *,
        inplace: bool = False,
    ) -> np.ndarray:
        """Effects with the targets' own entries moved towards what their mode leaves."""
        if not self.gate_b[bin_q].any():
            return delta_qg
        row_e, gene_e, mode_e, control_e = _entries(conditions, contexts)
        if len(row_e) == 0:
            return delta_qg
        delta_qg = delta_qg if inplace else delta_qg.copy()
        guess_e = _change(control_e, self.left_m[mode_e])
        delta_qg[row_e, gene_e] += self.gate_b[bin_q[row_e]] * (guess_e - delta_qg[row_e, gene_e])
        return delta_qg

    def widen(
        self, var_qg: np.ndarray, delta_qg: np.ndarray, conditions: Conditions, contexts: Contexts, bin_q: np.ndarray
    ) -> None:
        """Set the variances of the targets' own entries, in place."""
        row_e, gene_e = self.entries(conditions, contexts, bin_q)
        var_qg[row_e, gene_e] = np.maximum(self.error_b[bin_q[row_e]] * delta_qg[row_e, gene_e] ** 2, FLOOR)

    def entries(self, conditions: Conditions, contexts: Contexts, bin_q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[e] rows and gene columns of the targets' own entries whose variance is known."""
        if np.isnan(self.error_b[bin_q]).all():
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        row_e, gene_e, _, _ = _entries(conditions, contexts)
        known_e = np.isfinite(self.error_b[bin_q[row_e]])
        return row_e[known_e], gene_e[known_e]


def fit_direct(table: EffectTable, oof: OutOfFold, delta_mg: np.ndarray, weight_p: np.ndarray) -> DirectEffect:
    """Fit shares on training singles, gates and errors on out-of-fold predictions.

    Args:
        table: Training effects.
        oof: Which rows were held out in which bin.
        delta_mg: [m, g] out-of-fold predictions of the model so far.
        weight_p: [p] weights of the conditions.
    """
    singles = np.flatnonzero(table.single_p)
    conditions = table.conditions.subset(singles)
    row_e, gene_e, mode_e, control_e = _entries(conditions, table.contexts)
    weight_e = weight_p[singles[row_e]]
    # What gates judge has not seen the controls behind `check_pg`.
    half_e, whole_e = (effect_pg[singles[row_e], gene_e] for effect_pg in (table.half_pg, table.delta_pg))
    group_p = target_groups(table.conditions)
    fold_e = group_p[singles[row_e]] % N_FOLDS

    def shares(use_e: np.ndarray, truth_e: np.ndarray) -> np.ndarray:
        left_m = np.ones(len(MODES))
        for mode in np.unique(mode_e[use_e]):
            pick = use_e & (mode_e == mode)
            left_m[mode] = _share(control_e[pick], truth_e[pick], weight_e[pick])
        return left_m

    left_fm = np.array([shares(fold_e != fold, half_e) for fold in range(N_FOLDS)])
    held = table.conditions.subset(oof.row_m)
    row_i, gene_i, mode_i, control_i = _entries(held, table.contexts)
    at_i = oof.row_m[row_i]
    fold_i = group_p[at_i] % N_FOLDS
    stacked_i, check_i = delta_mg[row_i, gene_i], table.check_pg[at_i, gene_i]
    move_i = _change(control_i, left_fm[fold_i, mode_i]) - stacked_i
    noise_i = measured_noise(table, cell_floor(table))[at_i, gene_i]
    gate_b, error_b = np.zeros(len(BINS)), np.full(len(BINS), np.nan)
    for kind in np.unique(oof.bin_m[row_i]):
        at = oof.bin_m[row_i] == kind
        unit_i, weight_i = group_p[at_i[at]], weight_p[at_i[at]]
        error_i = check_i[at] - stacked_i[at]
        gate_b[kind] = fit_gate(error_i[:, None], move_i[at, None], weight_i, fold_i[at], unit_i)
        said_i = stacked_i[at] + gate_b[kind] * move_i[at]
        if len(np.unique(unit_i)) >= FEWEST:
            square_i = (check_i[at] - said_i) ** 2 - noise_i[at]
            error_b[kind] = max(weight_i @ square_i, 0.0) / max(weight_i @ said_i**2, 1e-12)
    left_m = shares(np.ones(len(row_e), dtype=bool), whole_e)
    return DirectEffect(*(x.astype(np.float32) for x in (left_m, gate_b, error_b)))


def _change(control_e: np.ndarray, left_e: np.ndarray | float) -> np.ndarray:
    """[e] change of log1p CP10k where a share of the transcripts is left."""
    return np.log1p(left_e * np.expm1(control_e)) - control_e


def _share(control_e: np.ndarray, truth_e: np.ndarray, weight_e: np.ndarray) -> float:
    """The share that is left by weighted least squares, pulled towards no effect as `PRIOR_TARGETS` without one would."""
    from scipy.optimize import minimize_scalar  # here: naming models must not wait for it

    pull = PRIOR_TARGETS / len(control_e)

    def loss(log_left: float) -> float:
        said_e = _change(control_e, np.exp(log_left))
        return float(weight_e @ ((truth_e - said_e) ** 2 + pull * said_e**2))

    found = minimize_scalar(loss, bounds=(np.log(LEAST), np.log(MOST)), method="bounded")
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def _entries(conditions: Conditions, contexts: Contexts) -> tuple[np.ndarray, ...]:
    """Row, gene column, mode and control expression of every target that is a measured gene."""
    column = contexts.gene_position
    found = [
        (row, column[target], action.mode)
        for row, action in enumerate(conditions.actions)
        for target in action.targets
        if target in column
    ]
    row_e, gene_e, mode_e = np.array(found, dtype=np.int64).reshape(-1, 3).T
    control_e = contexts.input_cg[contexts.positions(conditions.cell_line[row_e]), gene_e]
    return row_e, gene_e, mode_e, control_e
