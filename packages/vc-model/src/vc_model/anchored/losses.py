"""Losses on effects, each of which can be switched on: squared error, DE-weighted squared error, cosine, contrastive.

How much each counts, and the DE weights of genes, are in `weights.py`.
"""

import jax
import jax.numpy as jnp


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
