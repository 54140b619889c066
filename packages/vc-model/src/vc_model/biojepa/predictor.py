"""Latents and an action to latents of the perturbed cell, and latents to expression.

    act = W (GELU (RMSNorm (W a)))
    published   s = concat(z, Q), 2G tokens;  mu = W s[G:] + b
    repaired    s = z + Q, G tokens;          mu = z + (W s + b) + W_2 (U * sum_p W_1 act_p), nothing without an action

Published, a gene's prediction reaches its own control value only through the attention state (Q9). Repaired, it starts
from it: an untrained model predicts no change, and no action is no change. The last term, bilinear in gene (a row of U per
gene) and action, gives every gene an answer of its own to every action, the same in all cells, and adds up over actions.

Letters: b cells, g genes, p slots, d latent width, a action width.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from vc_model.biojepa.config import BioJepaConfig
from vc_model.biojepa.layers import Blocks, Draw, Linear, rms_norm, zeros
from vc_model.train.rules import constrain

LOGVAR_RANGE = (-10.0, 2.0)


class ACPredictor(nnx.Module):
    """Action-conditioned predictor: mean and log variance of every latent of the perturbed cell."""

    def __init__(self, cfg: BioJepaConfig, *, draw: Draw) -> None:
        self.cfg = cfg
        inner, a, d = cfg.of_predictor, cfg.action_width, cfg.width
        w = inner.width
        self.action_in = Linear(a, w, draw=draw)
        self.action_norm_scale = nnx.Param(np.ones(w, np.float32))
        self.action_out = Linear(w, w, draw=draw)
        self.query = nnx.Param(draw.fan_in_normal((cfg.n_genes, w), w))
        if cfg.predictor_width is not None:
            self.latent_in = Linear(d, w, draw=draw)
        self.blocks = Blocks(inner, inner.n_layers, cross=True, draw=draw)
        self.norm_scale = nnx.Param(np.ones(w, np.float32))
        self.mean = Linear(w, d, zero=not cfg.faithful, draw=draw)
        self.logvar = Linear(w, d, draw=draw)
        if not cfg.faithful:
            self.gene_factor = nnx.Param(draw.normal(cfg.n_genes, w))
            self.action_factor_kernel = nnx.Param(draw.fan_in_normal((w, w), w))
            self.effect_kernel = nnx.Param(zeros(w, d))

    def __call__(
        self,
        z: Float[Array, "b n d"],
        action: Float[Array, "b p a"],
        mask: Bool[Array, "b p"],
        weight: Float[Array, "b n"] | None = None,
        gene: Int[Array, " n"] | None = None,
    ) -> tuple[Float[Array, "b g d"], Float[Array, "b g d"]]:
        """Predict.

        Args:
            z: Latents of control cells, one for each gene; published, equal ones may stand there once (`Tokens`).
            action: Action tokens.
            mask: Slots that hold an action. Published, padded slots take part all the same (Q4).
            weight: How many genes each latent stands for; one by default.
            gene: Which genes the latents are of; all, in order, by default. Few of them stand for all: attention reads
                means over genes. Not in the published form.

        Returns:
            mu: Mean of the latents of the perturbed cell, float32.
            logvar: Its log variance, float32, clipped.
        """
        compute = jnp.dtype(self.cfg.compute)
        query = jnp.asarray(self.query.get_value())
        query = (query if gene is None else query[gene]).astype(compute)
        b, n_genes = z.shape[0], len(query)
        hidden = rms_norm(self.action_in(action.astype(compute)), self.action_norm_scale.get_value())
        act = self.action_out(jax.nn.gelu(hidden, approximate=False))
        z = z.astype(compute)
        latent = z if self.cfg.predictor_width is None else self.latent_in(z)
        query = jnp.broadcast_to(query, (b, *query.shape))
        if weight is not None:
            weight = jnp.concatenate([weight, jnp.ones((b, n_genes))], axis=1)
        s = jnp.concatenate([latent, query], axis=1) if self.cfg.faithful else latent + query
        n_read = n_genes if self.cfg.faithful else None
        s = self.blocks(constrain(s, "batch", "gene", "width"), act, mask, weight=weight, n_read=n_read)
        s = rms_norm(s, self.norm_scale.get_value())
        mu, logvar = self.mean(s).astype(jnp.float32), self.logvar(s).astype(jnp.float32)
        if not self.cfg.faithful:
            mu = z + mu * mask.any(axis=1)[:, None, None] + self._effect(act, mask, gene)
        return mu.astype(jnp.float32), jnp.clip(logvar, *LOGVAR_RANGE)

    def _effect(
        self, act: Float[Array, "b p w"], mask: Bool[Array, "b p"], gene: Array | None
    ) -> Float[Array, "b g d"]:
        """The part of the change that is bilinear in gene and action."""
        own = jnp.asarray(self.gene_factor.get_value()).astype(act.dtype)
        action = (act @ self.action_factor_kernel.get_value().astype(act.dtype) * mask[..., None]).sum(axis=1)
        factor = (own if gene is None else own[gene]) * action[:, None]
        return (factor @ self.effect_kernel.get_value().astype(act.dtype)).astype(jnp.float32)


class ExpressionDecoder(nnx.Module):
    """Effect on expression from latents before and after: one readout for all genes, repaired with a row per gene."""

    def __init__(self, cfg: BioJepaConfig, *, draw: Draw) -> None:
        self.out = Linear(cfg.width, 1, draw=draw)
        self.cfg = cfg
        if not cfg.faithful:
            self.gene_kernel = nnx.Param(zeros(cfg.n_genes, cfg.width))

    def __call__(self, z: Float[Array, "b g d"], gene: Int[Array, " g"] | None = None) -> Float[Array, "b g"]:
        """Expression of every gene, up to what is common to all cells.

        Args:
            z: Latents.
            gene: Which genes they are of; all, in order, by default.
        """
        z = z.astype(jnp.float32)
        value = self.out(z)[..., 0]
        if self.cfg.faithful:
            return value
        row = jnp.asarray(self.gene_kernel.get_value())
        return value + jnp.einsum("bgd,gd->bg", z, row if gene is None else row[gene])
