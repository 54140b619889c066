"""The perturbed gene itself: a slope per mode on its control expression, where that beats the rest of the model.

CRISPR interference lowers its target in proportion to what there was to lower; no other gene tells this. The slope is
shrunk to 0, and per bin a gate decides how far the target's entry moves from the stack to the slope.
"""

from dataclasses import dataclass

import numpy as np

from vc_model.anchored.gate import fit_gate
from vc_model.stored import stored
from vc_model.table.effects import MODES, Conditions, Contexts, EffectTable
from vc_model.table.folds import BINS, OutOfFold, target_groups

PRIOR_TARGETS = 5.0  # targets that the pull of a slope towards 0 is worth
N_FOLDS = 5


@stored
@dataclass(frozen=True, eq=False)
class DirectEffect:
    """Fitted slopes and gates.

    Attributes:
        slope_m: [modes] effect on the target per unit of its control expression (log1p CP10k).
        gate_b: [b] share of the target's entry taken from the slope.
    """

    slope_m: np.ndarray
    gate_b: np.ndarray

    def apply(
        self,
        delta_qg: np.ndarray,
        conditions: Conditions,
        contexts: Contexts,
        bin_q: np.ndarray,
        *,
        inplace: bool = False,
    ) -> np.ndarray:
        """Effects with the targets' own entries moved towards the slope."""
        if not self.gate_b[bin_q].any():
            return delta_qg
        row_e, gene_e, mode_e, control_e = _entries(conditions, contexts)
        if len(row_e) == 0:
            return delta_qg
        delta_qg = delta_qg if inplace else delta_qg.copy()
        guess_e = self.slope_m[mode_e] * control_e
        delta_qg[row_e, gene_e] += self.gate_b[bin_q[row_e]] * (guess_e - delta_qg[row_e, gene_e])
        return delta_qg


def fit_direct(table: EffectTable, oof: OutOfFold, delta_mg: np.ndarray, weight_p: np.ndarray) -> DirectEffect:
    """Fit slopes on training singles and gates on out-of-fold predictions.

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
    # Slopes that gates judge have not seen the controls behind `check_pg`.
    half_e, whole_e = (effect_pg[singles[row_e], gene_e] for effect_pg in (table.half_pg, table.delta_pg))
    group_p = target_groups(table.conditions)
    fold_e = group_p[singles[row_e]] % N_FOLDS

    def slopes(use_e: np.ndarray, truth_e: np.ndarray) -> np.ndarray:
        slope_m = np.zeros(len(MODES))
        for mode in np.unique(mode_e[use_e]):
            pick = use_e & (mode_e == mode)
            size = weight_e[pick] @ control_e[pick] ** 2
            slope_m[mode] = (
                (weight_e[pick] * control_e[pick]) @ truth_e[pick] / (size * (1 + PRIOR_TARGETS / pick.sum()) + 1e-9)
            )
        return slope_m

    gate_b = np.zeros(len(BINS))
    slope_fm = np.array([slopes(fold_e != fold, half_e) for fold in range(N_FOLDS)])
    held = table.conditions.subset(oof.row_m)
    row_i, gene_i, mode_i, control_i = _entries(held, table.contexts)
    fold_i = group_p[oof.row_m[row_i]] % N_FOLDS
    stacked_i = delta_mg[row_i, gene_i]
    error_i = table.check_pg[oof.row_m[row_i], gene_i] - stacked_i
    move_i = slope_fm[fold_i, mode_i] * control_i - stacked_i
    for kind in np.unique(oof.bin_m[row_i]):
        at = oof.bin_m[row_i] == kind
        gate_b[kind] = fit_gate(
            error_i[at, None],
            move_i[at, None],
            weight_p[oof.row_m[row_i[at]]],
            fold_i[at],
            group_p[oof.row_m[row_i[at]]],
        )
    return DirectEffect(slopes(np.ones(len(row_e), dtype=bool), whole_e).astype(np.float32), gate_b.astype(np.float32))


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
