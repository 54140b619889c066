"""Effects of unseen perturbations from several banks at once, each weighted by the evidence of the training effects.

Every bank gives a kernel: how alike two perturbations are. Effects less their mean are taken as a Gaussian process whose
covariance is a weighted sum of the kernels and noise; the weights maximise the marginal likelihood of the training
effects, so no held-out effect has a say. Each principal component of the effects then has a noise level of its own.

References:
    Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, chapter 5; Goenen and Alpaydin, Multiple kernel
    learning algorithms, JMLR 2011.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

LEAST, MOST = 1e-6, 20.0  # bounds of a weight, in units of the effects' mean variance


@dataclass(frozen=True)
class Evidence:
    """Weights of banks and of noise, in units of the training effects' mean variance."""

    weights_b: np.ndarray
    noise: float


def cosine_kernel(vectors_ef: Float[np.ndarray, "e f"], missing_e: np.ndarray) -> Float[np.ndarray, "e e"]:
    """Cosine of vectors; a missing entity is like nothing, itself included."""
    norm = np.linalg.norm(vectors_ef, axis=1, keepdims=True)
    unit = np.where(missing_e[:, None], 0.0, vectors_ef / np.maximum(norm, 1e-12)).astype(np.float64)
    return unit @ unit.T


def radial_kernel(vectors_ef: Float[np.ndarray, "e f"], missing_e: np.ndarray) -> Float[np.ndarray, "e e"]:
    """Gaussian kernel of the angle, as wide as half its median squared distance: near things count, far ones do not."""
    cosine = cosine_kernel(vectors_ef, missing_e)
    distance = 2 - 2 * cosine
    known = ~missing_e
    off = distance[np.ix_(known, known)][~np.eye(int(known.sum()), dtype=bool)]
    kernel = np.exp(-2 * np.maximum(distance, 0) / max(float(np.median(off)), 1e-9))
    kernel[missing_e] = kernel[:, missing_e] = 0
    return kernel


def fit_evidence(
    kernels_bnn: Float[np.ndarray, "b n n"],
    effects_ng: Float[np.ndarray, "n g"],
    steps: int = 40,
    start: Evidence | None = None,
) -> Evidence:
    """Weights of the kernels that maximise the marginal likelihood of centred effects."""
    from scipy.optimize import minimize

    gram = effects_ng @ effects_ng.T
    gram /= max(np.trace(gram) / len(gram), 1e-12)
    n_banks, eye = len(kernels_bnn), np.eye(len(gram))

    def loss(logs: np.ndarray) -> tuple[float, np.ndarray]:
        weights = np.exp(logs)
        covariance = np.tensordot(weights[:-1], kernels_bnn, 1) + weights[-1] * eye
        inverse = np.linalg.inv(covariance)
        solved = inverse @ gram
        pull = 0.5 * (inverse - solved @ inverse)
        value = 0.5 * (np.trace(solved) + np.linalg.slogdet(covariance)[1])
        slope = np.append(np.einsum("bij,ij->b", kernels_bnn, pull), np.trace(pull)) * weights
        return float(value), slope

    first = (
        np.append(np.full(n_banks, 0.3 / n_banks), 0.7) if start is None else np.append(start.weights_b, start.noise)
    )
    bounds = [(np.log(LEAST), np.log(MOST))] * n_banks + [(np.log(1e-3), np.log(MOST))]
    found = minimize(
        loss, np.log(np.maximum(first, LEAST)), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps}
    )
    weights = np.exp(found.x)
    return Evidence(weights[:-1], float(weights[-1]))


def predict_evidence(
    evidence: Evidence,
    kernels_bnn: Float[np.ndarray, "b n n"],
    cross_bmn: Float[np.ndarray, "b m n"],
    effects_ng: Float[np.ndarray, "n g"],
) -> Float[np.ndarray, "m g"]:
    """Effects of m unseen perturbations, with the noise of each principal component chosen by its own likelihood.

    Args:
        evidence: What `fit_evidence` found on the same training effects.
        kernels_bnn: Kernels among the training perturbations.
        cross_bmn: Kernels of the unseen with the training perturbations.
        effects_ng: Training effects, not centred.
    """
    mean_g = effects_ng.mean(axis=0)
    covariance = np.tensordot(evidence.weights_b, kernels_bnn, 1)
    values, basis = np.linalg.eigh(covariance)
    values = np.maximum(values, 0)
    left, size, right = np.linalg.svd(effects_ng - mean_g, full_matrices=False)
    scores = basis.T @ (left * size)
    noise = np.exp(np.linspace(-3, 5, 33)) * max(float(values.mean()), 1e-9)
    spread = values[None] + noise[:, None]
    best = []
    for column in scores.T**2:
        scale = np.maximum((column / spread).mean(axis=1), 1e-12)
        best.append(noise[np.argmin(len(column) * np.log(scale) + np.log(spread).sum(axis=1))])
    dual = basis @ (scores / (values[:, None] + np.array(best)[None]))
    return mean_g + np.tensordot(evidence.weights_b, cross_bmn, 1) @ dual @ right
