"""A trained mapper behind the interface of every model, and its cells and residual stream.

Means are of cells that the mapper makes of a fixed pool of control cells of the line. Where the mapper is anchored, a gate
between 0 and 1 says how much of what it learnt is added to the anchor's cells; it was chosen on perturbations that the mapper
did not see, so 0 - the anchor alone - is what remains where the set adds nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from vc_contracts.progress import progress

from vc_model.doubt.spread import Spread, fit_spread
from vc_model.errors import TableError
from vc_model.predictor import Fitted, Prediction, make_prediction
from vc_model.st.actions import ActionTable
from vc_model.st.config import StConfig
from vc_model.st.losses import energy_distance
from vc_model.st.mapper import bind_mapper
from vc_model.st.sets import CellSets
from vc_model.stored import stored
from vc_model.table.effects import Action, Conditions, Contexts, EffectTable
from vc_model.table.folds import BINS, OutOfFold
from vc_model.table.pseudobulk import ControlCells
from vc_model.table.shift import shift_cells, shift_factors

GATES = (0.0, 0.25, 0.5, 0.75, 1.0)


@stored
@dataclass(frozen=True, eq=False)
class FittedSt:
    """A trained mapper.

    Attributes:
        config: Its architecture.
        params: Nested dicts of arrays.
        contexts: Control profiles of the lines; their genes are the model's.
        cells: Control cells of the lines, of which it makes perturbed ones.
        actions: What it is told about perturbations.
        anchor: The model that it starts from, or None.
        gate: How much of what the mapper adds to its anchor is used; 1 without an anchor.
        spread: Predictive variance.
    """

    config: StConfig
    params: dict[str, Any]
    contexts: Contexts
    cells: ControlCells
    actions: ActionTable
    anchor: Fitted | None = None
    gate: float = 1.0
    spread: Spread | None = None

    @property
    def name(self) -> str:
        """`st`, or `st_anchored`."""
        return "st" if self.anchor is None else "st_anchored"

    def predict(self, conditions: Conditions) -> Prediction:
        """Predict conditions; perturbations without id and without features are marked unsupported.

        Raises:
            TableError: If the variance was not fitted, or there are no control cells of a line.
        """
        if self.spread is None:
            raise TableError(f"{self.name}: expected a fitted variance, found none. Use `fit_st`.")
        contexts = conditions.contexts_or(self.contexts)
        delta_qg, bin_q = self.delta(conditions), self.spread.known.bins(conditions)
        var_qg = self.spread.variance(bin_q, delta_qg)
        return make_prediction(
            conditions, contexts.base_cg, contexts, delta_qg, var_qg, self.spread.conformal, bin_q,
            supported_q=self.supported(conditions.actions),
        )  # fmt: skip

    def supported(self, actions: Sequence[Action]) -> np.ndarray:
        """[q] bool: trained, or with a vector for every target. The others get the answer to an unknown perturbation."""
        order = set(self.actions.targets)
        known = self.actions.ids(actions) > 0
        return np.array([k or all(t in order for t in a.targets) for k, a in zip(known, actions, strict=True)], bool)

    def delta(self, conditions: Conditions) -> np.ndarray:
        """[q, g] float32 effects: mean of the mapped cells less mean of the control cells they were made of."""
        base_qg = None if self.anchor is None else self.anchor.predict(conditions).mean_pg
        delta_qg = np.zeros((len(conditions), len(self.contexts.genes)), np.float32)
        for row, action in enumerate(progress(conditions.actions, desc=self.name)):
            if not action.targets:
                continue
            line = str(conditions.cell_line[row])
            x_ng = self.cells.of(line)[0]
            made_ng = self.make_cells(line, action, None if base_qg is None else base_qg[row])
            if base_qg is None:
                delta_qg[row] = made_ng.mean(axis=0) - x_ng.mean(axis=0)
            else:
                shifted = shift_cells(x_ng, shift_factors(x_ng, base_qg[row]))
                at = self.contexts.positions([line])[0]
                delta_qg[row] = base_qg[row] - self.contexts.base_cg[at] + made_ng.mean(axis=0) - shifted.mean(axis=0)
        return delta_qg

    def make_cells(self, line: str, action: Action, base_g: np.ndarray | None = None) -> np.ndarray:
        """[n, g] float32 log1p CP10k, one perturbed cell for each control cell of the line.

        Args:
            line: Cell line.
            action: What is done.
            base_g: [g] the anchor's profile of the condition; required where there is an anchor.
        """
        return self._map(self.cells.of(line)[0], action, base_g)[0]

    def residuals(self, line: str, action: Action, base_g: np.ndarray | None = None) -> np.ndarray:
        """[n, h] float32, the residual stream of each cell that the output reads."""
        return self._map(self.cells.of(line)[0], action, base_g)[1]

    def _map(self, x_ng: np.ndarray, action: Action, base_g: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        size = min(self.config.set_size, len(x_ng))
        base_ng = x_ng
        if self.config.anchored:
            if base_g is None:
                raise TableError(f"{self.name}: expected the anchor's profile of the condition, found none.")
            base_ng = shift_cells(x_ng, shift_factors(x_ng, base_g))
        params = jax.tree.map(jnp.asarray, self.params)
        y_ng, state_nh = np.empty_like(x_ng), np.empty((len(x_ng), self.config.width), np.float32)
        # The last set is filled up from the start, so that all have one size and one compiled program.
        for start in range(0, len(x_ng), size):
            rows = np.arange(start, start + size) % len(x_ng)
            batch = {"x_control": x_ng[rows][None], "pert_id": self.actions.ids([action])}
            batch |= {"pert_feature": self.actions.features([action]), "x_base": base_ng[rows][None]}
            y, state = _apply(self.config, params, batch)
            stop = min(start + size, len(x_ng))
            y_ng[start:stop], state_nh[start:stop] = y[0, : stop - start], state[0, : stop - start]
        if self.anchor is not None:
            y_ng = base_ng + np.float32(self.gate) * (y_ng - base_ng)
        return y_ng, state_nh


@partial(jax.jit, static_argnums=0)
def _apply(cfg: StConfig, params: dict[str, Any], batch: dict[str, Any]) -> tuple[jax.Array, jax.Array]:
    mapped = bind_mapper(cfg, params)(batch)
    return mapped.y, mapped.state


def with_gate(fitted: FittedSt, sets: CellSets, held: Sequence[int]) -> FittedSt:
    """Choose how much of the mapper is added to its anchor, by the energy distance on conditions it did not learn from.

    A gate above 0 is taken only where the gain over 0 is larger than its standard error.

    Args:
        fitted: The trained mapper.
        sets: Cells of all conditions.
        held: The conditions that were left out.
    """
    rows, scores = sets.rows(), np.zeros((len(GATES), len(held)))
    base_pg = cast("np.ndarray", sets.base_pg)
    for at, gate in enumerate(GATES):
        tried = replace(fitted, gate=gate)
        for column, condition in enumerate(held):
            made = tried.make_cells(sets.line_p[condition], sets.action_p[condition], base_pg[condition])
            said, measured = (cast("jax.Array", cells[None]) for cells in (made, sets.x_ng[rows[condition]]))
            scores[at, column] = energy_distance(said, measured)[0]
    gain = scores[0] - scores
    sure = gain.mean(axis=1) > gain.std(axis=1) / np.sqrt(max(len(held), 1))
    best = int(np.argmax(np.where(sure, gain.mean(axis=1), 0)))
    return replace(fitted, gate=GATES[best])


def with_spread(fitted: FittedSt, table: EffectTable) -> FittedSt:
    """Add the predictive variance, from errors on training conditions: too small where the mapper memorised them."""
    delta_pg = fitted.delta(table.conditions)
    bin_p = np.where(table.conditions.sizes > 1, BINS.index("combo_unmeasured"), BINS.index("unseen"))
    return replace(fitted, spread=fit_spread(table, OutOfFold(np.arange(len(table)), bin_p, {}), delta_pg))
