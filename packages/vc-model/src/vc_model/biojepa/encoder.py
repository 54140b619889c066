"""Cells to latents: one token per gene made of the gene's identity, its expression and the depth of the cell.

    s = w_s x                                            linear pathway
    f = [sin 2 pi w_f x b, cos 2 pi w_f x b]             Fourier pathway -> (gamma, beta) by a small MLP, zero at first
    published   h = e s (1 + gamma) + beta,      masked: h = token
    repaired    h = e + e s (1 + gamma) + beta + s v,  masked: h = e + token,  unmeasured: h = e + another token
    v1.0        the same without s v
    h += W total;  z = RMSNorm(blocks(h))

Published (v0.6), a gene that is not expressed or masked loses its identity, so all of them share one latent (Q1, Q2), and
expression is told by the size of a token alone. Equal tokens stay equal through every block, so they can go through them
once, with a weight (`Tokens`): the same numbers for the work on the genes that are expressed and shown. Repaired, it also
has a direction of its own, v, the same for all genes: a change of expression is a change of the latent that one readout sees.

Letters: b cells, g genes, d latent width.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int
from scipy.stats import binom

from vc_model.biojepa.config import BioJepaConfig
from vc_model.biojepa.layers import Blocks, Draw, Linear, rms_norm
from vc_model.train.rules import constrain

EMBEDDING_STD = 0.02
VALUE_STD = 0.1


class Tokens(NamedTuple):
    """Latents of cells, equal ones once.

    Attributes:
        z: [b, n, d] latents.
        weight: [b, n] how many genes each stands for; None where every gene has its own.
        place: [b, g] which latent is a gene's; None where every gene has its own.
    """

    z: Float[Array, "b n d"]
    weight: Float[Array, "b n"] | None = None
    place: Int[Array, "b g"] | None = None

    def spread(self, value: Float[Array, "b n *k"]) -> Float[Array, "b g *k"]:
        """Per gene what is there per token."""
        return value if self.place is None else jax.vmap(lambda row, at: row[at])(value, self.place)


class CellStateEncoder(nnx.Module):
    """[b, g] expression -> [b, g, d] latents; student and teacher are two copies of this."""

    def __init__(self, cfg: BioJepaConfig, *, draw: Draw) -> None:
        self.cfg = cfg
        d = cfg.width
        self.gene_embedding = nnx.Param(draw.normal(cfg.n_genes, d, std=EMBEDDING_STD))
        self.linear_scale = nnx.Param(np.float32(cfg.film_multiple))
        self.fourier_scale = nnx.Param(np.float32(0.1))
        # Declared frozen, yet trained in the published run (Q11).
        self.fourier = nnx.Param(draw.normal(d // 2, std=cfg.fourier_scale))
        self.film_in = Linear(d, d, draw=draw)
        self.film_out = Linear(d, 2 * d, zero=True, draw=draw)
        self.mask_token = nnx.Param(draw.normal(d, std=EMBEDDING_STD))
        if cfg.knows_unmeasured:
            self.unmeasured_token = nnx.Param(draw.normal(d, std=EMBEDDING_STD))
        if not cfg.faithful:
            self.value_direction = nnx.Param(draw.normal(d, std=VALUE_STD))
        # Published, the depth (about 8 times unit weights) drowns gene identity (0.02) in every token at the start.
        self.total = Linear(1, d, zero=not cfg.faithful, draw=draw)
        self.blocks = Blocks(cfg, cfg.n_layers, draw=draw)
        self.norm_scale = nnx.Param(np.ones(d, np.float32))

    def __call__(
        self,
        x: Float[Array, "b g"],
        total: Float[Array, " b"],
        *,
        masked: Bool[Array, "b g"] | None = None,
        measured: Bool[Array, "#b g"] | None = None,
    ) -> Float[Array, "b g d"]:
        """Encode cells.

        Args:
            x: log1p of counts per ten thousand.
            total: log1p of the raw total count.
            masked: Genes hidden from the encoder; none by default.
            measured: Genes that the data set measured; all by default. Ignored in the published v0.6 (Q7).
        """
        tokens = self.tokens(x, total, masked=masked, measured=measured)
        return tokens.spread(tokens.z)

    def tokens(
        self,
        x: Float[Array, "b g"],
        total: Float[Array, " b"],
        *,
        masked: Bool[Array, "b g"] | None = None,
        measured: Bool[Array, "#b g"] | None = None,
        shown: float = 1,
    ) -> Tokens:
        """Encode cells; with `cfg.room`, equal tokens once.

        Args:
            x: log1p of counts per ten thousand.
            total: log1p of the raw total count.
            masked: Genes hidden from the encoder; none by default.
            measured: Genes that the data set measured; all by default. Ignored in the published v0.6 (Q7).
            shown: Share of genes that is not masked, which makes `room` smaller.

        Returns:
            Latents. Those of a cell that expresses more than `cfg.room` genes are NaN.
        """
        depth = self.total(total[:, None].astype(x.dtype))[:, None]
        if self.cfg.room is None:
            return Tokens(self._encode(self.embed(x, masked=masked, measured=measured) + depth))
        masked = jnp.zeros(x.shape, bool) if masked is None else masked
        own = (x != 0) & ~masked
        room, n_own = room_for(self.cfg.room, shown), jnp.cumsum(own, axis=1)
        place = jnp.where(own, n_own - 1, jnp.where(masked, room + 1, room))
        # The r-th gene with a token of its own, for every r; past the last one any gene, with weight 0.
        gene = jax.vmap(lambda n: jnp.searchsorted(n, jnp.arange(1, room + 1)))(n_own)
        filled = jnp.arange(room) < n_own[:, -1:]
        value = jnp.take_along_axis(x, gene, axis=1, mode="clip") * filled
        # The last two stand for the genes that are not expressed and for those that are masked.
        h = self.embed(
            jnp.pad(value, ((0, 0), (0, 2))),
            masked=jnp.arange(room + 2)[None] == room + 1,
            gene=jnp.pad(gene, ((0, 0), (0, 2))),
        )
        h = jnp.where((n_own[:, -1] <= room)[:, None, None], h + depth, jnp.nan)
        n_masked = masked.sum(axis=1, keepdims=True)
        rest = [x.shape[1] - n_own[:, -1:] - n_masked, n_masked]
        weight = jnp.concatenate([filled, *rest], axis=1).astype(jnp.float32)
        return Tokens(self._encode(h, weight), weight, place)

    def _encode(self, h: Array, weight: Array | None = None) -> Array:
        h = constrain(h.astype(self.cfg.compute), "batch", "gene", "width")
        return rms_norm(self.blocks(h, weight=weight), self.norm_scale.get_value())

    def embed(
        self,
        x: Float[Array, "b g"],
        *,
        masked: Array | None = None,
        measured: Array | None = None,
        gene: Int[Array, "b g"] | None = None,
    ) -> Float[Array, "b g d"]:
        """Tokens before the depth of the cell is added; of these genes, or of all."""
        compute = jnp.dtype(self.cfg.compute)
        e = jnp.asarray(self.gene_embedding.get_value())
        e = (e if gene is None else jnp.take(e, gene, axis=0, mode="clip")).astype(compute)
        if masked is not None:
            x = jnp.where(masked, 0, x)
        gamma, beta = jnp.split(self.film_out(jax.nn.gelu(self.film_in(self.features(x)), approximate=False)), 2, -1)
        value = (self.linear_scale.get_value() * x).astype(compute)[..., None]
        scaled = e * value * (1 + gamma) + beta
        if self.cfg.has_equal_tokens:
            return scaled if masked is None else jnp.where(masked[..., None], self._token(self.mask_token), scaled)
        if not self.cfg.faithful:
            scaled = scaled + value * self._token(self.value_direction)
        h = scaled if masked is None else jnp.where(masked[..., None], self._token(self.mask_token), scaled)
        if measured is not None:
            h = jnp.where(measured[..., None], h, self._token(self.unmeasured_token))
        return e + h

    def features(self, x: Float[Array, "b g"]) -> Float[Array, "b g d"]:
        """Fourier features of expression values."""
        frequency = self.fourier.get_value()
        if not self.cfg.has_equal_tokens:
            frequency = jax.lax.stop_gradient(frequency)
        angle = 2 * jnp.pi * (self.fourier_scale.get_value() * x)[..., None] * frequency
        return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1).astype(self.cfg.compute)

    def _token(self, token: nnx.Param) -> Array:
        return token.get_value().astype(self.cfg.compute)


class MaskedPredictor(nnx.Module):
    """Student latents -> prediction of the teacher's, [b, g, d] both."""

    def __init__(self, cfg: BioJepaConfig, *, draw: Draw) -> None:
        self.blocks = Blocks(cfg, cfg.n_mask_layers, draw=draw)
        self.norm_scale = nnx.Param(np.ones(cfg.width, np.float32))
        self.out = Linear(cfg.width, cfg.width, draw=draw)

    def __call__(self, z: Float[Array, "b g d"], weight: Float[Array, "b g"] | None = None) -> Float[Array, "b g d"]:
        """Predict all positions, each of which stands for `weight` equal ones."""
        return self.out(rms_norm(self.blocks(z, weight=weight), self.norm_scale.get_value()))


def room_for(room: int, share: float) -> int:
    """No more than so many of `room` genes are shown, when each is with a probability, but once in 10^15 cells."""
    return int(binom.isf(1e-15, room, share)) if share < 1 else room


def cell_vector(z: Float[Array, "b g d"], weight: Array | None = None) -> Float[Array, "b d"]:
    """Mean latent, float32, weighted ([#b, g] numbers, or bool for measured genes only)."""
    z = z.astype(jnp.float32)
    if weight is None:
        return z.mean(axis=1)
    weight = jnp.broadcast_to(weight, z.shape[:2]).astype(jnp.float32)
    return jnp.einsum("bgd,bg->bd", z, weight) / jnp.maximum(weight.sum(axis=1, keepdims=True), 1)
