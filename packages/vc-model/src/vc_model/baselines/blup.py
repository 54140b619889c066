"""Best linear unbiased prediction: one random-effects model of mean, line, features and identity of the targets.

    effect(line, targets) = sum over targets of u(line, target),    u ~ N(0, sum_k w_k K_k),    measured = effect + noise

Kernels K_k of single perturbations: all alike (the mean effect), similar features, the same target; each everywhere and
within the line. A combination is the sum of its targets. The noise is known: the cells of a condition, and the control
cells that the conditions of a line share. The variances w_k, in units of a gene's variance between cells, are found by
maximum likelihood over all genes together (Henderson, Biometrics 1975; Lippert et al., Nature Methods 2011).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import lapack

from vc_model.baselines.ridge import cosines, squared_distances
from vc_model.stored import stored
from vc_model.table.effect import BasisEffect, Effect, sum_by_owner
from vc_model.table.effects import Action, Conditions, EffectTable
from vc_model.table.features import FeatureMap, make_features

QUIET = 0.1  # a gene's noise is at least this share of the mean over genes; with few controls it is hardly known
MAX_ITERATIONS = 50
ROWS_FOR_VARIANCES = 300  # a dozen variances need no more; the solution itself uses every row


@stored
@dataclass(frozen=True, eq=False)
class Blup(BasisEffect):
    """A fitted model.

    Attributes:
        basis_rg: [p, g] float32, inverse covariance times measured effects, in log1p CP10k.
        lines: The p rows' cell lines.
        actions: The p rows' actions.
        features: Turns targets into vectors; holds the contexts.
        width_b: Squared widths of the Gaussian kernels of the feature blocks; 0: the block tells no targets apart.
        variance_k: Variances of the kernels, in the order of `_kernels`.
    """

    basis_rg: np.ndarray
    lines: tuple[str, ...]
    actions: tuple[Action, ...]
    features: FeatureMap
    width_b: np.ndarray
    variance_k: np.ndarray

    @cached_property
    def _train(self) -> Conditions:
        return Conditions(np.array(self.lines, dtype=object), self.actions, self.features.contexts)

    def weigh(self, conditions: Conditions) -> np.ndarray:
        """[q, p] prior covariances of the conditions with the training rows."""
        kernels = _kernels(conditions, self._train, self.features, self.width_b)
        total_qp = sum(w * kernel_qp for w, kernel_qp in zip(self.variance_k, kernels, strict=True) if w > 0)
        return np.asarray(total_qp + np.zeros((len(conditions), len(self.lines))), dtype=np.float32)


def fit_blup(table: EffectTable) -> Effect:
    """BLUP of an additive model: mean, line, features and identity of the targets; variances by maximum likelihood."""
    features = make_features(table)
    sigma2_lg = table.contexts.sigma2_cg[table.contexts.positions(table.trained_lines)].astype(np.float64)
    sigma2_g = np.maximum(sigma2_lg.mean(axis=0), QUIET * sigma2_lg.mean())
    y_pg = table.delta_pg / np.sqrt(sigma2_g)
    # Lines differ in how noisy their cells are; conditions of one line share the noise of its controls.
    noisy_p = (sigma2_lg / sigma2_g).mean(axis=1)[table.line_p]
    shared_p = np.sqrt(noisy_p / table.n_controls_p)
    noise_pp = np.diag(noisy_p / table.n_cells_p)
    noise_pp += np.outer(shared_p, shared_p) * (table.line_p[:, None] == table.line_p)
    width_b = _widths(table.conditions, features)
    kernels = _without_repeats(_kernels(table.conditions, table.conditions, features, width_b))
    few = np.linspace(0, len(table) - 1, min(len(table), ROWS_FOR_VARIANCES)).astype(np.int64)
    gram_pp = y_pg[few] @ y_pg[few].T / y_pg.shape[1]
    at = np.ix_(few, few)
    variance_k = fit_variances([kernel_pp[at] for kernel_pp in kernels], noise_pp[at], gram_pp)
    total_pp = noise_pp + sum(w * kernel_pp for w, kernel_pp in zip(variance_k, kernels, strict=True))
    basis_pg = (np.linalg.solve(total_pp, y_pg) * np.sqrt(sigma2_g)).astype(np.float32)
    lines = tuple(table.conditions.cell_line.tolist())
    return Blup(basis_pg, lines, table.conditions.actions, features, width_b, variance_k.astype(np.float32))


def fit_variances(
    kernels: list[np.ndarray],
    noise_pp: np.ndarray,
    gram_pp: np.ndarray,
    start_k: np.ndarray | None = None,
    rate_k: np.ndarray | float = 0.0,
    least_k: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Variances of the kernels by maximum likelihood, or at the posterior mode.

    Args:
        kernels: k matrices [p, p]; empty ones get no variance.
        noise_pp: [p, p] known covariance of the noise.
        gram_pp: [p, p] mean over genes of the outer products of their effects.
        start_k: Where the search starts.
        rate_k: Rates of exponential priors of the kernels' shares of the variance that is no noise; 0: none. Genes are
            correlated, so all of them together count as one observation of a condition.
        least_k: Shares of that variance that the kernels have at least.

    Returns:
        [k] float64 >= 0.
    """
    from scipy.optimize import minimize

    n = len(noise_pp)
    excess = max((np.trace(gram_pp) - np.trace(noise_pp)) / n, 1e-2 * np.trace(noise_pp) / n)
    size_k = np.array([np.trace(kernel_pp) / n for kernel_pp in kernels])
    use_k = size_k > 1e-9
    used, size_k = [kernel_pp for kernel_pp, use in zip(kernels, use_k, strict=True) if use], size_k[use_k]
    start_k = excess / len(used) / size_k if start_k is None else start_k[use_k]
    price_k = 2 * np.broadcast_to(rate_k, use_k.shape)[use_k] * size_k / excess

    def loss(log_k: np.ndarray) -> tuple[float, np.ndarray]:
        weight_k = np.exp(log_k)
        total_pp = noise_pp + sum(weight * kernel_pp for weight, kernel_pp in zip(weight_k, used, strict=True))
        root_pp = np.linalg.cholesky(total_pp)
        # pyrefly: ignore[missing-attribute] scipy builds this module's functions from a list at import
        inverse_pp = lapack.dpotri(root_pp, lower=1)[0]
        inverse_pp = np.tril(inverse_pp) + np.tril(inverse_pp, -1).T
        solved_pp = inverse_pp @ gram_pp
        value = 2 * np.log(np.diag(root_pp)).sum() + np.trace(solved_pp) + price_k @ weight_k
        slope_pp = inverse_pp - solved_pp @ inverse_pp
        slope_k = weight_k * (price_k + [float(np.vdot(slope_pp, kernel_pp)) for kernel_pp in used])
        return value / n, slope_k / n

    cut = np.log(excess / size_k) - 12
    low = cut + np.maximum(np.log(np.maximum(np.broadcast_to(least_k, use_k.shape)[use_k], 1e-30)) + 12, 0)
    high = cut + 16
    found = minimize(
        loss,
        np.clip(np.log(start_k), low, high),
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(low, high, strict=True)),
        options={"maxiter": MAX_ITERATIONS, "ftol": 1e-7},
    )
    result_k = np.zeros(len(kernels))
    result_k[use_k] = np.where(found.x > cut + 1, np.exp(found.x), 0.0)
    return result_k


def _widths(conditions: Conditions, features: FeatureMap) -> np.ndarray:
    """Median squared distance of the targets in each block of features; mode and dose are told apart by themselves."""
    x_rf = features.transform(conditions.components()[1]).astype(np.float64)
    widths = []
    for block, columns in features.blocks.items():
        distance = squared_distances(x_rf[:, columns], x_rf[:, columns])[np.triu_indices(len(x_rf), 1)]
        distance = distance[distance > 1e-9]
        widths.append(float(np.median(distance)) if len(distance) and block != "action" else 0.0)
    return np.array(widths)


def _kernels(a: Conditions, b: Conditions, features: FeatureMap, width_b: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the [a, b] covariances: mean, features, target, target at a like dose; of each everywhere and in the line."""
    owner_r, x = a.components()
    owner_s, y = b.components()
    x_rf, y_sf = (features.transform(part).astype(np.float64) for part in (x, y))
    alike_rs, n_blocks = np.zeros((len(x), len(y))), max(int((width_b > 0).sum()), 1)
    for columns, width in zip(features.blocks.values(), width_b, strict=True):
        if width > 0:
            near_rs = np.exp(-squared_distances(x_rf[:, columns], y_sf[:, columns]) / width)
            alike_rs += (near_rs + cosines(x_rf[:, columns], y_sf[:, columns])) / (2 * n_blocks)
    mode, dose, target = (
        _of_both(value, kind, x, y) for value, kind in ((_mode, np.int64), (_log_dose, np.float64), (_target, str))
    )
    line = x.cell_line.astype(str), y.cell_line.astype(str)
    same_mode, same_line, same_target = (a_r[:, None] == b_s for a_r, b_s in (mode, line, target))
    own_rs = (same_target & same_mode).astype(np.float64)
    dosed_rs = own_rs * np.exp(-((dose[0][:, None] - dose[1]) ** 2) / 2)
    for kernel_rs in (np.ones_like(own_rs), alike_rs * same_mode, own_rs, dosed_rs):
        for whole_rs in (kernel_rs, kernel_rs * same_line):
            yield sum_by_owner(sum_by_owner(whole_rs, owner_r, len(a)).T, owner_s, len(b)).T


def _of_both(value: Callable[[Action], Any], kind: type, x: Conditions, y: Conditions) -> tuple[np.ndarray, np.ndarray]:
    first, second = (np.array([value(action) for action in part.actions], dtype=kind) for part in (x, y))
    return first, second


def _mode(action: Action) -> int:
    return action.mode


def _log_dose(action: Action) -> float:
    return float(np.log1p(action.dose))


def _target(action: Action) -> str:
    return action.targets[0]


def _without_repeats(kernels: Iterator[np.ndarray]) -> list[np.ndarray]:
    """The kernels, with zeros for those that an earlier one equals: lines where there is one, doses where there are none."""
    kept: list[np.ndarray] = []
    for kernel_pp in kernels:
        repeats = any(np.allclose(kernel_pp, other_pp) for other_pp in kept)
        kept.append(np.zeros_like(kernel_pp) if repeats else kernel_pp)
    return kept
