"""How many dimensions latents use."""

from dataclasses import dataclass

import numpy as np

DEAD = 1e-6


@dataclass(frozen=True)
class Dimension:
    """Of a matrix of latents; none of the numbers has an optimum."""

    d90: int
    """Principal components that reach 90 % of the variance."""
    participation: float
    """(sum of eigenvalues)^2 / sum of their squares."""
    rankme: float
    """exp(entropy of the normalised singular values) (Garrido et al. 2023)."""
    dead: int
    """Dimensions with a variance below 1e-6."""


def dimension(x_nd: np.ndarray) -> Dimension:
    """Measure; rows are centred first."""
    centred = x_nd.astype(np.float64) - x_nd.mean(axis=0, dtype=np.float64)
    singular_k = np.linalg.svd(centred, compute_uv=False)
    value_k = singular_k**2
    if not value_k.sum() > 0:
        return Dimension(0, 0.0, 0.0, x_nd.shape[1])
    share_k = singular_k / singular_k.sum()
    share_k = share_k[share_k > 0]
    return Dimension(
        d90=1 + int(np.searchsorted(np.cumsum(value_k) / value_k.sum(), 0.9)),
        participation=float(value_k.sum() ** 2 / np.square(value_k).sum()),
        rankme=float(np.exp(-(share_k * np.log(share_k)).sum())),
        dead=int((centred.var(axis=0) < DEAD).sum()),
    )
