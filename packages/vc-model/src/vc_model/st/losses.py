"""Distances between a predicted and a measured set of cells, and the loss of a batch."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vc_model.st.config import StConfig
from vc_model.st.mapper import bind_mapper

CONFIDENCE_SCALE = 10.0  # the confidence token learns the loss times this


def energy_distance(x: Float[Array, "b s g"], y: Float[Array, "b t g"], chunk: int | None = None) -> Float[Array, " b"]:
    """E|X - Y| - E|X - X'| / 2 - E|Y - Y'| / 2 of every set, over all pairs of cells, with the Euclidean norm.

    Args:
        x: One set each.
        y: The other.
        chunk: Cells of the first argument whose distances are held at once; None: all.

    References:
        Szekely and Rizzo 2013; the `energy` loss of geomloss, which STATE uses.
    """
    between = mean_distance(x, y, chunk)
    return between - mean_distance(x, x, chunk) / 2 - mean_distance(y, y, chunk) / 2


def mean_distance(x: Float[Array, "b s g"], y: Float[Array, "b t g"], chunk: int | None = None) -> Float[Array, " b"]:
    """Mean Euclidean distance over all pairs; a pair of equal cells has none and gives no gradient."""
    n = x.shape[1]
    if chunk is None or chunk >= n or n % chunk:
        return _distances(x, y).mean(axis=(1, 2))
    parts = jnp.moveaxis(x.reshape(x.shape[0], n // chunk, chunk, -1), 1, 0)
    part = jax.checkpoint(lambda piece: _distances(piece, y).mean(axis=(1, 2)))
    return jax.lax.map(part, parts).mean(axis=0)


def _distances(x: Array, y: Array) -> Array:
    x, y = x.astype(jnp.float32), y.astype(jnp.float32)
    centre = jax.lax.stop_gradient(y.mean(axis=1, keepdims=True))  # what cancels should be small
    x, y = x - centre, y - centre
    square = (x * x).sum(-1)[:, :, None] + (y * y).sum(-1)[:, None] - 2 * jnp.einsum("bsg,btg->bst", x, y)
    # Below rounding two cells are the same.
    same = square <= 1e-6 * (1 + (x * x).sum(-1)[:, :, None])
    return jnp.where(same, 0.0, jnp.sqrt(jnp.where(same, 1.0, square)))


def set_distance(cfg: StConfig, y: Array, batch: Mapping[str, Array]) -> Float[Array, " b"]:
    """Loss of every set by the configured distance."""
    case = batch["x_case"]
    if cfg.loss == "energy":
        return energy_distance(y, case, cfg.chunk)
    difference = y.mean(axis=1) - case.mean(axis=1)
    return (difference**2).mean(axis=-1) if cfg.loss == "pseudobulk" else jnp.abs(difference).mean(axis=-1)


def set_loss(
    cfg: StConfig,
    params: dict[str, Any],
    frozen: dict[str, Any],
    batch: Mapping[str, Array],
    key: Array,
    progress: Array,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The loss of a batch of sets, a pure function for `vc_model.train.Stage`."""
    mapped = bind_mapper(cfg, params["mapper"])(batch, key if cfg.dropout > 0 and cfg.mlp_layers > 1 else None)
    distance = set_distance(cfg, mapped.y, batch)
    loss = distance.mean()
    metrics = {"loss_set": loss, "change": jnp.abs(mapped.y - batch["x_control"]).mean()}
    if cfg.confidence and mapped.confidence is not None:
        error = ((mapped.confidence - jax.lax.stop_gradient(distance) * CONFIDENCE_SCALE) ** 2).mean()
        loss, metrics = loss + cfg.confidence_weight * error, metrics | {"loss_confidence": error}
    return loss, metrics
