"""The loss terms, one function each, all in float32.

Letters: b cells, g genes, d latent width, n vectors, k random directions. Means over genes and cells are sums divided
by counts, so that a batch cut over devices gives the same number.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

SIGREG_POINTS = np.linspace(0, 3, 17, dtype=np.float32)
"""Where the characteristic function is compared."""


def masked_mean(value: Float[Array, "b g"], mask: Array | None = None) -> Float[Array, ""]:
    """Mean over the positions of a mask ([b, g] or anything that broadcasts to it); all by default."""
    if mask is None:
        return value.mean()
    weight = jnp.broadcast_to(mask, value.shape).astype(jnp.float32)
    return (value * weight).sum() / jnp.maximum(weight.sum(), 1)


def l1(pred: Float[Array, "b g d"], target: Float[Array, "b g d"]) -> Float[Array, "b g"]:
    """Mean absolute error of every latent."""
    return jnp.abs(pred.astype(jnp.float32) - target.astype(jnp.float32)).mean(axis=-1)


def vicreg(
    z: Float[Array, "b g d"], weight: Float[Array, "b g"] | None = None
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Variance hinge and covariance penalty over all tokens of a batch, each counted `weight` times (once by default).

    Returns:
        hinge: mean_j relu(1 - sqrt(var_j + 1e-4)).
        off: Squared off-diagonal covariances, summed and divided by d.

    References:
        Bardes et al. (2022), VICReg.
    """
    z = z.astype(jnp.float32)
    weight = jnp.ones(z.shape[:2]) if weight is None else weight
    n, d = weight.sum(), z.shape[2]
    centred = z - jnp.einsum("bgd,bg->d", z, weight) / n
    # No reshape to [b g, d]: the two axes may be cut along different mesh axes.
    covariance = jnp.einsum("bgi,bgj->ij", centred * weight[..., None], centred) / (n - 1)
    variance = jnp.diagonal(covariance)
    hinge = jax.nn.relu(1 - jnp.sqrt(variance + 1e-4)).mean()
    return hinge, ((covariance**2).sum() - (variance**2).sum()) / d


def beyond_depth(v: Float[Array, "n d"], total: Float[Array, " n"]) -> Float[Array, "n d"]:
    """Cell vectors without what a parabola in log depth says of them, with the variance that the fit took given back.

    The encoder is told the depth, so vectors that only follow it are predicted without error, and a bent curve of depth
    is spread enough to satisfy `sigreg` in a batch of a few dozen cells: nothing else of the cell would be kept.
    """
    v, total = v.astype(jnp.float32), total.astype(jnp.float32)
    t = (total - total.mean()) / (total.std() + 1e-6)
    terms = jnp.stack([jnp.ones_like(t), t, t**2 - (t**2).mean()], axis=1)
    # The small ridge is for cells of one depth.
    gram = terms.T @ terms + 1e-4 * len(t) * jnp.eye(3)
    left = v - terms @ jnp.linalg.solve(gram, terms.T @ v)
    return left * (len(t) / max(len(t) - 3, 1)) ** 0.5


def sigreg(v: Float[Array, "n d"], key: Array, n_directions: int) -> Float[Array, ""]:
    """Distance of the vectors' distribution from the standard normal.

    The empirical characteristic function of projections on random unit directions is compared with exp(-t^2/2) at 17
    points in [0, 3], with trapezoid weights times exp(-t^2/2); mean over directions. It is 0 for a perfect normal and
    grows when vectors collapse, to a point or to a subspace.

    References:
        Balestriero and LeCun (2025), LeJEPA, arXiv 2511.08544.
    """
    direction = jax.random.normal(key, (v.shape[1], n_directions))
    projected = v.astype(jnp.float32) @ (direction / jnp.linalg.norm(direction, axis=0))
    t = jnp.asarray(SIGREG_POINTS)
    normal = jnp.exp(-(t**2) / 2)
    weight = (2 * (t[1] - t[0]) * jnp.ones_like(t)).at[jnp.array([0, -1])].multiply(0.5) * normal
    angle = projected[..., None] * t
    real, imaginary = jnp.cos(angle).mean(axis=0), jnp.sin(angle).mean(axis=0)
    return v.shape[0] * (((real - normal) ** 2 + imaginary**2) @ weight).mean()


def gaussian_nll(
    mu: Float[Array, "b g d"],
    logvar: Float[Array, "b g d"],
    target: Float[Array, "b g d"],
    beta: float | Array,
) -> Float[Array, "b g"]:
    """Negative log likelihood of every latent, its elements weighted by their own variance to the power beta.

    There is no gradient through the weight.

    References:
        Seitzer et al. (2022), beta-NLL.
    """
    nll = 0.5 * (logvar + (target.astype(jnp.float32) - mu) ** 2 * jnp.exp(-logvar))
    weight = jax.lax.stop_gradient(jnp.exp(beta * logvar))
    return (weight * nll).mean(axis=-1)


def info_nce(query: Float[Array, "n a"], key: Float[Array, "n a"], tau: Float[Array, ""]) -> Float[Array, ""]:
    """Cross-entropy of finding each query's own key among all, by cosine over tau."""
    query, key = (u / jnp.maximum(jnp.linalg.norm(u, axis=-1, keepdims=True), 1e-8) for u in (query, key))
    logits = query @ key.T / tau
    return -jnp.diagonal(jax.nn.log_softmax(logits, axis=-1)).mean()


def participation(v: Float[Array, "n d"]) -> Float[Array, ""]:
    """Effective rank of vectors, tr(C)^2 / tr(C^2): 1 on a line, d when spread evenly, 0 when all are equal."""
    centred = v.astype(jnp.float32) - v.astype(jnp.float32).mean(axis=0)
    covariance = centred.T @ centred
    return jnp.trace(covariance) ** 2 / jnp.maximum((covariance**2).sum(), 1e-30)
