"""Combinations as sums of measured single effects, the baseline that is hard to beat on double perturbations."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from vc_model.baselines.lowrank import LowRank, fit_lowrank_ridge
from vc_model.stored import stored
from vc_model.table.effect import Effect, Parts, sum_by_owner
from vc_model.table.effects import Action, Conditions, EffectTable


@stored
@dataclass(frozen=True, eq=False)
class Additive(Effect):
    """Sum of measured singles of the same line; a missing single is predicted by `lowrank_ridge`.

    Attributes:
        basis_pg: [p, g] training effects.
        lines: The p rows' cell lines.
        actions: The p rows' actions.
        norm_p: [p] length of each training effect.
        missing: Predicts singles that were not measured in the line.
        scale_2: Factors of the largest component of a combination and of the others.
    """

    basis_pg: np.ndarray
    lines: tuple[str, ...]
    actions: tuple[Action, ...]
    norm_p: np.ndarray
    missing: LowRank
    scale_2: np.ndarray

    def parts(self, conditions: Conditions) -> Parts:
        """Weights of measured effects, and of the basis that predicts missing ones."""
        owner_r, singles = conditions.components()
        pairs = zip(singles.cell_line.tolist(), singles.actions, strict=True)
        row_r = np.array([self._row_of.get(pair, -1) for pair in pairs], dtype=np.int64)
        known_r = row_r >= 0
        other_rk = np.where(known_r[:, None], 0, self.missing.weigh(singles))
        combined_r = conditions.sizes[owner_r] > 1
        norm_r = np.where(known_r, self.norm_p[row_r], 0)
        guessed = np.flatnonzero(~known_r & combined_r)
        norm_r[guessed] = np.linalg.norm(other_rk[guessed] @ self.missing.basis_rg, axis=1)
        scale_r = np.where(combined_r, np.where(_is_largest(owner_r, norm_r), *self.scale_2), 1)
        at = np.flatnonzero(known_r)
        own_rp = sp.csr_array((scale_r[at], (at, row_r[at])), shape=(len(singles), len(self.lines)))
        return [
            (sum_by_owner(own_rp, owner_r, len(conditions)), self.basis_pg),
            (sum_by_owner(other_rk * scale_r[:, None], owner_r, len(conditions)), self.missing.basis_rg),
        ]

    @cached_property
    def _row_of(self) -> dict[tuple[str, Action], int]:
        return {pair: row for row, pair in enumerate(zip(self.lines, self.actions, strict=True))}


def fit_additive(table: EffectTable) -> Additive:
    """Sum of measured training singles of the line; a missing single is `lowrank_ridge`'s, which is b at worst."""
    missing = fit_lowrank_ridge(table)
    return Additive(
        table.delta_pg,
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
    from scipy.optimize import nnls

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
    return Additive(plain.basis_pg, plain.lines, plain.actions, plain.norm_p, plain.missing, scale_2)


def _is_largest(owner_r: np.ndarray, norm_r: np.ndarray) -> np.ndarray:
    """[r] bool, the longest component of each owner (the first of equals)."""
    order = np.lexsort((np.arange(len(owner_r)), -norm_r, owner_r))
    first = np.ones(len(order), dtype=bool)
    first[1:] = owner_r[order][1:] != owner_r[order][:-1]
    largest_r = np.zeros(len(order), dtype=bool)
    largest_r[order[first]] = True
    return largest_r
