"""Few-shot re-fit for a new cell line: what a few perturbations measured there change, all else frozen.

    delta_new = delta + gate ((scale - 1) delta + e(P)),   e ~ Gaussian process, fitted on measured - scale * predicted

The scale says whether the line responds more or less than the others; it is shrunk to 1. e has the kernels of
`anchored/gp.py`, so it learns the line's mean shift, what its similar targets share, and the measured targets
themselves; their weights are found on the few conditions, with the known noise. The gate is decided on conditions left
out of all of it; intervals are calibrated on the same.
"""

from dataclasses import dataclass, replace

import numpy as np

from vc_model.anchored.gate import fit_gate
from vc_model.anchored.gp import GaussianProcess, GPConfig, fit_gp
from vc_model.anchored.model import FittedAnchored
from vc_model.baselines.singles import noise_weights
from vc_model.doubt.spread import Spread
from vc_model.errors import TableError
from vc_model.predictor import Prediction
from vc_model.stored import stored
from vc_model.table.effects import Conditions, Contexts, EffectTable
from vc_model.table.features import FeatureMap
from vc_model.table.folds import target_groups

PRIOR_CONDITIONS = 5.0  # that the pull of the scale towards 1 is worth
MOST_FOLDS = 10
LEAST_TARGETS = 3  # below which nothing could be judged, and nothing is changed


@stored
@dataclass(frozen=True, eq=False)
class FittedAdapted:
    """An `anchored` model with a few measured perturbations of new lines.

    Attributes:
        base: The frozen model.
        contexts: Control profiles, the new lines' among them.
        lines: The lines that were measured.
        scale: Size of effects there, relative to the frozen model's.
        change: The Gaussian process of what the frozen model misses there, or None.
        gate: Share of the correction that is let through.
        spread: The frozen variances with intervals calibrated on the new conditions.
    """

    base: FittedAnchored
    contexts: Contexts
    lines: tuple[str, ...]
    scale: float
    change: GaussianProcess | None
    gate: float
    spread: Spread

    @property
    def name(self) -> str:
        """The frozen model's name."""
        return self.base.name

    def predict(self, conditions: Conditions) -> Prediction:
        """Predict like the frozen model, with the correction in the measured lines."""
        conditions = replace(conditions, contexts=conditions.contexts_or(self.contexts))
        said = self.base.predict(conditions)
        delta_qg = said.delta_pg
        at = np.flatnonzero(np.isin(conditions.cell_line, self.lines) & (conditions.sizes > 0))
        if self.gate > 0 and len(at):
            delta_qg = delta_qg.copy()
            delta_qg[at] += np.float32(self.gate) * _correction(
                self.scale, self.change, delta_qg[at], conditions.subset(at)
            )
        support = replace(self.base.support, lines=(*self.base.support.lines, *self.lines))
        moved_q = self.base.gp.ask(conditions).moved_q
        bin_q = self.base.spread.known.bins(conditions)
        return replace(
            said,
            delta_pg=delta_qg,
            mean_pg=np.maximum(said.base_cg[said.line_p] + delta_qg, 0),
            supported_p=support.covers(conditions, moved_q),
            conformal=self.spread.conformal,
            table_p=self.spread.conformal.tables(conditions.cell_line, bin_q),
        )


def adapt(fitted: FittedAnchored, table: EffectTable) -> FittedAdapted:
    """Re-fit for new lines with the effects measured there.

    Args:
        fitted: A fitted model; it stays as it is.
        table: Measured effects of the new lines, over the model's genes. A model is not adapted to a line that it was
            trained on: fit it again instead.

    Raises:
        TableError: If the genes differ, or a line is one of the model's own.
    """
    if table.genes != fitted.contexts.genes:
        raise TableError(
            f"adapt: expected effects over the model's {len(fitted.contexts.genes)} genes in its order, found "
            f"{len(table.genes)} others. Read the screen with the model's genes."
        )
    known = sorted(set(table.trained_lines) & set(fitted.spread.known.lines))
    if known:
        raise TableError(f"adapt: expected lines without training conditions, found {known}. Fit the model again.")
    said = fitted.predict(table.conditions)
    group_p = np.unique(target_groups(table.conditions), return_inverse=True)[1]
    n_targets = int(group_p.max(initial=-1)) + 1
    if n_targets < LEAST_TARGETS:
        return FittedAdapted(fitted, table.contexts, table.trained_lines, 1.0, None, 0.0, fitted.spread)
    features = fitted.gp.features
    # Dealt by the order of their first appearance, so that folds have the same size.
    fold_p = group_p % min(n_targets, MOST_FOLDS)
    correction_pg = np.zeros_like(said.delta_pg)
    for fold in np.unique(fold_p):
        held = np.flatnonzero(fold_p == fold)
        seen = np.flatnonzero(fold_p != fold)
        scale, change = _fit(table.half.subset(seen), said.delta_pg[seen], features)
        correction_pg[held] = _correction(scale, change, said.delta_pg[held], table.conditions.subset(held))
    weight_p = noise_weights(table)
    gate = fit_gate(table.check_pg - said.delta_pg, correction_pg, weight_p, fold_p, group_p)
    scale, change = _fit(table, said.delta_pg, features)
    left_out_pg = said.delta_pg + np.float32(gate) * correction_pg
    bin_p = fitted.spread.known.bins(table.conditions)
    spread = fitted.spread.recalibrated(table, bin_p, left_out_pg, said.var_pg)
    return FittedAdapted(fitted, table.contexts, table.trained_lines, scale, change, gate, spread)


def _fit(table: EffectTable, said_pg: np.ndarray, features: FeatureMap) -> tuple[float, GaussianProcess]:
    """Scale of the frozen predictions, and the Gaussian process of what is left."""
    weight_p = noise_weights(table)
    square_p = weight_p * np.einsum("pg,pg->p", said_pg, said_pg, dtype=np.float64)
    cross_p = weight_p * np.einsum("pg,pg->p", said_pg, table.delta_pg, dtype=np.float64)
    prior = PRIOR_CONDITIONS * square_p.mean()
    scale = max(float((cross_p.sum() + prior) / max(square_p.sum() + prior, 1e-12)), 0.0)
    rest = (np.float32(scale) * said_pg).astype(np.float32)
    return scale, fit_gp(table.with_effects(table.delta_pg - rest), GPConfig(), features=features)


def _correction(
    scale: float, change: GaussianProcess | None, said_qg: np.ndarray, conditions: Conditions
) -> np.ndarray:
    correction_qg = np.float32(scale - 1) * said_qg
    return correction_qg if change is None else correction_qg + change.delta(conditions)
