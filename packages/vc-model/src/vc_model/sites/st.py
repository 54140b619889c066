"""The set mapper's residual stream, a row for every control cell under every condition: `backbone/state`."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vc_model.sites.site import Block, OfModel
from vc_model.st.config import StConfig
from vc_model.st.fitted import FittedSt
from vc_model.st.mapper import bind_mapper
from vc_model.table.effects import Conditions
from vc_model.table.shift import shift_cells, shift_factors

GRADIENT_ROWS = 32  # rows of each condition that the mean gradient is taken over
GRADIENT_CONDITIONS = 16


@dataclass(frozen=True, eq=False)
class StateSite(OfModel[FittedSt]):
    """What the output reads: T(s) of `vc_model.st.mapper`.

    Attributes:
        fitted: The mapper.
        conditions: What is done to the control cells.
    """

    fitted: FittedSt
    conditions: Conditions
    name: str = "backbone/state"
    kind: str = "cell"

    @property
    def width(self) -> int:
        """H of the mapper."""
        return self.fitted.config.width

    @cached_property
    def starts(self) -> np.ndarray:
        """[q + 1] first row of each condition."""
        sizes = [len(self.fitted.cells.of(str(line))[0]) for line in self.conditions.cell_line]
        return np.concatenate([[0], np.cumsum(sizes)])

    @cached_property
    def base_qg(self) -> np.ndarray | None:
        """Profiles that an anchor gives the conditions."""
        anchor = self.fitted.anchor
        return None if anchor is None else anchor.predict(self.conditions).mean_pg

    def blocks(self) -> Iterator[Block]:
        """One block for each condition."""
        for row, action in enumerate(self.conditions.actions):
            line, label = str(self.conditions.cell_line[row]), self.conditions.perturbation[row]
            values_nd = self.fitted.residuals(line, action, None if self.base_qg is None else self.base_qg[row])
            n = len(values_nd)
            yield Block(values_nd, tuple(f"{line}|{label}|{at}" for at in range(n)), (line,) * n, (label,) * n)

    def decode(self, values_nd: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """[n, g] expression of these rows with other activations; cells and base of the row stay."""
        out_ng = np.empty((len(rows), len(self.genes)), np.float32)
        condition_n = np.searchsorted(self.starts, rows, side="right") - 1
        params = jax.tree.map(jnp.asarray, self.fitted.params)
        for at in np.unique(condition_n):
            here = np.flatnonzero(condition_n == at)
            x_ng, base_ng = self._cells(int(at), rows[here] - self.starts[at])
            y_ng = np.asarray(_decode(self.fitted.config, params, values_nd[here], x_ng, base_ng))
            if self.fitted.anchor is not None:
                y_ng = base_ng + np.float32(self.fitted.gate) * (y_ng - base_ng)
            out_ng[here] = y_ng
        return out_ng

    def gradient(self) -> np.ndarray:
        """[g, d] mean over some cells of some conditions, evenly spread."""
        total_gd = np.zeros((len(self.genes), self.width), np.float64)
        chosen = np.unique(np.linspace(0, len(self.conditions) - 1, GRADIENT_CONDITIONS).astype(int))
        params = jax.tree.map(jnp.asarray, self.fitted.params)
        for at in chosen.tolist():
            size = int(self.starts[at + 1] - self.starts[at])
            cells = np.linspace(0, size - 1, min(GRADIENT_ROWS, size)).astype(int)
            base_g = None if self.base_qg is None else self.base_qg[at]
            line = str(self.conditions.cell_line[at])
            state_nd = self.fitted.residuals(line, self.conditions.actions[at], base_g)[cells]
            x_ng, base_ng = self._cells(at, cells)
            total_gd += np.asarray(_gradient(self.fitted.config, params, state_nd, x_ng, base_ng))
        gate = 1.0 if self.fitted.anchor is None else self.fitted.gate
        return (gate * total_gd / len(chosen)).astype(np.float32)

    def _cells(self, at: int, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x_ng = self.fitted.cells.of(str(self.conditions.cell_line[at]))[0]
        if self.base_qg is None:
            return x_ng[cells], x_ng[cells]
        return x_ng[cells], shift_cells(x_ng, shift_factors(x_ng, self.base_qg[at]))[cells]


def _output(cfg: StConfig, params: dict[str, Any], state: jax.Array, x: jax.Array, base: jax.Array) -> jax.Array:
    mapper = bind_mapper(cfg, params)
    y = mapper.output(state + mapper.cells(x))
    y = base + y if cfg.anchored else y
    return jax.nn.relu(y) if cfg.positive else y


_decode = partial(jax.jit, static_argnums=0)(_output)


@partial(jax.jit, static_argnums=0)
def _gradient(cfg: StConfig, params: dict[str, Any], state_nd: jax.Array, x_ng: jax.Array, base_ng: jax.Array):
    """[g, d] mean over cells of the gradient of every gene, one gene after the other."""

    def mean_g(shift_d: jax.Array) -> jax.Array:
        return _output(cfg, params, state_nd + shift_d, x_ng, base_ng).mean(axis=0)

    said_g, pull = jax.vjp(mean_g, jnp.zeros(state_nd.shape[-1], jnp.float32))
    return jax.lax.map(lambda one_g: pull(one_g)[0], jnp.eye(len(said_g), dtype=jnp.float32))
