"""A small stage with a teacher, random masks and statistics over the batch, and data for it; for tests and examples."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vc_model.train.state import Metrics, Stage, Tree


def make_toy_stage(ema: float = 0.9) -> Stage:
    """Masked prediction of a linear teacher's cell vectors, with a penalty on their variance over the batch."""

    def encode(params: Tree, x_bg: jax.Array) -> jax.Array:
        return jnp.tanh(x_bg @ params["gene_gd"] / x_bg.shape[1] ** 0.5) @ params["out"]["w_dd"] + params["out"]["b_d"]

    def loss(
        params: Tree, frozen: Tree, batch: Mapping[str, Any], key: jax.Array, progress: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        keep_bg = jax.random.bernoulli(key, 0.5 + 0.4 * progress, batch["x"].shape)
        student_bd = encode(params["student"], jnp.where(keep_bg & batch["measured"], batch["x"], 0.0))
        target_bd = encode(frozen["teacher"], batch["x"])
        error = jnp.abs(student_bd - target_bd).mean()
        spread = jax.nn.relu(1 - jnp.sqrt(student_bd.var(axis=0) + 1e-4)).mean()
        return error + spread, {"error": error, "cell_std": student_bd.std(axis=0).mean()}

    def follow(params: Tree, frozen: Tree) -> Tree:
        return {"teacher": jax.tree.map(lambda t, s: ema * t + (1 - ema) * s, frozen["teacher"], params["student"])}

    return Stage("toy", loss, follow)


def make_toy_params(n_genes: int = 24, width: int = 8, seed: int = 0) -> tuple[Tree, Tree]:
    """Student and teacher, which start equal."""
    rng = np.random.default_rng(seed)
    student = {
        "gene_gd": rng.standard_normal((n_genes, width)).astype(np.float32),
        "out": {
            "w_dd": rng.standard_normal((width, width)).astype(np.float32),
            "b_d": np.zeros(width, np.float32),
        },
    }
    return {"student": student}, {"teacher": student}


class ToyBatches:
    """Endless batches, each a function of the seed and the step; a process gets its own rows of the global batch."""

    def __init__(
        self, n_cells: int = 16, n_genes: int = 24, seed: int = 0, process_index: int = 0, process_count: int = 1
    ):
        self._shape, self._seed, self._step = (n_cells, n_genes), seed, 0
        self._rows = slice(process_index * n_cells // process_count, (process_index + 1) * n_cells // process_count)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """Batches from the present position."""
        while True:
            yield self.at(self._step)

    def at(self, step: int) -> dict[str, np.ndarray]:
        """The batch of a step; moves there."""
        self._step = step + 1
        rng = np.random.default_rng([self._seed, step])
        x_bg = rng.gamma(1.0, 1.0, self._shape).astype(np.float32)[self._rows]
        measured_g = np.arange(self._shape[1]) % 5 > 0
        return {"x": x_bg, "total": np.log1p(x_bg.sum(axis=1)), "measured": measured_g}

    def get_state(self) -> dict[str, Any]:
        """Position."""
        return {"step": self._step}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a position."""
        self._step = int(state["step"])
