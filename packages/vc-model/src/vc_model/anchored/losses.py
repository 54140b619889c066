"""Losses on effects, each of which can be switched on: squared error, DE-weighted squared error, cosine, contrastive.

The DE weights of a condition (Mejia et al., arXiv 2506.22641) say which genes it moves unlike other perturbations do.
They are made from training conditions alone.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from vc_model.table.effects import EffectTable


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """How much each loss counts; 0 leaves it out."""

    mse: float = 1.0
    """Squared error of pseudobulks; conditions weigh as their number of cells allows."""
    wmse: float = 0.0
    """Squared error in which genes weigh as they are differentially expressed. Costs conditions x genes a step."""
    cosine: float = 0.0
    """One minus the cosine of predicted and measured effect."""
    contrastive: float = 0.0
    """How badly a prediction picks its own condition out of all conditions of the same cell line."""
    temperature: float = 0.1
    """Of the contrastive loss, relative to the mean squared length of effects."""


def de_weights(table: EffectTable) -> np.ndarray:
    """Weights of genes per condition: t against all other conditions of the line, squared after scaling to [0, 1].

    t is the difference from the mean of the others over its standard error; a condition alone in its line is compared
    with no change. Weights of a condition sum to 1; they are equal where all |t| are.

    Args:
        table: Training effects; nothing else enters.

    Returns:
        [p, g] float32 >= 0.
    """
    weight_pg = np.empty_like(table.delta_pg)
    sigma2_lg = table.contexts.sigma2_cg[table.contexts.positions(table.trained_lines)]
    for line in range(len(table.trained_lines)):
        rows = np.flatnonzero(table.line_p == line)
        n_others = len(rows) - 1
        own_pg, cells_p = table.delta_pg[rows], 1 / table.n_cells_p[rows]
        if n_others == 0:
            other_pg, noise_p = np.zeros_like(own_pg), cells_p + 1 / table.n_ref_p[rows]
        else:
            other_pg = (own_pg.sum(axis=0) - own_pg) / n_others
            # Conditions of a line share the noise of its controls, which the difference is free of.
            noise_p = cells_p + (cells_p.sum() - cells_p) / n_others**2
        size_pg = np.abs(own_pg - other_pg) / np.sqrt(sigma2_lg[line] * noise_p[:, None])
        low_p1, high_p1 = size_pg.min(axis=1, keepdims=True), size_pg.max(axis=1, keepdims=True)
        flat_p1 = high_p1 - low_p1 < 1e-12
        scaled_pg = np.where(flat_p1, 1, (size_pg - low_p1) / np.where(flat_p1, 1, high_p1 - low_p1)) ** 2
        weight_pg[rows] = scaled_pg / scaled_pg.sum(axis=1, keepdims=True)
    return weight_pg


def weighted_square(gap_mg: jax.Array, weight_mg: jax.Array) -> jax.Array:
    """[m] sum over genes of weight times squared gap."""
    return (weight_mg * gap_mg**2).sum(axis=1)


def cosine_distance(said_md: jax.Array, truth_md: jax.Array) -> jax.Array:
    """[m] one minus cosine; 1 where either side is zero. Differentiable there, too."""
    cross_m = (said_md * truth_md).sum(axis=1)
    square_m = (said_md**2).sum(axis=1) * (truth_md**2).sum(axis=1)
    return 1 - cross_m / jnp.sqrt(square_m + 1e-12)


def contrastive(
    said_md: jax.Array,
    truth_md: jax.Array,
    line_m: jax.Array,
    condition_m: jax.Array,
    seen_m: jax.Array,
    temperature: float | jax.Array,
) -> jax.Array:
    """[m] minus log probability of the own condition, logits -|said_i - truth_j|^2 / temperature.

    Args:
        said_md: [m, d] predicted effects.
        truth_md: [m, d] measured effects.
        line_m: [m] cell line; only effects of the same line are offered.
        condition_m: [m] condition; rows of one condition are all right answers.
        seen_m: [m] whether the row may be offered; others lose nothing.
        temperature: Squared distance of one nat.
    """
    square_mm = (said_md**2).sum(axis=1)[:, None] + (truth_md**2).sum(axis=1) - 2 * said_md @ truth_md.T
    offered_mm = (line_m[:, None] == line_m) & (seen_m > 0)
    right_mm = offered_mm & (condition_m[:, None] == condition_m)
    logit_mm = -square_mm / temperature
    # A large negative number instead of -inf keeps gradients of empty rows finite.
    everything_m = jax.nn.logsumexp(jnp.where(offered_mm, logit_mm, -1e9), axis=1)
    own_m = jax.nn.logsumexp(jnp.where(right_mm, logit_mm, -1e9), axis=1)
    return jnp.where(seen_m > 0, everything_m - own_m, 0.0)
