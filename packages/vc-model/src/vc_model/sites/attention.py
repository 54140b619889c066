"""The factors of BioJEPA's linear attention, as latents-v1: what vc-interp makes exact implicit weights of.

A row is a gene in a control cell (`LINE|cell|GENE`, of kind `gene`); its columns are phi(q) and phi(k) of one layer of the
encoder, all heads side by side (`q0, q1, ..., k0, k1, ...`). The weight of gene s in the update of gene t is, for each head,
phi(q_t)^T phi(k_s) / (phi(q_t)^T sum_s phi(k_s) + 1e-6) (`vc_model.biojepa.layers`).
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from vc_model.biojepa.config import BioJepaConfig
from vc_model.biojepa.fitted import FittedBioJepa, reader_of
from vc_model.biojepa.layers import feature_map, linear, rms_norm, self_attention, swiglu
from vc_model.biojepa.stages import bind
from vc_model.contracts.header import Parents
from vc_model.errors import VcModelError
from vc_model.sites.site import Block
from vc_model.sites.write import stream_latents


def write_attention(
    path: Path | str,
    fitted: FittedBioJepa,
    *,
    layer: int = -1,
    cells: int = 64,
    parents: Parents = None,
) -> int:
    """Write the factors of one layer for control cells of every line.

    Args:
        path: The latents-v1 zarr folder; an earlier one there is replaced.
        fitted: A BioJEPA whose encoder is trained.
        layer: Which block of the encoder; negative numbers count from the last.
        cells: At most so many cells of each line, evenly spread.
        parents: File name -> sha256 of what the model was made from.

    Returns:
        Rows written: cells times genes.

    Raises:
        VcModelError: If there is no such layer, or the encoder is not trained.
    """
    cfg = fitted.config
    if not -cfg.n_layers <= layer < cfg.n_layers:
        raise VcModelError(f"layer: expected -{cfg.n_layers} to {cfg.n_layers - 1}, found {layer}.")
    if reader_of(cfg) not in fitted.parts:
        raise VcModelError(f"{fitted.name}: expected a pretrained encoder, found the stages {list(fitted.stages)}.")
    layer %= cfg.n_layers
    site = f"encoder/attention/layer{layer}/heads{cfg.n_heads}"
    blocks = tqdm(_blocks(fitted, layer, cells), desc=site, leave=False, disable=None)
    return stream_latents(path, blocks, 2 * cfg.width, "gene", site, fitted.name, parents=parents)


def _blocks(fitted: FittedBioJepa, layer: int, cells: int) -> Iterator[Block]:
    cfg, genes = fitted.config, fitted.contexts.genes
    params = jax.tree.map(jnp.asarray, fitted.parts[reader_of(cfg)])
    for line in fitted.cells.lines:
        x_ng, total_n = fitted.cells.of(line)
        for at in np.unique(np.linspace(0, len(x_ng) - 1, min(cells, len(x_ng))).astype(int)).tolist():
            factors_gk = np.asarray(_factors(cfg, layer, params, x_ng[at : at + 1], total_n[at : at + 1]))
            names = tuple(f"{line}|{at}|{gene}" for gene in genes)
            yield Block(factors_gk, names, (line,) * len(genes), ("control",) * len(genes))


@partial(jax.jit, static_argnums=(0, 1))
def _factors(cfg: BioJepaConfig, layer: int, params: dict[str, Any], x_1g: jax.Array, total_1: jax.Array) -> jax.Array:
    """[g, 2 d] phi(q) and phi(k) of one cell."""
    encoder = bind("encoder", cfg, params)
    h = encoder.embed(x_1g) + encoder.total(total_1[:, None])[:, None]
    stacked = params["blocks"]
    for at in range(layer + 1):
        p = {name: leaf[at] for name, leaf in stacked.items()}
        normed = rms_norm(h, p["norm1_scale"])
        if at == layer:
            q, k, _, _ = jnp.split(linear(normed, p["qkvg_kernel"], p["qkvg_bias"]), 4, axis=-1)
            return jnp.concatenate([feature_map(q), feature_map(k)], axis=-1)[0].astype(jnp.float32)
        h = h + self_attention(p, normed, cfg.n_heads)
        h = h + swiglu(p, rms_norm(h, p["norm2_scale"]))
    raise AssertionError("the loop ends at the layer")
