"""How far each gene's effect is missed: variances of genes from few conditions, measurement noise taken out.

    mean squared error of a gene = variance + noise,  about chi-squared

A gene's own excess over the noise is hardly known from a dozen conditions, which moreover share the noise of their controls:
half of all genes would be below 0 and called exact. So variances follow a mixture of scales, one per stratum of expression, found by expectation-maximisation over all
genes, and each gene has the mean of its posterior (adaptive shrinkage, Stephens, Biostatistics 2017).
"""

from dataclasses import dataclass

import numpy as np

FLOOR = 1e-8  # (log1p CP10k)^2; no prediction is certain
SCALES = np.geomspace(1 / 64, 1024, 33)  # of a gene's variance, relative to the mean over genes
STEPS = 30
KURTOSIS = (
    2.0  # conditions that tell a gene's variance as well as one would if errors were normal; effects have heavy tails
)
PRIOR_GENES = 10  # that all strata together are worth to a stratum's mixture


@dataclass(frozen=True, eq=False)
class Squares:
    """Mean squared errors of genes, with what stands behind them.

    Attributes:
        square_ug: [u, g] mean squared errors, of u choices of conditions.
        noise_ug: [u, g] mean variance of measurement in the same conditions.
        shared_ug: [u, g] part of the variance that all conditions of a line have from the same control cells.
        n_u: [u] independent conditions.
        n_lines: Lines, each with its own controls.
    """

    square_ug: np.ndarray
    noise_ug: np.ndarray
    shared_ug: np.ndarray
    n_u: np.ndarray
    n_lines: int


@dataclass(frozen=True, eq=False)
class GeneVariance:
    """What is known of the variances of genes.

    Attributes:
        common: Mean over genes of the squared error beyond noise.
        share_es: [e, s] shares of the scales in each stratum.
        stratum_g: [g] stratum of each gene.
    """

    common: float
    share_es: np.ndarray
    stratum_g: np.ndarray

    def posterior(self, seen: Squares) -> np.ndarray:
        """[u, g] posterior means of the variances."""
        like_sug = _likelihood(seen, self.common)
        like_sug *= self.share_es.T[:, None, self.stratum_g]
        return self.common * np.einsum("s,sug->ug", SCALES, like_sug) / like_sug.sum(axis=0)


def fit_genes(seen: Squares, stratum_g: np.ndarray) -> GeneVariance:
    """Find the mixtures.

    Args:
        seen: Squared errors of all conditions, u = 1.
        stratum_g: [g] int, stratum of each gene.
    """
    square_g, noise_g = seen.square_ug[0], seen.noise_ug[0]
    common = max(float((square_g - noise_g).mean()), FLOOR, 1e-3 * float(square_g.mean()))
    like_sg = _likelihood(seen, common)[:, 0]
    n_strata = int(stratum_g.max(initial=0)) + 1
    share_es = np.full((n_strata, len(SCALES)), 1 / len(SCALES))
    size_e = np.bincount(stratum_g, minlength=n_strata)
    for _ in range(STEPS):
        post_sg = share_es.T[:, stratum_g] * like_sg
        post_sg /= post_sg.sum(axis=0)
        total_es = np.stack([np.bincount(stratum_g, row_g, n_strata) for row_g in post_sg], axis=1)
        share_es = (total_es + PRIOR_GENES * post_sg.mean(axis=1)) / (size_e + PRIOR_GENES)[:, None]
    return GeneVariance(common, share_es, stratum_g)


def _likelihood(seen: Squares, common: float) -> np.ndarray:
    """[s, u, g] of every scale, up to a factor per gene.

    Chi-squared, with the degrees of freedom that give a sum of independent errors and of an error that all conditions
    share its variance (Satterthwaite, Biometrics 1946).
    """
    from scipy.special import gammaln

    own_u1, square_ug = seen.n_u[:, None] / KURTOSIS, np.maximum(seen.square_ug, 1e-30)
    log_sug = np.empty((len(SCALES), *square_ug.shape))
    for s, scale in enumerate(SCALES):
        total_ug = scale * common + seen.noise_ug
        shared_ug = np.minimum(seen.shared_ug, total_ug)
        half_ug = total_ug**2 / ((total_ug - shared_ug) ** 2 / own_u1 + shared_ug**2 / seen.n_lines) / 2
        ratio_ug = half_ug * square_ug / total_ug
        log_sug[s] = half_ug * np.log(ratio_ug) - ratio_ug - gammaln(half_ug)
    return np.exp(log_sug - log_sug.max(axis=0))
