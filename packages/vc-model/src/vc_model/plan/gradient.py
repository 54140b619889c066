"""Gradient in action space: the action that would be ideal, and the real ones that are nearest to it."""

from dataclasses import dataclass

import numpy as np

N_CODES, N_NEAREST = 20, 10
"""Dimensions of the space of actions, and real actions that are named."""
N_STARTS, N_STEPS = 16, 200
"""Actions from which the climb begins, and its steps."""
_STEP, _PENALTY = 0.05, 0.05


@dataclass(frozen=True, eq=False)
class Ideal:
    """What the search found.

    Attributes:
        cosine: Agreement of the ideal action's expected effect with the goal.
        rows: [n] rows of the real actions nearest to it, nearest first.
        real: Best agreement among those.
    """

    cosine: float
    rows: np.ndarray
    real: float

    @property
    def gap(self) -> float:
        """What is lost by taking a real action."""
        return self.cosine - self.real


def find_ideal(left_km: np.ndarray, cosine_k: np.ndarray, goal_m: np.ndarray, code_kd: np.ndarray | None) -> Ideal:
    """Climb from the best real actions towards the goal through the space of actions, then come back to real ones.

    Actions are described by whitened codes: main components of their features, or of their effects where there are no
    features. A ridge map tells the effect of any code. Ascended is the cosine with the goal less the squared Mahalanobis
    distance to the library, so that no action is proposed that is like none in the library.

    Args:
        left_km: [k, m] effects, centred and weighed.
        cosine_k: [k] their agreement with the goal.
        goal_m: [m] the goal.
        code_kd: [k, d] features of the actions; None: their effects are their description.
    """
    described = left_km if code_kd is None else code_kd
    u_kc, s_c, _ = np.linalg.svd(described - described.mean(axis=0), full_matrices=False)
    kept = max(1, min(N_CODES, int((s_c > 1e-6 * s_c[0]).sum())))
    code_kc = u_kc[:, :kept] * np.sqrt(len(u_kc))
    ridge = 0.01 * len(code_kc)
    map_cm = np.linalg.solve(code_kc.T @ code_kc + ridge * np.eye(kept), code_kc.T @ left_km)
    mean_m = left_km.mean(axis=0)
    goal_m = goal_m / max(float(np.linalg.norm(goal_m)), 1e-12)
    # Only three numbers of an effect matter to its cosine, so the climb runs on codes and not on genes.
    to_goal_c, gram_cc, cross_c = map_cm @ goal_m, map_cm @ map_cm.T, map_cm @ mean_m
    mean_goal, mean_square = float(mean_m @ goal_m), float(mean_m @ mean_m)

    def agreement(z_sc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        along_s = z_sc @ to_goal_c + mean_goal
        square_s = ((z_sc @ gram_cc) * z_sc).sum(axis=1) + 2 * z_sc @ cross_c + mean_square
        size_s = np.sqrt(np.maximum(square_s, 1e-12))
        slope_sc = to_goal_c / size_s[:, None] - (along_s / size_s**3)[:, None] * (z_sc @ gram_cc + cross_c)
        return along_s / size_s, slope_sc

    z_sc = code_kc[np.argsort(-cosine_k)[:N_STARTS]].copy()
    first_sc, second_sc = np.zeros_like(z_sc), np.zeros_like(z_sc)
    for step in range(1, N_STEPS + 1):
        # Adam: Kingma and Ba, ICLR 2015.
        slope_sc = agreement(z_sc)[1] - 2 * _PENALTY * z_sc / kept
        first_sc = 0.9 * first_sc + 0.1 * slope_sc
        second_sc = 0.999 * second_sc + 0.001 * slope_sc**2
        z_sc += _STEP * (first_sc / (1 - 0.9**step)) / (np.sqrt(second_sc / (1 - 0.999**step)) + 1e-8)
    reached_s = agreement(z_sc)[0]
    best_c = z_sc[int((reached_s - _PENALTY * np.square(z_sc).mean(axis=1)).argmax())]
    # Near in direction: by distance the weakest actions, which lie in the middle, would be near to all.
    alike_k = code_kc @ best_c / np.maximum(np.linalg.norm(code_kc, axis=1), 1e-12)
    rows = np.argsort(-alike_k, kind="stable")[:N_NEAREST]
    return Ideal(float(agreement(best_c[None])[0][0]), rows, float(cosine_k[rows].max()))
