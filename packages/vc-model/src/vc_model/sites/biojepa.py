"""BioJEPA's latents: cell vectors before and after the action, and gene embeddings.

| site | a row is | activations |
|---|---|---|
| `encoder/cell` | a control cell | mean latent over genes |
| `predictor/cell` | a control cell under a condition | mean over genes of the predicted latents |
| `encoder/gene` | a gene | mean of its latents over the control cells of all lines |

A model that learnt from conditions was trained on mean latents, with a base on those that the base's prediction moved; here its
predictor reads single control cells as they are.

The decoder is linear in a gene's latents (one readout for all genes, repaired also a row per gene), so a vector that is added
to every latent of a cell changes gene g by its product with row g of `gradient`, exactly.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vc_model.biojepa.config import BioJepaConfig
from vc_model.biojepa.cpu import few_cells
from vc_model.biojepa.encoder import cell_vector
from vc_model.biojepa.fitted import FittedBioJepa, reader_of
from vc_model.biojepa.stages import bind
from vc_model.sites.site import Block, OfModel
from vc_model.table.effects import Action, Conditions

NOTHING = Action(())
BIOJEPA_SITES = {"predictor/cell": "cell", "encoder/cell": "cell", "encoder/gene": "gene"}


@dataclass(frozen=True, eq=False)
class LatentSite(OfModel[FittedBioJepa]):
    """One of `BIOJEPA_SITES`.

    Attributes:
        fitted: A BioJEPA after all stages that the site needs.
        conditions: What is done to the control cells; of the encoder's sites only the lines matter.
        name: The site.
    """

    fitted: FittedBioJepa
    conditions: Conditions
    name: str

    @property
    def kind(self) -> str:
        """`cell` or `gene`."""
        return BIOJEPA_SITES[self.name]

    @property
    def width(self) -> int:
        """D."""
        return self.fitted.config.width

    @cached_property
    def parts(self) -> dict[str, Any]:
        """Parameters as JAX arrays."""
        return jax.tree.map(jnp.asarray, dict(self.fitted.parts))

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """Lines of the conditions, in their order."""
        return tuple(dict.fromkeys(str(line) for line in self.conditions.cell_line))

    def blocks(self) -> Iterator[Block]:
        """A block for each line (encoder) or condition (predictor)."""
        if self.name == "encoder/gene":
            yield self._genes()
            return
        encoder_only = self.name == "encoder/cell"
        pairs = [(line, NOTHING, "control") for line in self.lines] if encoder_only else self._pairs()
        for line, action, label in pairs:
            x_ng, total_n = self.fitted.cells.of(line)
            arrays = None if encoder_only or not action.targets else self.fitted.bank.arrays([action])
            values_nd = np.asarray(_vectors(self.fitted.config, self.parts, x_ng, total_n, arrays))
            n = len(values_nd)
            yield Block(values_nd, tuple(f"{line}|{label}|{at}" for at in range(n)), (line,) * n, (label,) * n)

    def decode(self, values_nd: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """[n, g] expression up to what is common to all rows: the decoder reads the vector in the place of every gene's."""
        return values_nd @ self.gradient().T

    def gradient(self) -> np.ndarray:
        """[g, d], exact."""
        decoder = self.fitted.parts["decoder"]
        shared_d = np.asarray(decoder["out"]["kernel"], np.float32)[:, 0]
        own_gd = decoder.get("gene_kernel", np.zeros((len(self.genes), 1), np.float32))
        return np.asarray(shared_d + own_gd, np.float32)

    def _pairs(self) -> list[tuple[str, Action, str]]:
        pairs = zip(self.conditions.cell_line, self.conditions.actions, self.conditions.perturbation, strict=True)
        return [(str(line), action, label) for line, action, label in pairs]

    def _genes(self) -> Block:
        total_gd, n = np.zeros((len(self.genes), self.width)), 0
        for line in self.lines:
            for x_g, total in zip(*self.fitted.cells.of(line), strict=True):
                total_gd += np.asarray(_latents(self.fitted.config, self.parts, x_g[None], total[None]))[0]
                n += 1
        blank = ("",) * len(self.genes)
        return Block((total_gd / max(n, 1)).astype(np.float32), self.genes, blank, blank)


@partial(jax.jit, static_argnums=0)
def _latents(cfg: BioJepaConfig, parts: Mapping[str, Any], x_ng: jax.Array, total_n: jax.Array) -> jax.Array:
    """[n, g, d] latents of the encoder that reads control cells."""
    return bind("encoder", cfg, parts[reader_of(cfg)])(x_ng, total_n).astype(jnp.float32)


@partial(jax.jit, static_argnums=0)
def _vectors(
    cfg: BioJepaConfig, parts: Mapping[str, Any], x_ng: jax.Array, total_n: jax.Array, action: Mapping[str, Any] | None
) -> jax.Array:
    """[n, d] cell vectors, after the action where there is one."""
    token_pa = None if action is None else bind("composer", cfg, parts["composer"])(action)
    predictor = None if action is None else bind("predictor", cfg, parts["predictor"])

    def vectors(x: jax.Array, total: jax.Array) -> jax.Array:
        tokens = bind("encoder", cfg, parts[reader_of(cfg)]).tokens(x, total)
        if action is None or predictor is None or token_pa is None:
            return cell_vector(tokens.spread(tokens.z))
        token_npa, mask_np = (jnp.repeat(u, len(x), axis=0) for u in (token_pa, action["pert_mask"]))
        return cell_vector(predictor(tokens.z, token_npa, mask_np, tokens.weight)[0])

    return few_cells(vectors, (x_ng, total_n), cfg.n_genes)
