"""Actions to tokens: what was done to a cell, as up to four slots of width A.

    seq    = W_modality seq_emb + b          guide, protein or compound; 0 if absent
    target = W_t target_emb + b              the targeted protein; 0 if absent
    fused  = dropout(seq) + dropout(target)  or an MLP of both; neither: a learned vector
    a      = fused (1 + W_sc v) + W_sh v,    v the vector of the mode; 0 for padded slots

Runs in float32 always: it is small, and its outputs are compared by cosine.

Letters: b actions, p slots, a action width.
"""

from typing import TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from vc_model.biojepa.config import MODALITIES, BioJepaConfig
from vc_model.biojepa.layers import Draw, Linear


class ActionBatch(TypedDict):
    """Actions as arrays; slots beyond an action's perturbations are padded."""

    seq_emb: Float[Array, "b p s"]
    target_emb: Float[Array, "b p e"]
    modality: Int[Array, "b p"]
    mode: Int[Array, "b p"]
    has_seq: Bool[Array, "b p"]
    has_target: Bool[Array, "b p"]
    pert_mask: Bool[Array, "b p"]
    dose: Float[Array, "b p"]


ACTION_KEYS = tuple(ActionBatch.__annotations__)


class ActionComposer(nnx.Module):
    """Projects, fuses and modulates; `embed_paths` gives the two vectors that alignment compares."""

    def __init__(self, cfg: BioJepaConfig, *, draw: Draw) -> None:
        self.cfg = cfg
        a, m = cfg.action_width, cfg.mode_width
        self.seq = nnx.Dict(
            {
                name: Linear(width, a, uniform=True, draw=draw)
                for name, width in zip(MODALITIES, cfg.modality_widths, strict=True)
            }
        )
        self.target = Linear(cfg.target_width, a, uniform=True, draw=draw)
        if cfg.fusion == "concat_mlp":
            self.fuse_in = Linear(2 * a, 2 * a, uniform=True, draw=draw)
            self.fuse_out = Linear(2 * a, a, uniform=True, draw=draw)
        self.unknown = nnx.Param(draw.normal(a, std=0.02))
        self.mode_vectors = nnx.Param(draw.normal(cfg.n_modes, m))
        self.scale, self.shift = (Linear(m, a, zero=True, draw=draw) for _ in range(2))
        if cfg.faithful:
            for film in (self.scale, self.shift):
                film.kernel.set_value(draw.normal(m, a, std=0.02))
        if cfg.version == "1.0":
            # A factor per column of the token, 1 for every dose before training.
            self.dose_in, self.dose_out = Linear(1, a, uniform=True, draw=draw), Linear(a, a, zero=True, draw=draw)
            self.dose_out.bias.set_value(np.ones(a, np.float32))
        elif not cfg.faithful:
            # How strongly a dose acts: sigmoid(first + softplus(second) log1p(dose)).
            self.dose_gate = nnx.Param(np.array([2, 0], np.float32))
        if cfg.version == "0.6":
            self.pool = AttentionPool(cfg, draw=draw)
        if cfg.learnable_tau:
            self.log_tau = nnx.Param(np.log(np.float32(cfg.tau)))

    def __call__(self, action: ActionBatch, *, key: Array | None = None) -> Float[Array, "b p a"]:
        """Action tokens.

        Args:
            action: The actions.
            key: Draws the dropout of training; None in use.
        """
        content = self._fuse(self._seq(action), self._target(action), action, key)
        known = (action["has_seq"] | action["has_target"])[..., None]
        content = jnp.where(known, content, self.unknown.get_value())
        token = self._modulate(content, action["mode"])
        if self.cfg.version == "1.0" or not self.cfg.faithful:
            token = token * self._dose(action["dose"])
        return jnp.where(action["pert_mask"][..., None], token, 0)

    def embed_paths(self, action: ActionBatch) -> tuple[Float[Array, "b a"], Float[Array, "b a"]]:
        """One vector of the sequence path and one of the target path, modulated by mode and pooled over slots."""
        mask = action["pert_mask"]
        tokens = (self._modulate(path, action["mode"]) for path in (self._seq(action), self._target(action)))
        if self.cfg.version == "0.6":
            seq, target = (self.pool(token, mask) for token in tokens)
        else:
            n_slots = jnp.maximum(mask.sum(axis=1, keepdims=True), 1)
            seq, target = ((token * mask[..., None]).sum(axis=1) / n_slots for token in tokens)
        return seq, target

    @property
    def tau(self) -> Array:
        """Temperature of the alignment."""
        return jnp.exp(self.log_tau.get_value()) if self.cfg.learnable_tau else jnp.float32(self.cfg.tau)

    def _seq(self, action: ActionBatch) -> Array:
        emb, modality = action["seq_emb"], action["modality"]
        # All projections are made and one is chosen: no shape depends on the data.
        chosen = jnp.zeros((*modality.shape, self.cfg.action_width))
        for at, (name, width) in enumerate(zip(MODALITIES, self.cfg.modality_widths, strict=True)):
            chosen = jnp.where((modality == at)[..., None], self.seq[name](emb[..., :width]), chosen)
        return jnp.where(action["has_seq"][..., None], chosen, 0)

    def _target(self, action: ActionBatch) -> Array:
        return jnp.where(action["has_target"][..., None], self.target(action["target_emb"]), 0)

    def _fuse(self, seq: Array, target: Array, action: ActionBatch, key: Array | None) -> Array:
        if self.cfg.fusion == "concat_mlp":
            hidden = jax.nn.gelu(self.fuse_in(jnp.concatenate([seq, target], axis=-1)), approximate=False)
            both = (action["has_seq"] & action["has_target"])[..., None]
            return jnp.where(both, self.fuse_out(hidden), seq + target)
        if key is None:
            return seq + target
        keep = 1 - self.cfg.fusion_dropout
        keys = jax.random.split(key)
        seq, target = (
            jnp.where(jax.random.bernoulli(k, keep, u.shape), u / keep, 0)
            for k, u in zip(keys, (seq, target), strict=True)
        )
        return seq + target

    def _modulate(self, content: Array, mode: Array) -> Array:
        v = self.mode_vectors.get_value()[mode]
        return content * (1 + self.scale(v)) + self.shift(v)

    def _dose(self, dose: Array) -> Array:
        """[b, p, 1] strength in (0, 1) of a compound by dose, in v1.0 [b, p, a] factors; 1 without a dose (genetic ones)."""
        dose = dose[..., None]
        log_dose = jnp.log1p(jnp.maximum(dose, 0))
        if self.cfg.version == "1.0":
            strength = self.dose_out(jax.nn.silu(self.dose_in(log_dose)))
        else:
            offset, slope = self.dose_gate.get_value()
            strength = jax.nn.sigmoid(offset + jax.nn.softplus(slope) * log_dose)
        return jnp.where(dose > 0, strength, 1)


class AttentionPool(nnx.Module):
    """One learned query attends over slots (softmax, several heads): [b, p, a] -> [b, a]."""

    def __init__(self, cfg: BioJepaConfig, *, draw: Draw) -> None:
        self.n_heads = cfg.pool_heads
        a = cfg.action_width
        self.query = nnx.Param(draw.normal(a, std=0.02))
        self.q, self.k, self.v, self.out = (Linear(a, a, uniform=True, draw=draw) for _ in range(4))

    def __call__(self, x: Float[Array, "b p a"], mask: Bool[Array, "b p"]) -> Float[Array, "b a"]:
        """Pool the slots of `mask`; where there are none, the result is the bias of the output."""
        q = self.q(jnp.asarray(self.query.get_value())).reshape(self.n_heads, -1)
        k, v = (project(x).reshape(*x.shape[:2], self.n_heads, -1) for project in (self.k, self.v))
        score = jnp.einsum("hk,bphk->bhp", q, k) / jnp.sqrt(q.shape[-1])
        weight = jax.nn.softmax(jnp.where(mask[:, None], score, -1e30), axis=-1) * mask[:, None]
        return self.out(jnp.einsum("bhp,bphk->bhk", weight, v).reshape(x.shape[0], -1))
