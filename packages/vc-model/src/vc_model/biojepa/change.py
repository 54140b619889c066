"""Effects of actions on mean expression, from the mean latents of a line.

Letters: q conditions, g genes, d latent width.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from vc_model.biojepa.config import BioJepaConfig
from vc_model.biojepa.cpu import few_cells
from vc_model.biojepa.stages import bind

ROWS_AT_ONCE = 16
"""Conditions in one compiled call; the last one is filled up."""
PARTS = ("predictor", "composer", "decoder")


def change_of(
    cfg: BioJepaConfig, parts: Mapping[str, Any], start_qgd: np.ndarray, action: Mapping[str, np.ndarray]
) -> np.ndarray:
    """[q, g] float32 effects that the decoder reads off the predicted change of latents.

    Args:
        cfg: The model.
        parts: Parameters, at least of `PARTS`.
        start_qgd: Latents to start from.
        action: The composer's arrays of q actions.
    """
    used = {part: parts[part] for part in PARTS}
    n, out = len(start_qgd), []
    for start in range(0, n, ROWS_AT_ONCE):
        rows = np.minimum(np.arange(start, start + ROWS_AT_ONCE), n - 1)
        z = start_qgd[rows].astype(np.float32)
        found = _change(cfg, used, z, {name: value[rows] for name, value in action.items()})
        out.append(np.asarray(found)[: n - start])
    return np.concatenate(out) if out else np.zeros(start_qgd.shape[:2], np.float32)


@partial(jax.jit, static_argnums=0)
def _change(cfg: BioJepaConfig, parts: Mapping[str, Any], z: jax.Array, action: Mapping[str, Any]) -> jax.Array:
    token = bind("composer", cfg, parts["composer"])(action)
    predictor, decoder = (bind(part, cfg, parts[part]) for part in ("predictor", "decoder"))

    def change(z: jax.Array, token: jax.Array, mask: jax.Array) -> jax.Array:
        mu, _ = predictor(z, token, mask)
        return decoder(mu) - decoder(z)

    return few_cells(change, (z, token, action["pert_mask"]), cfg.n_genes)
