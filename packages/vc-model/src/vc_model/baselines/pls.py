"""Partial least squares from features to effect components (NIPALS with an inner eigenvector; Wold 1975, de Jong 1993)."""

import numpy as np

from vc_model.baselines.ridge import FeatureRidge
from vc_model.baselines.singles import make_problem
from vc_model.table.components import top_eigen
from vc_model.table.effect import Effect
from vc_model.table.effects import EffectTable

MAX_COMPONENTS = 10
INNER_FOLDS = 5


def fit_pls(table: EffectTable) -> Effect:
    """PLS2 regression; the number of components (0 to 10) by inner cross-validation over targets."""
    problem = make_problem(table)
    root_s = np.sqrt(problem.weight_s)[:, None]
    x_sf, z_sk = problem.x_sf * root_s, problem.z_sk * root_s
    error_n = np.zeros(MAX_COMPONENTS + 1)
    for fold in range(INNER_FOLDS):
        held = problem.group_s % INNER_FOLDS == fold
        if held.any() and not held.all():
            guesses = [0 * z_sk[held], *(x_sf[held] @ fit for fit in pls_coefficients(x_sf[~held], z_sk[~held]))]
            # Beyond the rank of the data further components repeat the last fit.
            guesses += [guesses[-1]] * (MAX_COMPONENTS + 1 - len(guesses))
            error_n += [float(((z_sk[held] - guess) ** 2).sum()) for guess in guesses]
    n_components = int(error_n.argmin())
    fits = [np.zeros((x_sf.shape[1], z_sk.shape[1])), *pls_coefficients(x_sf, z_sk)]
    coefficient_fk = fits[min(n_components, len(fits) - 1)]
    return FeatureRidge(
        problem.basis_rg,
        problem.features,
        table.trained_lines,
        coefficient_fk.astype(np.float32),
    )


def pls_coefficients(x_sf: np.ndarray, z_sk: np.ndarray, max_components: int = MAX_COMPONENTS) -> list[np.ndarray]:
    """Regression coefficients of PLS2 with 1, 2, ... components, without an intercept.

    Args:
        x_sf: [s, f] predictors.
        z_sk: [s, k] responses.
        max_components: How many at most; fewer where the data have a smaller rank.

    Returns:
        One [f, k] matrix per number of components.
    """
    x, z = x_sf.copy(), z_sk.copy()
    weights, loads, responses, fits = [], [], [], []
    for _ in range(max_components):
        cross = x.T @ z
        if np.abs(cross).max(initial=0) < 1e-10 * max(np.abs(x_sf).max(initial=0), np.abs(z_sk).max(initial=0), 1e-12):
            break
        # The leading left singular vector, by way of the smaller side.
        weight_f = cross @ top_eigen(cross.T @ cross, 1)[1][:, 0]
        weight_f /= np.linalg.norm(weight_f)
        score_s = x @ weight_f
        size = score_s @ score_s
        load_f, response_k = x.T @ score_s / size, z.T @ score_s / size
        x, z = x - np.outer(score_s, load_f), z - np.outer(score_s, response_k)
        weights.append(weight_f)
        loads.append(load_f)
        responses.append(response_k)
        w, p, q = np.array(weights).T, np.array(loads).T, np.array(responses)
        fits.append(w @ np.linalg.solve(p.T @ w, q))
    return fits
