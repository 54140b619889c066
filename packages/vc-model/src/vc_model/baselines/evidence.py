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
    from scipy.linalg import lapack
    from scipy.optimize import minimize

    gram = (effects_ng @ effects_ng.T).astype(np.float64)
    gram /= max(np.trace(gram) / len(gram), 1e-12)
    n_banks, eye = len(kernels_bnn), np.eye(len(gram))

    def loss(logs: np.ndarray) -> tuple[float, np.ndarray]:
        weights = np.exp(logs)
        covariance = np.tensordot(weights[:-1], kernels_bnn, 1) + weights[-1] * eye
        root = np.linalg.cholesky(covariance)
        # pyrefly: ignore[missing-attribute] scipy builds this module's functions from a list at import
        inverse = lapack.dpotri(root, lower=1)[0]
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        solved = inverse @ gram
        pull = 0.5 * (inverse - solved @ inverse)
        value = 0.5 * np.trace(solved) + np.log(np.diag(root)).sum()
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
    return evidence_weights(evidence, kernels_bnn, cross_bmn, effects_ng)[0] @ effects_ng


def evidence_weights(
    evidence: Evidence,
    kernels_bnn: Float[np.ndarray, "b n n"],
    cross_bmn: Float[np.ndarray, "b m n"],
    effects_ng: Float[np.ndarray, "n g"],
) -> tuple[Float[np.ndarray, "m n"], Float[np.ndarray, "n n"]]:
    """What `predict_evidence` multiplies the training effects by, and the same for each of them left out itself.

    Everything is done on inner products, so genes cost one product at the end.

    Returns:
        weight_mn of the unseen perturbations, and out_nn of the training perturbations, each predicted without its own
        effect (but for its share of the mean, of the principal components and of their noise levels).
    """
    n = len(effects_ng)
    values, basis = np.linalg.eigh(np.tensordot(evidence.weights_b, kernels_bnn, 1))
    values = np.maximum(values, 0)
    gram = (effects_ng @ effects_ng.T).astype(np.float64)
    centre = np.eye(n) - 1 / n
    square, left = np.linalg.eigh(centre @ gram @ centre)
    kept = square > 1e-10 * max(square.max(), 1e-300)
    size, left = np.sqrt(square[kept]), left[:, kept]
    scores = basis.T @ (left * size)
    noise = np.exp(np.linspace(-3, 5, 33)) * max(float(values.mean()), 1e-9)
    spread = values[None] + noise[:, None]
    fit = np.maximum((scores.T**2) @ (1 / spread).T / n, 1e-300)
    own = values[:, None] + noise[(n * np.log(fit) + np.log(spread).sum(axis=1)).argmin(axis=1)]
    dual = basis @ (scores / own)
    right = (left / size).T @ centre
    out = left * size - dual / (basis**2 @ (1 / own))
    cross = np.tensordot(evidence.weights_b, cross_bmn, 1)
    return cross @ dual @ right + 1 / n, out @ right + 1 / n


def carry_over(
    out_ng: Float[np.ndarray, "n g"],
    predicted_mg: Float[np.ndarray, "m g"],
    effects_ng: Float[np.ndarray, "n g"],
    elsewhere_ng: Float[np.ndarray, "n g"],
    elsewhere_mg: Float[np.ndarray, "m g"],
    prior: float = 5.0,
) -> Float[np.ndarray, "m g"]:
    """Move predictions by what the same perturbation did elsewhere, gene by gene.

    deviation = a_g (prediction) + b_g (deviation elsewhere), both against their means; slopes of a gene are pulled to those
    of all genes together.

    Args:
        out_ng: Predictions of the training perturbations made without them.
        predicted_mg: Predictions of the unseen ones.
        effects_ng: Training effects.
        elsewhere_ng: Effects of the training perturbations in another line.
        elsewhere_mg: Effects of the unseen ones in that line.
        prior: How many times an average gene's evidence the common slopes count.
    """
    mean_g, other_g = effects_ng.mean(axis=0), elsewhere_ng.mean(axis=0)
    x, z, y = out_ng - mean_g, elsewhere_ng - other_g, effects_ng - mean_g
    xx, xz, zz, xy, zy = (np.einsum("ng,ng->g", a, b) for a, b in ((x, x), (x, z), (z, z), (x, y), (z, y)))
    whole = np.array([[xx.sum(), xz.sum()], [xz.sum(), zz.sum()]])
    a, b = np.linalg.lstsq(whole, np.array([xy.sum(), zy.sum()]), rcond=None)[0]
    more_x, more_z = prior * xx.mean(), prior * zz.mean()
    xx, zz, xy, zy = xx + more_x, zz + more_z, xy + more_x * a, zy + more_z * b
    size = np.maximum(xx * zz - xz**2, 1e-300)
    slope_x, slope_z = (xy * zz - zy * xz) / size, (zy * xx - xy * xz) / size
    return mean_g + slope_x * (predicted_mg - mean_g) + slope_z * (elsewhere_mg - other_g)
