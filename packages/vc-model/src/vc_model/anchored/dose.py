"""Monotone dose gate: how much of an effect a dose brings (model B3.5).

    factor(dose) = scale * sigmoid(offset + slope log1p(dose)),  slope >= 0

One curve per mode, least squares on out-of-fold predictions of conditions with a dose, taken over only if cross-fitted
predictions improve (`gate.fit_gate`). Doses never enter genetic perturbations: their factor is exactly 1.
"""

from dataclasses import dataclass

import numpy as np

from vc_model.anchored.gate import fit_gate
from vc_model.table.effects import MODES, Conditions, EffectTable
from vc_model.table.folds import OutOfFold, target_groups

OFFSETS = np.linspace(-6, 3, 19)
SLOPES = np.concatenate([[0], np.geomspace(0.1, 6.4, 13)])
MIN_TARGETS = 6  # with a dose, below which no curve is fitted
N_FOLDS = 5


@dataclass(frozen=True, eq=False)
class DoseGate:
    """Fitted curves.

    Attributes:
        offset_m: [modes].
        slope_m: [modes] >= 0.
        scale_m: [modes] > 0; the curve says how much larger or smaller than the anchors' guess an effect is.
        gate_m: [modes] share of the curve that is let through; 0 leaves effects as they are.
    """

    offset_m: np.ndarray
    slope_m: np.ndarray
    scale_m: np.ndarray
    gate_m: np.ndarray

    def factor(self, conditions: Conditions) -> np.ndarray:
        """[q] float32 >= 0, non-decreasing in the dose; 1 without a dose."""
        from scipy.special import expit

        mode_q = np.array([action.mode for action in conditions.actions], dtype=np.int64)
        dose_q = np.array([action.dose for action in conditions.actions])
        curve_q = self.scale_m[mode_q] * expit(self.offset_m[mode_q] + self.slope_m[mode_q] * np.log1p(dose_q))
        return np.where(dose_q > 0, 1 + self.gate_m[mode_q] * (curve_q - 1), 1).astype(np.float32)


def fit_dose(table: EffectTable, oof: OutOfFold, delta_mg: np.ndarray, weight_p: np.ndarray) -> DoseGate | None:
    """Fit the curves, or None where no mode has doses to learn from.

    Args:
        table: Training effects.
        oof: Which rows were held out.
        delta_mg: [m, g] out-of-fold predictions of the stack.
        weight_p: [p] weights of the conditions.
    """
    from scipy.special import expit

    actions = [table.conditions.actions[row] for row in oof.row_m]
    dose_m, mode_m = np.array([action.dose for action in actions]), np.array([action.mode for action in actions])
    group_m = target_groups(table.conditions)[oof.row_m]
    gate = DoseGate(np.zeros(len(MODES)), np.zeros(len(MODES)), np.full(len(MODES), 2.0), np.zeros(len(MODES)))
    for mode in np.unique(mode_m[dose_m > 0]):
        at = np.flatnonzero((mode_m == mode) & (dose_m > 0))
        if len(np.unique(group_m[at])) < MIN_TARGETS or len(np.unique(dose_m[at])) < 2:
            continue
        truth_mg, guess_mg = table.check_pg[oof.row_m[at]], delta_mg[at]
        weight_m, log_m = weight_p[oof.row_m[at]], np.log1p(dose_m[at])
        cross_m = weight_m * np.einsum("mg,mg->m", truth_mg, guess_mg, dtype=np.float64)
        square_m = weight_m * np.einsum("mg,mg->m", guess_mg, guess_mg, dtype=np.float64)
        fold_m = np.unique(group_m[at], return_inverse=True)[1] % N_FOLDS
        curve_m = np.ones(len(at))
        for fold in range(N_FOLDS):
            offset, slope, scale = _fit_curve(log_m, cross_m, square_m, fold_m != fold)
            own = fold_m == fold
            curve_m[own] = scale * expit(offset + slope * log_m[own])
        change_mg = (curve_m[:, None] - 1).astype(np.float32) * guess_mg
        gate.gate_m[mode] = fit_gate(truth_mg - guess_mg, change_mg, weight_m, fold_m, group_m[at])
        gate.offset_m[mode], gate.slope_m[mode], gate.scale_m[mode] = _fit_curve(
            log_m, cross_m, square_m, np.ones(len(at), dtype=bool)
        )
    return gate if gate.gate_m.any() else None


def _fit_curve(
    log_m: np.ndarray, cross_m: np.ndarray, square_m: np.ndarray, use_m: np.ndarray
) -> tuple[float, float, float]:
    """Offset, slope and scale of the smallest squared error on the rows in use."""
    from scipy.special import expit

    shape_abm = expit(OFFSETS[:, None, None] + SLOPES[:, None] * log_m[use_m])
    cross_ab, square_ab = shape_abm @ cross_m[use_m], shape_abm**2 @ square_m[use_m]
    scale_ab = np.maximum(cross_ab, 0) / np.maximum(square_ab, 1e-12)
    a, b = np.unravel_index(np.argmax(scale_ab * cross_ab), scale_ab.shape)
    return float(OFFSETS[a]), float(SLOPES[b]), float(scale_ab[a, b])
