"""Combinations as sums of measured single effects, the baseline that is hard to beat on double perturbations."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from vc_model.baselines.lowrank import LowRank, fit_lowrank_ridge
from vc_model.effect import Effect, sum_by_owner
from vc_model.table import Action, Conditions, EffectTable


@dataclass(frozen=True, eq=False)
class Additive(Effect):
    """Sum of measured singles of the same line; a missing single is predicted by `lowrank_ridge`.

    Attributes:
        basis_rg: [p + r, g], training effects and then the basis of `missing`.
        lines: The p rows' cell lines.
        actions: The p rows' actions.
        norm_p: [p] length of each training effect.
        missing: Predicts singles that were not measured in the line.
        scale_2: Factors of the largest component of a combination and of the others.
    """

    basis_rg: np.ndarray
    lines: tuple[str, ...]
    actions: tuple[Action, ...]
    norm_p: np.ndarray
    missing: LowRank
    scale_2: np.ndarray

    def weigh(self, conditions: Conditions) -> np.ndarray:
        """Sum of the components' weights, in combinations scaled by the rank of their lengths."""
        owner_r, singles = conditions.components()
        row_of = {pair: row for row, pair in enumerate(zip(self.lines, self.actions, strict=True))}
        row_r = np.array([row_of.get(pair, -1) for pair in zip(singles.cell_line.tolist(), singles.actions, strict=True)], int)
        n_rows = len(self.lines)
        weight_rk = np.zeros((len(singles), len(self.basis_rg)), dtype=np.float32)
        known = row_r >= 0
        weight_rk[np.flatnonzero(known), row_r[known]] = 1
        norm_r = np.where(known, self.norm_p[row_r], 0)
        if not known.all():
            other_rk = self.missing.weigh(singles.subset(~known))
            weight_rk[~known, n_rows:] = other_rk
            norm_r[~known] = np.linalg.norm(other_rk @ self.missing.basis_rg, axis=1)
        combined_r = conditions.sizes[owner_r] > 1
        scale_r = np.where(combined_r, np.where(_is_largest(owner_r, norm_r), *self.scale_2), 1)
        return sum_by_owner(weight_rk * scale_r[:, None].astype(np.float32), owner_r, len(conditions))


def fit_additive(table: EffectTable) -> Effect:
    """Sum of measured training singles of the line; a missing single is `lowrank_ridge`'s, which is b at worst."""
    missing = fit_lowrank_ridge(table)
    return Additive(
        table.once("additive_basis", lambda: np.concatenate([table.delta_pg, missing.basis_rg])),
        tuple(table.conditions.cell_line.tolist()),
        table.conditions.actions,
        np.sqrt(np.maximum(np.diag(table.gram_pp), 0)),
        missing,
        np.ones(2),
    )


def fit_additive_scaled(table: EffectTable) -> Effect:
    """`additive` with factors for the largest and the other components, by NNLS on training combinations.

    Components are told apart by the length of their effects, not by their names, so their order does not matter.
    """
    plain = fit_additive(table)
    combos = table.conditions.subset(table.conditions.sizes > 1)
    if len(combos) == 0:
        return plain
    owner_r, singles = combos.components()
    delta_rg = plain.delta(singles)
    largest_r = _is_largest(owner_r, np.linalg.norm(delta_rg, axis=1))
    parts = [sum_by_owner(delta_rg * pick[:, None], owner_r, len(combos)) for pick in (largest_r, ~largest_r)]
    truth = table.delta_pg[table.conditions.sizes > 1]
    # The normal equations are 2 x 2, so genes never enter the non-negative solver.
    a_22 = np.array([[np.vdot(x, y) for y in parts] for x in parts], dtype=np.float64)
    b_2 = np.array([np.vdot(x, truth) for x in parts], dtype=np.float64)
    root = np.linalg.cholesky(a_22 + 1e-6 * max(np.trace(a_22), 1e-12) * np.eye(2))
    scale_2 = nnls(root.T, np.linalg.solve(root, b_2))[0]
    return Additive(plain.basis_rg, plain.lines, plain.actions, plain.norm_p, plain.missing, scale_2)


def _is_largest(owner_r: np.ndarray, norm_r: np.ndarray) -> np.ndarray:
    """[r] bool, the longest component of each owner (the first of equals)."""
    order = np.lexsort((np.arange(len(owner_r)), -norm_r, owner_r))
    first = np.ones(len(order), dtype=bool)
    first[1:] = owner_r[order][1:] != owner_r[order][:-1]
    largest_r = np.zeros(len(order), dtype=bool)
    largest_r[order[first]] = True
    return largest_r


