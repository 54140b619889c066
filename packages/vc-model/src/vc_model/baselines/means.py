"""Baselines that know no perturbation features: no change, means, observed effects elsewhere, random effects.

All are weighted sums of training effects, so each fitted one is a rule that gives a weight per training row.
"""

import zlib
from dataclasses import dataclass

import numpy as np

from vc_model.effect import BasisEffect, Effect, line_rows, line_weights
from vc_model.table import Action, Conditions, EffectTable

N_DIRECTIONS = 256  # Gaussian directions that random effects are mixed from


@dataclass(frozen=True, eq=False)
class LineMean(BasisEffect):
    """One effect per cell line, whatever the perturbation.

    Attributes:
        basis_rg: [p, g] training effects.
        lines: Trained cell lines.
        weight_lp: [l + 1, p] weights per trained line; the last row is for lines without training conditions.
    """

    basis_rg: np.ndarray
    lines: tuple[str, ...]
    weight_lp: np.ndarray

    def weigh(self, conditions: Conditions) -> np.ndarray:
        """The weights of each condition's line."""
        return self.weight_lp[line_rows(self.lines, conditions)]


@dataclass(frozen=True, eq=False)
class SeenEffect(BasisEffect):
    """Average of the same perturbation's training effects over cell lines; unseen ones get `other_p`.

    Attributes:
        basis_rg: [p, g] training effects.
        actions: The p training actions.
        weight_p: [p] weight of each training row in an average.
        other_p: [p] weights for what was never seen.
        sum_components: Whether an unseen combination is the sum of its components instead.
    """

    basis_rg: np.ndarray
    actions: tuple[Action, ...]
    weight_p: np.ndarray
    other_p: np.ndarray
    sum_components: bool

    def weigh(self, conditions: Conditions) -> np.ndarray:
        """Average of matching rows: the same action, else the same targets and mode at any dose."""
        exact: dict[Action, list[int]] = {}
        alike: dict[tuple[tuple[str, ...], int], list[int]] = {}
        for row, action in enumerate(self.actions):
            exact.setdefault(action, []).append(row)
            alike.setdefault((action.targets, action.mode), []).append(row)
        weight_qp = np.zeros((len(conditions), len(self.actions)), dtype=np.float32)
        for q, action in enumerate(conditions.actions):
            rows = exact.get(action) or alike.get((action.targets, action.mode))
            if rows:
                weight_qp[q, rows] = self.weight_p[rows] / self.weight_p[rows].sum()
            elif self.sum_components and len(action.targets) > 1:
                parts = Conditions(conditions.cell_line[[q]], (action,)).components()[1]
                weight_qp[q] = self.weigh(parts).sum(axis=0)
            else:
                weight_qp[q] = self.other_p
        return weight_qp


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
    weight_lp = np.zeros((len(table.trained_lines) + 1, len(table)), dtype=np.float32)
    return LineMean(table.delta_pg, table.trained_lines, weight_lp)


def fit_mean_effect(table: EffectTable) -> Effect:
    """Mean of the line's training effects, every perturbation counting the same; untrained lines: mean over lines."""
    everything = np.ones(len(table), dtype=bool)
    return LineMean(table.delta_pg, table.trained_lines, line_weights(table, everything, "conditions"))


def fit_context_mean(table: EffectTable) -> Effect:
    """Mean over all perturbed training cells of the line minus its batch-matched controls; untrained lines: 0."""
    weight_lp = line_weights(table, np.ones(len(table), dtype=bool), "cells")
    weight_lp[-1] = 0
    return LineMean(table.delta_pg, table.trained_lines, weight_lp)


def fit_cell_line_mean(table: EffectTable) -> Effect:
    """`context_mean` for trained lines, else the mean over lines of their `mean_effect`."""
    everything = np.ones(len(table), dtype=bool)
    weight_lp = line_weights(table, everything, "cells")
    weight_lp[-1] = line_weights(table, everything, "conditions")[-1]
    return LineMean(table.delta_pg, table.trained_lines, weight_lp)


def fit_pert_mean(table: EffectTable) -> Effect:
    """Unweighted mean of the same perturbation's effects over training lines; 0 if it was never seen."""
    ones_p = np.ones(len(table), dtype=np.float32)
    return SeenEffect(table.delta_pg, table.conditions.actions, ones_p, 0 * ones_p, sum_components=False)


def fit_txpert_general(table: EffectTable) -> Effect:
    """Cell-weighted mean of the perturbation's effects over lines; unseen: cell-weighted mean of all; combos: sums."""
    weight_p = table.n_cells_p.astype(np.float32)
    other_p = weight_p / weight_p.sum()
    return SeenEffect(table.delta_pg, table.conditions.actions, weight_p, other_p, sum_components=True)


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
