"""What the action stage learns from: conditions, each a start in latent space, a goal there, and a measured effect.

    z = context + what the base changes,   goal = measured change of latents - what the base changes
    effect = measured effect - base

The base is another model's prediction of the effect, made without the condition, or nothing. Goals and effects are against
`reference` controls, as out-of-fold bases are, so the noise of the controls that the model reads is not learnt.

Letters: m lessons, g genes, d latent width, l lines, b lessons of a batch, k genes of a batch, p slots.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vc_model.baselines.singles import noise_weights
from vc_model.biojepa.actions import ActionBank, Arrays
from vc_model.biojepa.pooled import MeanLatents, PooledLatents
from vc_model.errors import TableError
from vc_model.table.effects import Conditions, EffectTable
from vc_model.table.folds import OutOfFold, known_before
from vc_model.table.pseudobulk import ControlCells

GENE_SHARE = 0.25
"""Share of the genes that an update looks at: attention reads means over genes, which a quarter of them estimates."""
FEWEST_GENES = 128
"""Genes below which an update looks at all."""


@dataclass(frozen=True, eq=False)
class Lessons:
    """Conditions to learn from; a condition occurs once for every base that it has.

    Attributes:
        row_m: [m] row of the training table.
        bin_m: [m] kind of condition that the base takes it for (`vc_model.table.folds.BINS`).
        conditions: Those of the rows.
        context_lgd: [l, g, d] float32 mean latents of control cells.
        line_m: [m] position of the context.
        start_mgd: [m, g, d] float16, what the base changes, or None without one.
        change_pgd: [rows of the table, g, d] float16, measured change of latents.
        effect_mg: [m, g] float32, measured effect less the base.
        base_mg: [m, g] float32.
        weight_m: [m] float32 with mean 1.
    """

    row_m: np.ndarray
    bin_m: np.ndarray
    conditions: Conditions
    context_lgd: np.ndarray
    line_m: np.ndarray
    start_mgd: np.ndarray | None
    change_pgd: np.ndarray
    effect_mg: np.ndarray
    base_mg: np.ndarray
    weight_m: np.ndarray

    def __len__(self) -> int:
        return len(self.row_m)

    def start(self, at: np.ndarray, gene: np.ndarray) -> np.ndarray:
        """[b, k, d] float32 latents from which some lessons start."""
        z_bkd = self.context_lgd[self.line_m[at][:, None], gene]
        return z_bkd if self.start_mgd is None else z_bkd + self.start_mgd[at[:, None], gene]

    def goal(self, at: np.ndarray, gene: np.ndarray) -> np.ndarray:
        """[b, k, d] float32 change of latents that is left to predict."""
        goal_bkd = self.change_pgd[self.row_m[at][:, None], gene].astype(np.float32)
        return goal_bkd if self.start_mgd is None else goal_bkd - self.start_mgd[at[:, None], gene]


def make_lessons(
    table: EffectTable,
    pooled: PooledLatents,
    controls: ControlCells,
    means: MeanLatents,
    base: OutOfFold | None = None,
    name: str = "",
) -> Lessons:
    """Join measured effects, latents and a base.

    Args:
        table: Training effects.
        pooled: Latents of its conditions.
        controls: `input` controls of every line.
        means: The frozen encoder.
        base: Out-of-fold predictions of `half` effects, or None for no change.
        name: Of the base's predictions in `delta_mg`.
    """
    every = np.arange(len(table))
    row_m = every if base is None else base.row_m
    bin_m = known_before(table, every).bins(table.conditions) if base is None else base.bin_m
    conditions = table.conditions.subset(row_m)
    line_m = np.array([controls.lines.index(str(line)) for line in conditions.cell_line], np.int64)
    shape = (len(row_m), len(table.genes))
    base_mg = np.zeros(shape, np.float32) if base is None else base.delta_mg[name].astype(np.float32)
    start_mgd = None if base is None else shift_of(means, controls, line_m, base_mg)
    weight_m = noise_weights(table)[row_m]
    # A condition that has a base for several situations counts as one.
    weight_m /= np.bincount(row_m, minlength=len(table))[row_m]
    return Lessons(
        row_m, bin_m, conditions, pooled.context_lgd, line_m, start_mgd, pooled.change_pgd,
        table.half_pg[row_m] - base_mg, base_mg, (weight_m / weight_m.mean()).astype(np.float32),
    )  # fmt: skip


def shift_of(means: MeanLatents, controls: ControlCells, line_m: np.ndarray, base_mg: np.ndarray) -> np.ndarray:
    """[m, g, d] float16, how control latents change by a predicted effect.

    Args:
        means: The frozen encoder.
        controls: Control cells of every line.
        line_m: [m] position of each effect's line.
        base_mg: [m, g] effects.
    """
    width = means.width
    start_mgd = np.zeros((*base_mg.shape, width), np.float16)
    for line in np.unique(line_m):
        rows, (x_ng, total_n) = np.flatnonzero(line_m == line), controls.of(controls.lines[line])
        profile_mg = np.maximum(x_ng.mean(axis=0) + base_mg[rows], 0)
        start_mgd[rows] = means.shift(x_ng, total_n, profile_mg)
    return start_mgd


class ConditionBatches:
    """Endless batches of lessons; each is a function of the seed and the step.

    Args:
        lessons: All of them.
        bank: Vectors of their targets.
        batch_size: Lessons of a batch, of this process.
        seed: Of the draws.
        allowed: Which lessons may be drawn; all by default.
        process: Which process this is, and of how many.

    Raises:
        TableError: If none may be drawn.
    """

    def __init__(
        self,
        lessons: Lessons,
        bank: ActionBank,
        *,
        batch_size: int,
        seed: int,
        allowed: np.ndarray | None = None,
        process: tuple[int, int] = (0, 1),
    ) -> None:
        self._lessons, self._bank, self._seed, self._step = lessons, bank, seed, 0
        self._allowed = np.arange(len(lessons)) if allowed is None else allowed
        if not len(self._allowed) or batch_size < 1:
            raise TableError(
                f"conditions: expected a batch of at least one of some conditions, found {batch_size} of "
                f"{len(self._allowed)}. Give a batch size, or a split with training conditions."
            )
        self._size, self._process = batch_size, process
        actions = lessons.conditions.actions
        self._index_mp = bank.index(actions)
        self._mode_m = np.array([action.mode for action in actions], np.int64)
        self._dose_m = np.array([action.dose for action in actions], np.float32)
        self.n_genes = lessons.effect_mg.shape[1]
        self.per_epoch = max(1, len(self._allowed) // (batch_size * process[1]))
        # What the losses are measured by: 1 is what predicting no change costs.
        some = np.arange(0, self.n_genes, max(1, self.n_genes // FEWEST_GENES))
        goal_mkd = lessons.goal(self._allowed, some)
        self._unit = float(np.square(goal_mkd).mean()), float(np.square(lessons.effect_mg[self._allowed]).mean())

    def __iter__(self) -> Iterator[Arrays]:
        """Batches from the present position."""
        while True:
            yield self.at(self._step)

    def at(self, step: int) -> Arrays:
        """The batch of a step; moves there."""
        self._step = step + 1
        (at, of), rng = self._process, np.random.default_rng([self._seed, step])
        n = self._size * of
        drawn = self._allowed[rng.choice(len(self._allowed), n, replace=len(self._allowed) < n)][at::of]
        k = min(self.n_genes, max(FEWEST_GENES, int(GENE_SHARE * self.n_genes)))
        gene = np.sort(rng.choice(self.n_genes, k, replace=False))
        lessons, weight_b = self._lessons, self._lessons.weight_m[drawn]
        latent, effect = (weight_b / max(unit, 1e-12) for unit in self._unit)
        return {
            "z": lessons.start(drawn, gene).astype(np.float32),
            "z_goal": lessons.goal(drawn, gene),
            "x_goal": lessons.effect_mg[drawn[:, None], gene],
            "gene": gene.astype(np.int32),
            "weight_latent": latent.astype(np.float32),
            "weight_effect": effect.astype(np.float32),
            **self._bank.take(self._index_mp[drawn], self._mode_m[drawn], self._dose_m[drawn]),
        }

    def get_state(self) -> dict[str, Any]:
        """Position."""
        return {"step": self._step}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a position."""
        self._step = int(state["step"])


def without(lessons: Lessons, rows: np.ndarray) -> np.ndarray:
    """Lessons of conditions that share no row with a held-out fold."""
    return np.flatnonzero(~np.isin(lessons.row_m, rows))
