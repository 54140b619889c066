"""The network of the residual in JAX: its layers, its training as one vectorised loop, and its answer.

Apart from `residual.py`, so that a saved model whose gates are shut answers without loading JAX.
"""

from dataclasses import replace
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from vc_model.anchored.losses import contrastive, cosine_distance, weighted_square
from vc_model.anchored.residual import ConditionArrays, ResidualConfig
from vc_model.table.folds import BINS

jax.tree_util.register_dataclass(
    ConditionArrays, data_fields=["x", "present", "log_dose", "context", "bin"], meta_fields=[]
)


class ResidualNet(nnx.Module):
    """h, Gm, U and the context terms, on directions of the effect space."""

    def __init__(self, n_features: int, n_context: int, n_directions: int, config: ResidualConfig, *, rngs: nnx.Rngs):
        zeros = nnx.initializers.zeros_init()
        self.feature = nnx.Linear(n_features, config.hidden, rngs=rngs)
        self.bin = nnx.Linear(len(BINS), config.hidden, use_bias=False, rngs=rngs)
        self.film = nnx.Linear(n_context, config.hidden, kernel_init=zeros, rngs=rngs)
        self.code = nnx.Linear(config.hidden, config.rank, rngs=rngs)
        self.scale = nnx.Linear(n_context, config.rank, kernel_init=zeros, rngs=rngs)
        self.dose = nnx.Param(jnp.array([2.0, 0.0]))
        self.readout = nnx.Param(jnp.zeros((config.rank, n_directions)))
        self.interaction = nnx.Param(jnp.zeros((config.rank, config.rank)))

    def __call__(self, batch: ConditionArrays) -> tuple[jax.Array, jax.Array]:
        """Residual and interaction, both [n, d] on the directions."""
        x, kind, context = (cast("jax.Array", given) for given in (batch.x, batch.bin, batch.context))
        film = 1 + self.film(context)
        inner = (self.feature(x) + self.bin(kind)[:, None]) * film[:, None]
        gate = jax.nn.sigmoid(self.dose[0] + jax.nn.softplus(self.dose[1]) * batch.log_dose)
        present = batch.present * jnp.where(batch.log_dose > 0, gate, 1.0)[:, None]
        code = self.code(jax.nn.gelu(inner)) * present[..., None]
        scale = 1 + self.scale(context)
        total = code.sum(axis=1)
        # Half of (square of sum - sum of squares) is the sum over pairs; the mask makes it exactly 0 for singles.
        pairs = (total**2 - (code**2).sum(axis=1)) / 2 * (batch.present.sum(axis=1) > 1)[:, None]
        readout, interaction = self.readout.get_value(), self.interaction.get_value()
        return (total * scale) @ readout, (pairs @ interaction * scale) @ readout


def forward(
    shape: tuple[int, int, int], config: ResidualConfig, weights: dict[str, np.ndarray], batch: ConditionArrays
) -> tuple[jax.Array, jax.Array]:
    """Residual and interaction on the directions, both [n, d], of conditions padded to a power of two.

    Args:
        shape: Numbers of features, context components and directions.
        config: Choices of the residual.
        weights: Parameter path -> array.
        batch: Conditions as arrays.
    """
    return _forward(shape, config, weights, _pad(batch))


def _pad(batch: ConditionArrays) -> ConditionArrays:
    """Pad the number of conditions to a power of two, so that few shapes are compiled."""
    n = len(batch.present)
    more = (1 << max(0, n - 1).bit_length()) - n
    return jax.tree.map(lambda a: np.pad(a, [(0, more)] + [(0, 0)] * (a.ndim - 1)), batch)


def _build(shape: tuple[int, int, int], config: ResidualConfig) -> ResidualNet:
    return ResidualNet(*shape, config, rngs=nnx.Rngs(config.seed))


def _paths(params: nnx.State) -> dict[str, jax.Array]:
    return {"/".join(str(part) for part in path): leaf.get_value() for path, leaf in nnx.to_flat_state(params)}


@partial(jax.jit, static_argnums=(0, 1))
def _forward(
    shape: tuple[int, int, int], config: ResidualConfig, weights: dict[str, jax.Array], batch: ConditionArrays
) -> tuple[jax.Array, jax.Array]:
    graph, params = nnx.split(nnx.eval_shape(lambda: _build(shape, config)))
    flat = [
        (path, leaf.replace(weights["/".join(str(part) for part in path)])) for path, leaf in nnx.to_flat_state(params)
    ]
    return nnx.merge(graph, nnx.from_flat_state(flat))(batch)


def train_network(
    shape: tuple[int, int, int],
    config: ResidualConfig,
    batch: ConditionArrays,
    target_kmd: np.ndarray,
    weight_km: np.ndarray,
    extra: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Averaged weights of k fits, path -> [k, ...]."""
    params = nnx.split(_build(shape, config))[1]
    # The seed is in the initial weights already; without it, fits of other seeds need no compiling.
    trained = _fit(shape, replace(config, seed=0), params, batch, target_kmd, weight_km, extra)
    return {path: np.asarray(value) for path, value in _paths(trained).items()}


@partial(jax.jit, static_argnums=(0, 1))
def _fit(
    shape: tuple[int, int, int],
    config: ResidualConfig,
    params: nnx.State,
    batch: ConditionArrays,
    target_kmd: jax.Array,
    weight_km: jax.Array,
    extra: dict[str, jax.Array],
) -> nnx.State:
    """Averaged weights of k fits that start from the same ones; compiled once for each shape and choice."""
    choices = config.losses
    graph = nnx.split(nnx.eval_shape(lambda: _build(shape, config)))[0]
    warmup = max(1, config.steps // 20)
    schedule = optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, warmup, max(config.steps, warmup + 1))
    optimiser = optax.adamw(schedule, weight_decay=config.weight_decay)

    def loss(params, x_mtf, target_md, weight_m, extra):
        net = nnx.merge(graph, params)
        r1, r2 = net(ConditionArrays(x_mtf, batch.present, batch.log_dose, batch.context, batch.bin))
        said_md = r1 + r2
        error_m = ((said_md - target_md) ** 2).mean(axis=1)
        total = choices.mse * (weight_m @ error_m) + config.interaction_ridge * (net.interaction[...] ** 2).mean()
        if choices.wmse:
            gap_mg = said_md @ extra["direction_dg"] - extra["error_mg"]
            total += choices.wmse * (weight_m @ weighted_square(gap_mg, extra["gene_weight_mg"]))
        if choices.cosine or choices.contrastive:
            whole_md, truth_md = extra["stacked_md"] + said_md, extra["stacked_md"] + target_md
            if choices.cosine:
                total += choices.cosine * (weight_m @ cosine_distance(whole_md, truth_md))
            if choices.contrastive:
                tau = choices.temperature * (truth_md**2).sum(axis=1).mean()
                lost_m = contrastive(whole_md, truth_md, extra["line_m"], extra["condition_m"], extra["seen_m"], tau)
                total += choices.contrastive * (weight_m @ lost_m)
        return total

    def fit(x_mtf, target_md, weight_m, extra):
        def step(carry, _):
            params, average, state, decay = carry
            gradient = jax.grad(loss)(params, x_mtf, target_md, weight_m, extra)
            updates, state = optimiser.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
            average = jax.tree.map(lambda a, p: config.ema * a + (1 - config.ema) * p, average, params)
            return (params, average, state, decay * config.ema), None

        zero = jax.tree.map(jnp.zeros_like, params)
        start = (params, zero, optimiser.init(params), jnp.ones(()))
        (_, average, _, decay), _ = jax.lax.scan(step, start, None, length=config.steps)
        # The average starts from zero; dividing by its total weight removes that bias, as Adam does.
        return jax.tree.map(lambda a: a / (1 - decay), average)

    return jax.vmap(fit)(batch.x, target_kmd, weight_km, extra)
