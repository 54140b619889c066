"""Feature ridge and kernel ridge, their penalty chosen by leave-target-out cross-validation in closed form."""

from dataclasses import dataclass

import numpy as np

from vc_model.baselines.singles import FeatureEffect, SingleProblem, leave_group_out, make_problem
from vc_model.stored import stored
from vc_model.table.components import top_eigen
from vc_model.table.effect import Effect, line_rows
from vc_model.table.effects import Conditions, EffectTable
from vc_model.table.features import FeatureMap

PENALTIES = np.geomspace(1e-2, 1e4, 13)  # times the mean eigenvalue; the largest one is the mean effect
OTHER_LINE = 0.5  # kernel between the same features in two cell lines


@stored
@dataclass(frozen=True, eq=False)
class FeatureRidge(FeatureEffect):
    """Linear in the features: deviation scores = x @ coefficient_fk."""

    coefficient_fk: np.ndarray

    def deviate(self, x_rf: np.ndarray, singles: Conditions) -> np.ndarray:
        """[r, k] scores of the deviation."""
        return x_rf @ self.coefficient_fk


@stored
@dataclass(frozen=True, eq=False)
class KernelRidge(FeatureEffect):
    """Sum over feature blocks of cosine and Gaussian kernels: deviation scores = k(x, training x) @ dual_sk.

    Attributes:
        x_sf: [s, f] training features.
        line_s: [s] training lines, positions in `lines`.
        width_b: Squared kernel widths of the blocks in use (median of training distances).
        blocks: Names of the blocks in use.
        dual_sk: [s, k] coefficients.
    """

    x_sf: np.ndarray
    line_s: np.ndarray
    width_b: np.ndarray
    blocks: tuple[str, ...]
    dual_sk: np.ndarray

    def deviate(self, x_rf: np.ndarray, singles: Conditions) -> np.ndarray:
        """[r, k] scores of the deviation."""
        kernel_rs = _kernel(x_rf, self.x_sf, self.features, self.blocks, self.width_b)
        same_rs = line_rows(self.lines, singles)[:, None] == self.line_s
        return (kernel_rs * np.where(same_rs, 1, OTHER_LINE)).astype(np.float32) @ self.dual_sk


def fit_feature_ridge(table: EffectTable) -> Effect:
    """Ridge regression of the first 50 effect components on standardised features."""
    problem = make_problem(table)
    vector_sr, size_r, _ = np.linalg.svd(problem.x_sf * np.sqrt(problem.weight_s)[:, None], full_matrices=False)
    good = size_r > 1e-6 * size_r.max(initial=1e-12)
    alpha_sk = _dual(problem, vector_sr[:, good], size_r[good] ** 2)
    return FeatureRidge(
        problem.basis_rg,
        problem.features,
        table.trained_lines,
        (problem.x_sf.T @ alpha_sk).astype(np.float32),
    )


def fit_kernel_ridge(table: EffectTable) -> Effect:
    """Kernel ridge regression of the first 50 effect components; kernel = mean over blocks of cosine and RBF."""
    problem = make_problem(table)
    blocks, widths = [], []
    for name, columns in problem.features.blocks.items():
        x = problem.x_sf[:, columns]
        distance = squared_distances(x, x)[np.triu_indices(len(x), 1)]
        if (distance > 1e-12).any():
            blocks.append(name)
            widths.append(float(np.median(distance[distance > 1e-12])))
    width_b = np.array(widths)
    line_s = table.line_p[problem.rows]
    kernel_ss = _kernel(problem.x_sf, problem.x_sf, problem.features, tuple(blocks), width_b)
    kernel_ss = kernel_ss * np.where(line_s[:, None] == line_s, 1, OTHER_LINE)
    root_s = np.sqrt(problem.weight_s)
    value_r, vector_sr = top_eigen(kernel_ss * root_s[:, None] * root_s, len(kernel_ss))
    alpha_sk = _dual(problem, vector_sr, value_r)
    return KernelRidge(
        problem.basis_rg,
        problem.features,
        table.trained_lines,
        problem.x_sf.astype(np.float32),
        line_s,
        width_b,
        tuple(blocks),
        alpha_sk.astype(np.float32),
    )


def _dual(problem: SingleProblem, vector_sr: np.ndarray, value_r: np.ndarray) -> np.ndarray:
    """[s, k] coefficients (K + lambda W^-1)^-1 z with the penalty of the smallest leave-target-out error.

    Args:
        problem: The regression problem.
        vector_sr: [s, r] eigenvectors of sqrt(W) K sqrt(W).
        value_r: [r] its eigenvalues; the others are 0.
    """
    root_s1 = np.sqrt(problem.weight_s)[:, None]
    z_sk = problem.z_sk * root_s1
    if z_sk.size == 0 or len(value_r) == 0:
        return np.zeros_like(z_sk)
    rotated_rk = vector_sr.T @ z_sk
    best, chosen = np.inf, 0.0
    for penalty in PENALTIES * value_r.sum() / len(z_sk):
        keep_r = value_r / (value_r + penalty)
        residual_sk = z_sk - vector_sr @ (keep_r[:, None] * rotated_rk)
        error = float((leave_group_out(residual_sk, vector_sr, keep_r, problem.group_s) ** 2).sum())
        if error < best:
            best, chosen = error, float(penalty)
    keep_r = value_r / (value_r + chosen)
    return root_s1 * (z_sk - vector_sr @ (keep_r[:, None] * rotated_rk)) / chosen


def _kernel(x_rf: np.ndarray, y_sf: np.ndarray, features: FeatureMap, blocks: tuple[str, ...], width_b: np.ndarray):
    """[r, s] mean over blocks of (cosine + RBF) / 2."""
    total_rs = np.zeros((len(x_rf), len(y_sf)), dtype=np.result_type(x_rf, y_sf))
    for name, width in zip(blocks, width_b, strict=True):
        x, y = x_rf[:, features.blocks[name]], y_sf[:, features.blocks[name]]
        total_rs += (cosines(x, y) + np.exp(squared_distances(x, y) / x.dtype.type(-width))) * total_rs.dtype.type(
            1 / (2 * len(blocks))
        )
    return total_rs


def cosines(x_rf: np.ndarray, y_sf: np.ndarray) -> np.ndarray:
    """[r, s] cosine similarity; 0 with a zero vector."""
    x_rf = x_rf / np.maximum(np.linalg.norm(x_rf, axis=1, keepdims=True), 1e-12)
    y_sf = y_sf / np.maximum(np.linalg.norm(y_sf, axis=1, keepdims=True), 1e-12)
    return x_rf @ y_sf.T


def squared_distances(x_rf: np.ndarray, y_sf: np.ndarray) -> np.ndarray:
    """[r, s] squared Euclidean distances."""
    square = np.einsum("rf,rf->r", x_rf, x_rf)[:, None] + np.einsum("sf,sf->s", y_sf, y_sf) - 2 * x_rf @ y_sf.T
    return np.maximum(square, 0)
