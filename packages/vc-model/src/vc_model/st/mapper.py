"""The set mapper's forward pass.

Letters: b sets, s cells of a set, g genes, h width, k width of a head, l layers, f features.

    s   = MLP_x(x) + E[id] + MLP_f(features) (+ E_batch)
    y   = relu( MLP_out( T(s) + MLP_x(x) ) )

T is a transformer of the Llama kind (RMSNorm, softmax attention over the whole set, SwiGLU) without positions, so that the
order of cells says nothing. Row 0 of E is zero and stays so: a perturbation that was not trained is known by its features
alone. Anchored, y = relu(base + MLP_out(...)) with an output that starts at zero.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from vc_model.biojepa.cpu import run_layers
from vc_model.biojepa.layers import Draw, Linear, linear, rms_norm, zeros
from vc_model.st.config import StConfig
from vc_model.train.rules import constrain

Tree = dict[str, Any]
QUIET_START = 0.05  # of the output's matrix, where the output starts at the mean
INIT_STD = 0.02  # of the backbone's matrices, as Llama draws them


class Mapped(NamedTuple):
    """What the mapper gives for a batch of sets."""

    y: Array
    """[b, s, g] predicted cells."""
    state: Array
    """[b, s, h] T(s), the residual stream that the output reads."""
    confidence: Array | None
    """[b] expected loss times ten, where asked for."""


class Mlp(nnx.Module):
    """(Linear, GELU, dropout) n - 1 times, then Linear; one layer is a Linear."""

    def __init__(
        self, n_in: int, width: int, n_out: int, n_layers: int, dropout: float, *, zero: bool = False, draw: Draw
    ) -> None:
        sizes = [n_in] + [width] * (n_layers - 1) + [n_out]
        last = n_layers - 1
        self.dropout = dropout
        self.layers = nnx.List(
            [Linear(sizes[at], sizes[at + 1], uniform=True, draw=draw) for at in range(last)]
            + [Linear(sizes[last], n_out, uniform=not zero, zero=zero, draw=draw)]
        )

    def __call__(self, x: Float[Array, "*b i"], key: Array | None = None) -> Float[Array, "*b o"]:
        """Apply; with a key, units are dropped."""
        for at, layer in enumerate(self.layers):
            x = layer(x)
            if at + 1 < len(self.layers):
                x = jax.nn.gelu(x, approximate=False)
                if key is not None and self.dropout > 0:
                    keep = jax.random.bernoulli(jax.random.fold_in(key, at), 1 - self.dropout, x.shape)
                    x = jnp.where(keep, x / (1 - self.dropout), 0)
        return x


class Backbone(nnx.Module):
    """L blocks `h += attention(norm h); h += SwiGLU(norm h)`, then a norm; parameters have a leading layer axis."""

    def __init__(self, cfg: StConfig, *, draw: Draw) -> None:
        self.n_heads = cfg.n_heads
        n, h, i = cfg.n_layers, cfg.width, cfg.hidden
        self.norm1_scale = nnx.Param(np.ones((n, h), np.float32))
        self.norm2_scale = nnx.Param(np.ones((n, h), np.float32))
        self.qkv_kernel = nnx.Param(draw.normal(n, h, 3 * h, std=INIT_STD))
        self.out_kernel = nnx.Param(draw.normal(n, h, h, std=INIT_STD))
        self.up_kernel = nnx.Param(draw.normal(n, h, 2 * i, std=INIT_STD))
        self.down_kernel = nnx.Param(draw.normal(n, i, h, std=INIT_STD))
        self.last_scale = nnx.Param(np.ones(h, np.float32))

    def __call__(self, x: Float[Array, "b s h"]) -> Float[Array, "b s h"]:
        """Run all blocks."""
        stacked = {
            name: value.get_value()
            for name, value in vars(self).items()
            if isinstance(value, nnx.Param) and name != "last_scale"
        }

        def block(x: Array, p: Mapping[str, Array]) -> Array:
            x = x + set_attention(rms_norm(x, p["norm1_scale"]), p["qkv_kernel"], self.n_heads) @ p["out_kernel"]
            gate, up = jnp.split(rms_norm(x, p["norm2_scale"]) @ p["up_kernel"], 2, axis=-1)
            return constrain(x + (jax.nn.silu(gate) * up) @ p["down_kernel"], "batch", None, "width")

        return rms_norm(run_layers(jax.checkpoint(block), x, stacked), self.last_scale.get_value())


def set_attention(x: Float[Array, "b s h"], qkv: Float[Array, "h q"], n_heads: int) -> Float[Array, "b s h"]:
    """Softmax attention of every cell over its whole set, in float32."""
    q, k, v = (part.reshape(*x.shape[:2], n_heads, -1) for part in jnp.split(x @ qkv, 3, axis=-1))
    score = jnp.einsum("bshk,bthk->bhst", q, k, preferred_element_type=jnp.float32) / np.sqrt(q.shape[-1])
    share = jax.nn.softmax(score, axis=-1).astype(x.dtype)
    return jnp.einsum("bhst,bthk->bshk", share, v).reshape(x.shape)


class SetMapper(nnx.Module):
    """The whole mapper."""

    def __init__(self, cfg: StConfig, *, draw: Draw) -> None:
        self.cfg = cfg
        h, n = cfg.width, cfg.mlp_layers
        self.cells = Mlp(cfg.n_genes, h, h, n, cfg.dropout, draw=draw)
        self.perturbation = nnx.Param(draw.normal(cfg.n_perturbations + 1, h, std=INIT_STD))
        if cfg.feature_width:
            self.features = Mlp(cfg.feature_width, h, h, n, cfg.dropout, draw=draw)
        if cfg.n_batches:
            self.batch = nnx.Param(draw.normal(cfg.n_batches, h, std=INIT_STD))
        self.backbone = Backbone(cfg, draw=draw)
        self.output = Mlp(h, h, cfg.n_genes, n, cfg.dropout, zero=cfg.anchored, draw=draw)
        if cfg.confidence:
            self.confidence_token = nnx.Param(draw.normal(h, std=INIT_STD))
            self.confidence_kernel = nnx.Param(draw.fan_in_uniform((h, 1), h))
            self.confidence_bias = nnx.Param(zeros(1))

    def __call__(self, batch: Mapping[str, Array], key: Array | None = None) -> Mapped:
        """Map sets.

        Args:
            batch: `x_control` [b, s, g]; `pert_id` [b] int, 0 for a perturbation that was not trained; `pert_feature`
                [b, f] where the model takes features; `batch_id` [b, s] where it knows batches; `x_base` [b, s, g] where it
                is anchored.
            key: Drops units, in training.
        """
        cfg = self.cfg
        keys = (None,) * 3 if key is None else tuple(jax.random.split(key, 3))
        hidden = self.cells(batch["x_control"], keys[0])
        known = (batch["pert_id"] > 0)[:, None]
        action = jnp.where(known, self.perturbation.get_value()[batch["pert_id"]], 0)
        if cfg.feature_width:
            action = action + self.features(batch["pert_feature"], keys[1])
        tokens = hidden + action[:, None]
        if cfg.n_batches:
            tokens = tokens + self.batch.get_value()[batch["batch_id"]]
        if cfg.confidence:
            token = jnp.broadcast_to(self.confidence_token.get_value(), (len(tokens), 1, cfg.width))
            tokens = jnp.concatenate([tokens, token], axis=1)
        state, confidence = self.backbone(tokens), None
        if cfg.confidence:
            last, state = state[:, -1], state[:, :-1]
            confidence = linear(last, self.confidence_kernel.get_value(), self.confidence_bias.get_value())[:, 0]
        y = self.output(state + hidden, keys[2])
        if cfg.anchored:
            y = batch["x_base"] + y
        return Mapped(jax.nn.relu(y) if cfg.positive else y, state, confidence)


def init_mapper(cfg: StConfig, seed: int, mean_g: np.ndarray | None = None) -> Tree:
    """Fresh parameters as a nested dict of float32 arrays; the same seed gives the same bytes.

    Args:
        cfg: The model.
        seed: Of the draws.
        mean_g: [g] mean expression, where the output starts: a gene whose output starts below 0 in every cell would be cut
            there, get no gradient and never come back. Published, the output starts around 0.
    """
    params = to_dict(nnx.to_pure_dict(nnx.state(SetMapper(cfg, draw=Draw((seed, 23))))))
    if mean_g is not None and not cfg.anchored:
        last = params["output"]["layers"][str(cfg.mlp_layers - 1)]
        last["kernel"], last["bias"] = last["kernel"] * np.float32(QUIET_START), np.asarray(mean_g, np.float32)
    return params


def bind_mapper(cfg: StConfig, params: Tree) -> SetMapper:
    """The module with these parameters; inside a jitted function this costs nothing."""
    graph, state = _abstract(cfg)
    state = jax.tree.map(lambda leaf: leaf, state)
    nnx.replace_by_pure_dict(state, to_dict(params, back=True))
    return nnx.merge(graph, state)


def to_dict(tree: Mapping[Any, Any], *, back: bool = False) -> Tree:
    """A tree with text keys (what saves hold) from one where flax counts layers by numbers, or back."""

    def rename(key: Any) -> Any:
        return int(key) if back and str(key).isdigit() else key if back else str(key)

    return {
        rename(key): to_dict(value, back=back) if isinstance(value, Mapping) else value for key, value in tree.items()
    }


@lru_cache(maxsize=16)
def _abstract(cfg: StConfig) -> tuple[nnx.GraphDef, nnx.State]:
    return nnx.split(nnx.eval_shape(lambda: SetMapper(cfg, draw=Draw(None))))
