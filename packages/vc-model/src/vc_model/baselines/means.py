"""Baselines that know no perturbation features: no change, means, observed effects elsewhere, random effects.

All are weighted sums of training effects, so each fitted one is a rule that gives a weight per training row.
"""

import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from vc_model.stored import stored
from vc_model.table.effect import BasisEffect, Effect, Parts, Weights, line_rows, line_weights, sum_by_owner
from vc_model.table.effects import Action, Conditions, EffectTable

N_DIRECTIONS = 256  # Gaussian directions that random effects are mixed from


@stored
@dataclass(frozen=True, eq=False)
class LineMean(BasisEffect):
    """One effect per cell line, whatever the perturbation.

    Attributes:
        basis_rg: [l + 1, g] effect of each trained line; the last row is for lines without training conditions.
        lines: Trained cell lines.
    """

    basis_rg: np.ndarray
    lines: tuple[str, ...]

    def weigh(self, conditions: Conditions) -> np.ndarray:
        """A one for each condition's line."""
        return np.eye(len(self.lines) + 1, dtype=np.float32)[line_rows(self.lines, conditions)]


@stored
@dataclass(frozen=True, eq=False)
class SeenEffect(Effect):
    """Average of the same perturbation's training effects over cell lines; unseen ones get `other_p`.

    Attributes:
        basis_rg: [p, g] training effects.
        actions: The p training actions.
        weight_p: [p] weight of each training row in an average.
        other_1g: [1, g] float32, effect of what was never seen.
        sum_components: Whether an unseen combination is the sum of its components instead.
    """

    basis_rg: np.ndarray
    actions: tuple[Action, ...]
    weight_p: np.ndarray
    other_1g: np.ndarray
    sum_components: bool

    def parts(self, conditions: Conditions) -> Parts:
        """Average of matching rows: the same action, else the same targets and mode at any dose."""
        weight_qp, other_q1 = self._weigh(conditions)
        return [(weight_qp, self.basis_rg), (other_q1, self.other_1g)]

    @cached_property
    def _rows_of(self) -> tuple[dict[Action, list[int]], dict[tuple[tuple[str, ...], int], list[int]]]:
        exact: dict[Action, list[int]] = {}
        alike: dict[tuple[tuple[str, ...], int], list[int]] = {}
        for row, action in enumerate(self.actions):
            exact.setdefault(action, []).append(row)
            alike.setdefault((action.targets, action.mode), []).append(row)
        return exact, alike

    def _weigh(self, conditions: Conditions) -> tuple[Weights, np.ndarray]:
        exact, alike = self._rows_of
        found = [exact.get(action) or alike.get((action.targets, action.mode)) or [] for action in conditions.actions]
        owner = np.repeat(np.arange(len(found)), [len(rows) for rows in found])
        row = np.array([row for rows in found for row in rows], dtype=np.int64)
        share = np.concatenate(
            [np.zeros(0), *(self.weight_p[rows] / self.weight_p[rows].sum() for rows in found if rows)]
        )
        shape = (len(conditions), len(self.actions))
        weight_qp = sp.csr_array((share.astype(np.float32), (owner, row)), shape=shape)
        other_q1 = np.array([not rows for rows in found], dtype=np.float32)[:, None]
        summed = np.flatnonzero((other_q1[:, 0] > 0) & (conditions.sizes > 1) & self.sum_components)
        if len(summed):
            other_q1[summed] = 0
            owner_r, parts = conditions.subset(summed).components()
            weight_rp, other_r1 = self._weigh(parts)
            weight_qp = weight_qp + sum_by_owner(weight_rp, summed[owner_r], len(conditions))
            np.add.at(other_q1, summed[owner_r], other_r1)
        return weight_qp, other_q1


@stored
@dataclass(frozen=True, eq=False)
class RandomEffect(BasisEffect):
    """The effect of a random training perturbation of the same line; the draw depends on the condition alone."""

    basis_rg: np.ndarray
    lines: tuple[str, ...]
    line_p: np.ndarray
    seed: int

    def weigh(self, conditions: Conditions) -> np.ndarray:
        """A one for the drawn row."""
        weight_qp = np.zeros((len(conditions), len(self.line_p)), dtype=np.float32)
        for q, line in enumerate(line_rows(self.lines, conditions)):
            pool = np.flatnonzero(self.line_p == line) if line < len(self.lines) else np.arange(len(self.line_p))
            weight_qp[q, pool[_condition_rng(self.seed, conditions, q).integers(len(pool))]] = 1
        return weight_qp


@stored
@dataclass(frozen=True, eq=False)
class GaussianEffect(BasisEffect):
    """Gaussian effects with the mean squared norm of the line's training effects; a draw depends on the condition alone.

    Attributes:
        basis_rg: [256, g] standard normal directions.
        lines: Trained lines.
        scale_l: [l + 1] root mean square effect of each line.
        seed: Of the draws.
    """

    basis_rg: np.ndarray
    lines: tuple[str, ...]
    scale_l: np.ndarray
    seed: int

    def weigh(self, conditions: Conditions) -> np.ndarray:
        """Random mixtures of the directions."""
        n = len(self.basis_rg)
        draws = [_condition_rng(self.seed, conditions, q).standard_normal(n) for q in range(len(conditions))]
        scale_q = self.scale_l[line_rows(self.lines, conditions)] / np.sqrt(n)
        return (scale_q[:, None] * np.array(draws).reshape(-1, n)).astype(np.float32)


def fit_no_change(table: EffectTable) -> Effect:
    """The effect is 0."""
    return LineMean(np.zeros((len(table.trained_lines) + 1, len(table.genes)), dtype=np.float32), table.trained_lines)


def fit_mean_effect(table: EffectTable) -> Effect:
    """Mean of the line's training effects, every perturbation counting the same; untrained lines: mean over lines."""
    everything = np.ones(len(table), dtype=bool)
    return LineMean(line_weights(table, everything, "conditions") @ table.delta_pg, table.trained_lines)


def fit_context_mean(table: EffectTable) -> Effect:
    """Mean over all perturbed training cells of the line minus its batch-matched controls; untrained lines: 0."""
    weight_lp = line_weights(table, np.ones(len(table), dtype=bool), "cells")
    weight_lp[-1] = 0
    return LineMean(weight_lp @ table.delta_pg, table.trained_lines)


def fit_cell_line_mean(table: EffectTable) -> Effect:
    """`context_mean` for trained lines, else the mean over lines of their `mean_effect`."""
    everything = np.ones(len(table), dtype=bool)
    weight_lp = line_weights(table, everything, "cells")
    weight_lp[-1] = line_weights(table, everything, "conditions")[-1]
    return LineMean(weight_lp @ table.delta_pg, table.trained_lines)


def fit_pert_mean(table: EffectTable) -> Effect:
    """Unweighted mean of the same perturbation's effects over training lines; 0 if it was never seen."""
    ones_p = np.ones(len(table), dtype=np.float32)
    other_1g = np.zeros((1, len(table.genes)), dtype=np.float32)
    return SeenEffect(table.delta_pg, table.conditions.actions, ones_p, other_1g, sum_components=False)


def fit_txpert_general(table: EffectTable) -> Effect:
    """Cell-weighted mean of the perturbation's effects over lines; unseen: cell-weighted mean of all; combos: sums."""
    weight_p = table.n_cells_p.astype(np.float32)
    other_1g = (weight_p / weight_p.sum())[None] @ table.delta_pg
    return SeenEffect(table.delta_pg, table.conditions.actions, weight_p, other_1g, sum_components=True)


def fit_random(table: EffectTable, seed: int = 0) -> Effect:
    """The effect of a random training perturbation of the same line."""
    return RandomEffect(table.delta_pg, table.trained_lines, table.line_p, seed)


def fit_random_gaussian(table: EffectTable, seed: int = 0) -> Effect:
    """Gaussian noise with the norm of the line's training effects."""
    square_p = np.einsum("pg,pg->p", table.delta_pg, table.delta_pg) / table.delta_pg.shape[1]
    weight_lp = line_weights(table, np.ones(len(table), dtype=bool), "conditions")
    directions = np.random.default_rng(seed).standard_normal((N_DIRECTIONS, len(table.genes)), dtype=np.float32)
    return GaussianEffect(directions, table.trained_lines, np.sqrt(weight_lp @ square_p), seed)


def _condition_rng(seed: int, conditions: Conditions, row: int) -> np.random.Generator:
    action = conditions.actions[row]
    name = f"{conditions.cell_line[row]}|{action.label}|{action.mode}|{action.dose}"
    return np.random.default_rng([seed, zlib.crc32(name.encode())])
