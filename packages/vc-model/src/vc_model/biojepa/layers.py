"""The layers: linear attention, RMSNorm, SwiGLU, and blocks stacked on a leading layer axis.

Letters: b cells, t tokens, d width, h heads, k width of a head, f hidden width, p action slots, l layers.

    phi(u) = ELU(u) + 1,  S = sum_t phi(k_t) v_t^T,  n = sum_t phi(k_t),  o_t = phi(q_t)^T S / (phi(q_t)^T n + 1e-6)

A cell enters a token's update only through S and n, h (k^2 + k) numbers however many genes there are (d^2 + d where all
heads are multiplied at once). With genes spread over devices these are all that is exchanged. Projections that read the
same input are stored as one matrix.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float
from scipy.special import ndtr, ndtri

from vc_model.biojepa.config import BioJepaConfig
from vc_model.biojepa.cpu import on_cpu, on_one_cpu, product, run_layers
from vc_model.train.rules import constrain

EPS = 1e-6
GATE_BIAS = 2.0  # sigmoid(2) = 0.881: attention starts nearly open

Params = dict[str, Array]
type Values = Array | np.ndarray
"""A parameter is numpy until it first meets a jitted function."""


class Blocks(nnx.Module):
    """L blocks `h += SelfAttention(norm h); h += SwiGLU(norm h)`, before each a cross-attention where `cross`.

    Every parameter has a leading layer axis.
    """

    def __init__(self, cfg: BioJepaConfig, n_layers: int, *, cross: bool = False, draw: "Draw") -> None:
        self.cfg, self.cross = cfg, cross
        d, f = cfg.width, cfg.hidden

        def matrix(n_in: int, n_out: int) -> nnx.Param:
            return nnx.Param(draw.fan_in_normal((n_layers, n_in, n_out), n_in))

        def vector(width: int, value: float) -> nnx.Param:
            return nnx.Param(np.full((n_layers, width), value, np.float32))

        if cross:
            self.cross_norm_scale = vector(d, 1)
            self.cross_q_kernel, self.cross_q_bias = matrix(d, d), vector(d, 0)
            self.cross_kv_kernel, self.cross_kv_bias = matrix(d, 2 * d), vector(2 * d, 0)
            # Published, the gate of cross-attention exists but is not applied (Q3). Applied, it is how a gene reads the
            # action in its own way, so it must differ between genes from the start.
            gate = nnx.Param(zeros(n_layers, d, d)) if cfg.faithful else matrix(d, d)
            self.cross_g_kernel, self.cross_g_bias = gate, vector(d, GATE_BIAS if cfg.faithful else 0)
            self.cross_out_kernel, self.cross_out_bias = matrix(d, d), vector(d, 0)
        self.norm1_scale = vector(d, 1)
        qkv = draw.fan_in_normal((n_layers, d, 3 * d), d)
        self.qkvg_kernel = nnx.Param(np.concatenate([qkv, zeros(n_layers, d, d)], axis=-1))
        self.qkvg_bias = nnx.Param(np.repeat([[0] * 3 * d + [GATE_BIAS] * d], n_layers, axis=0).astype(np.float32))
        self.out_kernel, self.out_bias = matrix(d, d), vector(d, 0)
        self.norm2_scale = vector(d, 1)
        self.up_kernel, self.down_kernel = matrix(d, 2 * f), matrix(f, d)

    def __call__(
        self,
        h: Float[Array, "b t d"],
        action: Float[Array, "b p d"] | None = None,
        mask: Array | None = None,
        *,
        weight: Float[Array, "b t"] | None = None,
        n_read: int | None = None,
    ) -> Float[Array, "b r d"]:
        """Run all blocks.

        Args:
            h: Tokens.
            action: Action tokens, for blocks with cross-attention.
            mask: [b, p] bool, slots that hold an action. Without one, all do.
            weight: How many equal tokens each stands for; one by default.
            n_read: r, how many of the last tokens are asked for, all by default. In the last block the others are only
                read from: they need keys and values, and nothing else is computed.
        """
        cfg = self.cfg
        stacked = {name: value.get_value() for name, value in vars(self).items() if isinstance(value, nnx.Param)}

        def block(h: Array, p: Params, n_read: int | None = None) -> Array:
            if self.cross and action is not None:
                h = h + cross_attention(p, rms_norm(h, p["cross_norm_scale"]), action, mask, cfg)
            update = self_attention(p, rms_norm(h, p["norm1_scale"]), cfg.n_heads, weight, n_read)
            h = h[:, -update.shape[1] :] + update
            h = h + swiglu(p, rms_norm(h, p["norm2_scale"]))
            return constrain(h, "batch", "gene", "width")

        # What lies between two products is cheaper to compute again than to keep.
        keep = None if cfg.remat else jax.checkpoint_policies.dots_with_no_batch_dims_saveable

        # Where layers are no loop, XLA would find what is computed again and keep it.
        layer = jax.checkpoint(block, prevent_cse=on_one_cpu(), policy=keep)
        if n_read is None:
            return run_layers(layer, h, stacked)
        first, last = (jax.tree.map(lambda leaf, at=at: leaf[at], stacked) for at in (slice(-1), -1))
        h = run_layers(layer, h, first)
        return jax.checkpoint(partial(block, n_read=n_read), policy=keep)(h, last)


def self_attention(
    p: Params, x: Float[Array, "b t d"], n_heads: int, weight: Array | None = None, n_read: int | None = None
) -> Float[Array, "b r d"]:
    """Gated linear attention over all tokens, for the last `n_read` of them."""
    d, kernel, bias = x.shape[-1], p["qkvg_kernel"], p["qkvg_bias"]
    if n_read is None:
        q, k, v, g = jnp.split(linear(x, kernel, bias), 4, axis=-1)
    else:
        k, v = jnp.split(linear(x, kernel[:, d : 3 * d], bias[d : 3 * d]), 2, axis=-1)
        q, g = (linear(x[:, -n_read:], kernel[:, at], bias[at]) for at in (slice(d), slice(3 * d, None)))
    gated = jax.nn.sigmoid(g) * linear_attention(q, k, v, n_heads, weight)
    return linear(gated, p["out_kernel"], p["out_bias"])


def cross_attention(
    p: Params, x: Float[Array, "b t d"], action: Float[Array, "b p d"], mask: Array | None, cfg: BioJepaConfig
) -> Float[Array, "b t d"]:
    """Linear attention of tokens over action slots.

    Published, every slot counts, padded or not (Q4), and a single slot gives every token the same vector (Q3). Repaired,
    padded slots are left out, each token reads through its own gate, and the slots add up instead of averaging, so that
    two perturbations are not each half of one. Without any action the result is exactly zero.
    """
    q = linear(x, p["cross_q_kernel"], p["cross_q_bias"])
    k, v = jnp.split(linear(action, p["cross_kv_kernel"], p["cross_kv_bias"]), 2, axis=-1)
    share, value = slot_shares(q, k, v, cfg.n_heads, None if cfg.faithful else mask)
    if cfg.faithful:
        # Read and projected at once: few slots make a product of low rank.
        return share @ (value @ p["cross_out_kernel"].astype(x.dtype)) + p["cross_out_bias"].astype(x.dtype)
    gate = jax.nn.sigmoid(linear(x, p["cross_g_kernel"], p["cross_g_bias"]))
    assert mask is not None, "a repaired model needs to know which slots hold an action"
    n_actions = mask.sum(axis=1).astype(x.dtype)[:, None, None]
    return linear(gate * (share @ value) * n_actions, p["cross_out_kernel"], p["cross_out_bias"]) * (n_actions > 0)


def slot_shares(
    q: Float[Array, "b t d"],
    k: Float[Array, "b p d"],
    v: Float[Array, "b p d"],
    n_heads: int,
    mask: Array | None = None,
) -> tuple[Float[Array, "b t hp"], Float[Array, "b hp d"]]:
    """Linear attention to few keys without the state: `share @ value` is what `linear_attention` gives.

    Args:
        q: Queries, head beside head.
        k: Keys.
        v: Values.
        n_heads: Number of heads.
        mask: [b, p] bool, keys that count; all by default.

    Returns:
        share: phi(q_t)^T phi(k_p) / (phi(q_t)^T n + 1e-6) of every head and slot, which sum to 1 over slots.
        value: Value of the slot in the head's part of the width, 0 elsewhere.
    """
    f32, (b, n_slots, d) = jnp.float32, k.shape
    factor = factor_type(q)
    phi_q, phi_k = (feature_map(u.astype(f32)).astype(factor) for u in (q, k))
    if mask is not None:
        phi_k = phi_k * mask[:, :, None]
    own_hd = np.arange(n_heads)[:, None] == np.repeat(np.arange(n_heads), d // n_heads)
    key, value = ((u[:, None] * own_hd[:, None]).reshape(b, n_heads * n_slots, d) for u in (phi_k, v))
    score = jnp.einsum("btd,bnd->btn", phi_q, key, preferred_element_type=f32).reshape(b, -1, n_heads, n_slots)
    share = score / (score.sum(axis=-1, keepdims=True) + EPS)
    return share.reshape(b, -1, n_heads * n_slots).astype(q.dtype), value.astype(q.dtype)


def linear_attention(
    q: Float[Array, "b t d"],
    k: Float[Array, "b s d"],
    v: Float[Array, "b s d"],
    n_heads: int,
    weight: Array | None = None,
) -> Float[Array, "b t d"]:
    """The formula at the top of the file; factors in the type of q (float32 on CPU), state and normaliser summed in float32.

    Args:
        q: Queries, head beside head.
        k: Keys.
        v: Values.
        n_heads: Number of heads.
        weight: [b, s], how often each key counts; once by default.
    """
    f32, factor = jnp.float32, factor_type(q)
    phi_q, phi_k, v = (u.astype(factor) for u in (feature_map(q.astype(f32)), feature_map(k.astype(f32)), v))
    if weight is not None:
        phi_k = phi_k * weight[:, :, None].astype(factor)
    top = (read_by_head if on_cpu() else read_by_width)(phi_q, phi_k, v, n_heads)
    normaliser = phi_k.sum(axis=1, dtype=f32)
    bottom = heads(phi_q.astype(f32) * normaliser[:, None], n_heads).sum(axis=-1, keepdims=True)
    return (heads(top, n_heads) / (bottom + EPS)).astype(q.dtype).reshape(q.shape)


def read_by_head(
    phi_q: Float[Array, "b t d"], phi_k: Float[Array, "b s d"], v: Float[Array, "b s d"], n_heads: int
) -> Float[Array, "b t d"]:
    """phi(q)^T S of every head: the fewest operations."""
    f32 = jnp.float32
    state = jnp.einsum("bshk,bshj->bhkj", heads(phi_k, n_heads), heads(v, n_heads), preferred_element_type=f32)
    read = jnp.einsum("bthk,bhkj->bthj", heads(phi_q, n_heads), state.astype(phi_q.dtype), preferred_element_type=f32)
    return read.reshape(phi_q.shape)


def read_by_width(
    phi_q: Float[Array, "b t d"], phi_k: Float[Array, "b s d"], v: Float[Array, "b s d"], n_heads: int
) -> Float[Array, "b t d"]:
    """The same from the state between all heads, of which the blocks on the diagonal are kept.

    A tenth more operations in a layer, but no token is rearranged: on a GPU attention is bound by memory, and the copies
    into the order of heads were its largest part.
    """
    f32 = jnp.float32
    head_d = np.repeat(np.arange(n_heads), phi_q.shape[-1] // n_heads)
    state = jnp.einsum("bsk,bsj->bkj", phi_k, v, preferred_element_type=f32) * (head_d[:, None] == head_d)
    return jnp.einsum("btk,bkj->btj", phi_q, state.astype(phi_q.dtype), preferred_element_type=f32)


def factor_type(q: Array) -> jnp.dtype:
    """Type of the factors of attention's products: XLA has none of bfloat16 that sums in float32 for CPUs."""
    return jnp.dtype(jnp.float32) if on_cpu() else q.dtype


def feature_map(u: Array) -> Array:
    """ELU(u) + 1, positive."""
    return jnp.where(u > 0, u + 1, jnp.exp(jnp.minimum(u, 0)))


def swiglu(p: Params, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
    """W3 (SiLU(W1 x) * W2 x), W1 and W2 as one matrix."""
    gate, up = jnp.split(product(x, p["up_kernel"]), 2, axis=-1)
    return product(jax.nn.silu(gate) * up, p["down_kernel"])


def rms_norm(x: Float[Array, "*b d"], scale: Float[Values, " d"]) -> Float[Array, "*b d"]:
    """X / rms(x) * scale, computed in float32."""
    x32 = x.astype(jnp.float32)
    return (x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + EPS) * scale).astype(x.dtype)


def linear(x: Float[Array, "*b i"], kernel: Float[Values, "i o"], bias: Float[Values, " o"]) -> Float[Array, "*b o"]:
    """X W + b in the type of x."""
    return product(x, kernel) + bias.astype(x.dtype)


def heads(u: Float[Array, "b t d"], n_heads: int) -> Float[Array, "b t h k"]:
    """Cut the width into heads."""
    return u.reshape(*u.shape[:2], n_heads, -1)


def zeros(*shape: int) -> np.ndarray:
    """Float32 zeros."""
    return np.zeros(shape, np.float32)


class Draw:
    """Initial values, drawn by numpy: hundreds of small shapes are not worth a compiled program each.

    Args:
        seed: Numbers that name the stream, or None for zeros, where only shapes are wanted.
    """

    def __init__(self, seed: Sequence[int] | None) -> None:
        self._rng = None if seed is None else np.random.default_rng(seed)

    def normal(self, *shape: int, std: float = 1.0) -> np.ndarray:
        """Normal of a standard deviation."""
        if self._rng is None:
            return zeros(*shape)
        return self._rng.standard_normal(shape, np.float32) * np.float32(std)

    def fan_in_normal(self, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
        """Normal of standard deviation 1 / sqrt(fan_in), cut at two of them."""
        if self._rng is None:
            return zeros(*shape)
        below, above = ndtr([-2.0, 2.0])
        return (ndtri(self._rng.uniform(below, above, shape)) / np.sqrt(fan_in)).astype(np.float32)

    def fan_in_uniform(self, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
        """Uniform in +- 1 / sqrt(fan_in), what torch gives a Linear."""
        if self._rng is None:
            return zeros(*shape)
        return (self._rng.uniform(-1, 1, shape) / np.sqrt(fan_in)).astype(np.float32)


class Linear(nnx.Module):
    """X W + b; `uniform` draws weights and bias as torch does, otherwise fan-in normal and zero."""

    def __init__(self, n_in: int, n_out: int, *, uniform: bool = False, zero: bool = False, draw: Draw) -> None:
        kernel = draw.fan_in_uniform if uniform else draw.fan_in_normal
        self.kernel = nnx.Param(zeros(n_in, n_out) if zero else kernel((n_in, n_out), n_in))
        self.bias = nnx.Param(draw.fan_in_uniform((n_out,), n_in) if uniform else zeros(n_out))

    def __call__(self, x: Float[Array, "*b i"]) -> Float[Array, "*b o"]:
        """Apply."""
        return linear(x, self.kernel.get_value(), self.bias.get_value())
