"""What all feature-based baselines share: deviations of single effects from their line's mean, in few components.

Feature models learn how a single perturbation's effect deviates from the mean effect of its line. The deviations are
projected onto their first 50 principal components, found in the p x p Gram space, so fitting hardly touches genes. A
fitted model is a weighted sum of these components and the lines' means.
"""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from vc_model.table.components import make_components
from vc_model.table.effect import BasisEffect, line_rows, sum_of_components
from vc_model.table.effects import Conditions, EffectTable
from vc_model.table.features import FeatureMap, make_features
from vc_model.table.folds import target_groups

CELLS_FOR_HALF_WEIGHT = 50.0  # n0: a condition with that many cells counts half as much as one with very many


@dataclass(frozen=True, eq=False)
class SingleProblem:
    """The regression problem of a table's singles.

    Attributes:
        features: Fitted on the table.
        rows: [s] rows of the table with one target.
        x_sf: [s, f] float64 features.
        z_sk: [s, k] float64 deviations in principal components.
        basis_rg: [k + l + 1, g] float32, the components and then the lines' mean effects (last: mean over lines).
        weight_s: [s] noise-aware weights with mean 1.
        group_s: [s] int, rows of the same target share a number.
    """

    features: FeatureMap
    rows: np.ndarray
    x_sf: np.ndarray
    z_sk: np.ndarray
    basis_rg: np.ndarray
    weight_s: np.ndarray
    group_s: np.ndarray


@dataclass(frozen=True, eq=False)
class FeatureEffect(BasisEffect):
    """Base of fitted feature models: the line's mean effect plus a deviation from features, summed over targets."""

    basis_rg: np.ndarray
    features: FeatureMap
    lines: tuple[str, ...]

    def weigh(self, conditions: Conditions) -> np.ndarray:
        """Sum over targets of the deviation's scores and a one for the mean."""
        return sum_of_components(self._weigh_singles, conditions)

    @abstractmethod
    def deviate(self, x_rf: np.ndarray, singles: Conditions) -> np.ndarray:
        """[r, k] scores of the deviation of single perturbations with features x."""

    def _weigh_singles(self, singles: Conditions) -> np.ndarray:
        x_rf = self.features.transform(singles)
        mean_rl = np.eye(len(self.lines) + 1, dtype=np.float32)[line_rows(self.lines, singles)]
        return np.concatenate([self.deviate(x_rf, singles), mean_rl], axis=1)


def noise_weights(table: EffectTable) -> np.ndarray:
    """[p] n / (n + n0) with n the effective number of cells behind each effect."""
    n_p = 1 / (1 / table.n_cells_p + 1 / table.n_controls_p)
    return (n_p / (n_p + CELLS_FOR_HALF_WEIGHT)).astype(np.float64)


def make_problem(table: EffectTable) -> SingleProblem:
    """The regression problem of a table, made once per table."""
    return table.once("single_problem", lambda: _make(table))


def _make(table: EffectTable) -> SingleProblem:
    parts = make_components(table)
    features = make_features(table)
    singles = table.conditions.subset(parts.rows)
    weight_s = noise_weights(table)[parts.rows]
    return SingleProblem(
        features=features,
        rows=parts.rows,
        x_sf=features.transform(singles).astype(np.float64),
        z_sk=parts.score_sk,
        basis_rg=np.concatenate([parts.lift_kp, parts.mean_lp]).astype(np.float32) @ table.delta_pg,
        weight_s=weight_s / max(float(weight_s.mean()), 1e-12) if len(singles) else weight_s,
        group_s=target_groups(singles),
    )


def leave_group_out(
    residual_sk: np.ndarray, vector_sr: np.ndarray, keep_r: np.ndarray, group_s: np.ndarray
) -> np.ndarray:
    """Residuals of a linear smoother if each row's whole group had been left out, in closed form.

    Args:
        residual_sk: [s, k] in-sample residuals (I - H) z.
        vector_sr: [s, r] orthonormal eigenvectors of the smoother H.
        keep_r: [r] its eigenvalues.
        group_s: [s] group numbers.

    Returns:
        [s, k], (I - H_gg)^-1 of each group's residuals; for groups of one this is the usual leave-one-out formula.
    """
    order = np.argsort(group_s, kind="stable")
    size_g = np.bincount(np.unique(group_s, return_inverse=True)[1])
    start_g = np.concatenate([[0], np.cumsum(size_g)[:-1]])
    left_out = np.empty_like(residual_sk)
    for size in np.unique(size_g):
        members = order[start_g[size_g == size][:, None] + np.arange(size)]
        block = np.eye(size) - (vector_sr[members] * keep_r) @ vector_sr[members].transpose(0, 2, 1)
        left_out[members] = np.linalg.solve(block + 1e-9 * np.eye(size), residual_sk[members])
    return left_out
