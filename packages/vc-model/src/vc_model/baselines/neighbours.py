"""k nearest training perturbations in feature space, shrunk towards the mean effect."""

from dataclasses import dataclass

import numpy as np

from vc_model.baselines.ridge import cosines
from vc_model.baselines.singles import FeatureEffect, make_problem
from vc_model.stored import stored
from vc_model.table.effect import Effect
from vc_model.table.effects import Conditions, EffectTable

NEIGHBOURS = (1, 5, 10, 20)
TEMPERATURES = (0.05, 0.2)  # of the softmax over cosine similarities


@stored
@dataclass(frozen=True, eq=False)
class NearestNeighbours(FeatureEffect):
    """Softmax-weighted mean deviation of the k most similar training perturbations.

    Attributes:
        x_sf: [s, f] training features.
        z_sk: [s, k] deviation scores of each training perturbation, shrinkage included.
        k: Number of neighbours.
        temperature: Of the softmax.
    """

    x_sf: np.ndarray
    z_sk: np.ndarray
    k: int
    temperature: float

    def deviate(self, x_rf: np.ndarray, singles: Conditions) -> np.ndarray:
        """[r, k] scores of the deviation."""
        return _attend(cosines(x_rf, self.x_sf), self.k, self.temperature).astype(np.float32) @ self.z_sk


def fit_knn(table: EffectTable) -> Effect:
    """Softmax-weighted mean over the k nearest training perturbations, shrunk to the mean effect.

    k in {1, 5, 10, 20}, temperature and shrinkage have the smallest leave-target-out error on the training singles.
    """
    problem = make_problem(table)
    similarity_ss = cosines(problem.x_sf, problem.x_sf)
    similarity_ss[problem.group_s[:, None] == problem.group_s] = -np.inf
    best, chosen = np.inf, (NEIGHBOURS[0], TEMPERATURES[0], 0.0)
    weight_s1 = problem.weight_s[:, None]
    others = len(np.unique(problem.group_s)) - 1
    for k in NEIGHBOURS if others > 0 else ():
        for temperature in TEMPERATURES:
            guess_sk = _attend(similarity_ss, k, temperature) @ problem.z_sk
            size = float((weight_s1 * guess_sk**2).sum())
            shrink = float(np.clip((weight_s1 * guess_sk * problem.z_sk).sum() / max(size, 1e-12), 0, 1))
            error = float((weight_s1 * (problem.z_sk - shrink * guess_sk) ** 2).sum())
            if error < best:
                best, chosen = error, (k, temperature, shrink)
    k, temperature, shrink = chosen
    return NearestNeighbours(
        problem.basis_rg,
        problem.features,
        table.trained_lines,
        problem.x_sf.astype(np.float32),
        (shrink * problem.z_sk).astype(np.float32),
        k,
        temperature,
    )


def _attend(similarity_rs: np.ndarray, k: int, temperature: float) -> np.ndarray:
    """[r, s] softmax weights over each row's k most similar columns; columns at -inf never count."""
    k = min(k, similarity_rs.shape[1])
    if k == 0:
        return np.zeros_like(similarity_rs)
    cut_r1 = -np.partition(-similarity_rs, k - 1, axis=1)[:, [k - 1]]
    near = (similarity_rs >= cut_r1) & np.isfinite(similarity_rs)
    top_r1 = np.max(similarity_rs, axis=1, keepdims=True)
    raw_rs = np.where(near, np.exp((similarity_rs - np.where(np.isfinite(top_r1), top_r1, 0)) / temperature), 0)
    return raw_rs / np.maximum(raw_rs.sum(axis=1, keepdims=True), 1e-12)
