"""A linear Gaussian process over several blocks of features: what was measured on some entities, said of all.

y = mean + sum over blocks b of X_b w_b + noise, with w_b ~ N(0, s_b I). The variances s_b and the noise are those of
largest marginal likelihood under a prior, so that a block without information gets no weight (best linear unbiased
prediction with variance components; Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, chapter 5).
While little is measured the prior decides: it shares the variance out as `Library.prior_b` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.optimize import minimize

MOST_FOR_VARIANCES = 800
"""Entities that the variances are estimated on; more would cost time and change them little."""
_PRIOR_SD = 1.5  # of the logarithm of a variance
_STEPS = 12


@dataclass(frozen=True, eq=False)
class Posterior:
    """What is believed after measuring n entities, d features in all.

    Attributes:
        mean_d: [d] float64 posterior mean of the weights.
        factor_dd: [d, d] float64 F with posterior covariance F F^T.
        centre: What is believed where no feature is known, in units of y.
        centre_var: Variance of `centre`.
        noise: Variance of the noise, in units of y squared.
        share_b: [b] share of the variance of y that each block explains.
    """

    mean_d: np.ndarray
    factor_dd: np.ndarray
    centre: float
    centre_var: float
    noise: float
    share_b: np.ndarray

    def mean(self, x_ed: np.ndarray) -> np.ndarray:
        """[e] posterior means of the noise-free values."""
        return self.centre + x_ed @ self.mean_d.astype(x_ed.dtype)

    def root(self, x_ed: np.ndarray) -> np.ndarray:
        """[e, d] rows r with covariance r_i . r_j of the noise-free values."""
        return x_ed @ self.factor_dd.astype(x_ed.dtype)

    def sd(self, x_ed: np.ndarray) -> np.ndarray:
        """[e] posterior standard deviations of the noise-free values."""
        return np.sqrt(np.square(self.root(x_ed)).sum(axis=1) + self.centre_var)


def fit_posterior(
    blocks: Sequence[np.ndarray],
    y_n: np.ndarray,
    *,
    prior_b: np.ndarray | None = None,
    seed: int = 0,
    most: int = MOST_FOR_VARIANCES,
) -> Posterior:
    """Fit to n measured entities.

    Args:
        blocks: [n, d_b] features of each block, scaled so that a typical row has a length near 1; zeros where unknown.
        y_n: [n] finite values.
        prior_b: [b] what share of what the blocks explain each is expected to have, before anything is measured; equal shares
            by default.
        seed: Of the draw of entities for the variances, where there are many.
        most: Entities that the variances are estimated on.
    """
    y_n = np.asarray(y_n, dtype=np.float64)
    scale = max(float(y_n.std()), 1e-12)
    z_n = (y_n - y_n.mean()) / scale
    used = np.arange(len(z_n))
    if len(used) > most:
        used = np.sort(np.random.default_rng(seed).choice(len(used), most, replace=False))
    blocks = [np.asarray(block, dtype=np.float64) for block in blocks]
    prior_b = np.full(len(blocks), 1 / max(len(blocks), 1)) if prior_b is None else prior_b
    variance_b, noise = _variances([block[used] for block in blocks], prior_b, z_n[used])
    width_b = [block.shape[1] for block in blocks]
    prior_d = np.repeat(variance_b, width_b)
    x_nd = np.concatenate(blocks, axis=1) if blocks else np.zeros((len(z_n), 0))
    x_nd = x_nd * np.sqrt(prior_d)
    precision_dd = x_nd.T @ x_nd / noise + np.eye(len(prior_d))
    chol_dd = np.linalg.cholesky(precision_dd)
    whitened_d = scipy.linalg.cho_solve((chol_dd, True), x_nd.T @ z_n / noise)
    inverse_dd = np.asarray(scipy.linalg.solve_triangular(chol_dd, np.eye(len(prior_d)), lower=True))
    factor_dd = np.sqrt(prior_d)[:, None] * inverse_dd.T
    power_b = np.array([np.square(block).sum(axis=1).mean() for block in blocks])
    share_b = variance_b * power_b / max(float((variance_b * power_b).sum() + noise), 1e-12)
    return Posterior(
        np.sqrt(prior_d) * whitened_d * scale,
        factor_dd * scale,
        float(y_n.mean()),
        noise * scale**2 / len(z_n),
        noise * scale**2,
        share_b,
    )


def left_out(posterior: Posterior, parts: Sequence[np.ndarray], y_n: np.ndarray) -> np.ndarray:
    """[n] what the posterior would say of each measured entity without its own measurement (exact, variances kept)."""
    x_nd = np.concatenate(list(parts), axis=1)
    fitted_n = posterior.mean(x_nd)
    lever_n = (np.square(posterior.root(x_nd)).sum(axis=1) + posterior.centre_var) / posterior.noise
    return y_n - (y_n - fitted_n) / np.maximum(1 - lever_n, 1e-3)


def _variances(blocks: list[np.ndarray], prior_b: np.ndarray, z_n: np.ndarray) -> tuple[np.ndarray, float]:
    """Variance of each block's weights, and of the noise, for standardised values."""
    if not blocks:
        return np.zeros(0), 1.0
    kernels = [block @ block.T for block in blocks]
    power_b = np.array([max(np.trace(kernel) / len(z_n), 1e-12) for kernel in kernels])
    # In units in which every block has the same power, a tenth of the variance for all blocks together to begin with.
    start_b = np.log(np.append(0.1 * prior_b, 0.9))
    scaled = [kernel / power for kernel, power in zip(kernels, power_b, strict=True)]

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        part = np.exp(theta)
        cov_nn = sum((w * k for w, k in zip(part[:-1], scaled, strict=True)), part[-1] * np.eye(len(z_n)))
        chol_nn = np.linalg.cholesky(cov_nn)
        inverse_nn = scipy.linalg.cho_solve((chol_nn, True), np.eye(len(z_n)))
        alpha_n = inverse_nn @ z_n
        slope = np.array(
            [0.5 * w * (np.vdot(inverse_nn, k) - alpha_n @ k @ alpha_n) for w, k in zip(part[:-1], scaled, strict=True)]
        )
        slope_noise = 0.5 * part[-1] * (np.trace(inverse_nn) - alpha_n @ alpha_n)
        value = 0.5 * z_n @ alpha_n + np.log(np.diag(chol_nn)).sum()
        off = (theta - start_b) / _PRIOR_SD
        return float(value + 0.5 * off @ off), np.append(slope, slope_noise) + off / _PRIOR_SD

    bounds = [(-12.0, 3.0)] * len(blocks) + [(-4.0, 1.0)]
    best = minimize(loss, start_b, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _STEPS})
    part = np.exp(best.x)
    return part[:-1] / power_b, float(part[-1])
