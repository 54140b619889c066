"""Cells of training conditions and their controls, and endless batches of sets drawn from them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vc_model.contracts import Screen, Splits, read_screen, read_splits
from vc_model.errors import TableError
from vc_model.st.actions import ActionTable
from vc_model.st.config import StConfig
from vc_model.table.effects import Action, EffectTable
from vc_model.table.pseudobulk import ControlCells, log1p_cp10k
from vc_model.table.shift import shift_cells, shift_factors

NOTHING = Action(())


@dataclass(frozen=True, eq=False)
class CellSets:
    """Cells by condition.

    Attributes:
        x_ng: [n, g] float32, log1p CP10k.
        condition_n: [n] int, the condition of each cell.
        line_p: [p] name of the condition's cell line.
        action_p: The condition's action; one without targets for controls.
        base_pg: [p, g] float32 mean that the cells of a condition are expected to have by another model, for a mapper that is
            anchored; None otherwise.
    """

    x_ng: np.ndarray
    condition_n: np.ndarray
    line_p: tuple[str, ...]
    action_p: tuple[Action, ...]
    base_pg: np.ndarray | None = None

    def rows(self) -> list[np.ndarray]:
        """Per condition the rows of its cells.

        Raises:
            TableError: If a condition has no cell, or its line no control cell.
        """
        order = np.argsort(self.condition_n, kind="stable")
        ends = np.searchsorted(self.condition_n[order], np.arange(len(self.line_p) + 1))
        found = [order[a:b] for a, b in pairwise(ends)]
        bare = [f"{self.line_p[at]}|{self.action_p[at].label}" for at, rows in enumerate(found) if len(rows) == 0]
        absent = sorted(set(self.line_p) - {self.line_p[at] for at in self.controls()})
        if bare or absent:
            raise TableError(f"cell sets: expected cells of every condition and controls of every line, found none of "
                             f"{(bare + absent)[:5]}. Leave them out.")  # fmt: skip
        return found

    def controls(self) -> list[int]:
        """Conditions that are controls."""
        return [at for at, action in enumerate(self.action_p) if not action.targets]

    def without(self, conditions: set[int]) -> "CellSets":
        """The same without some conditions."""
        keep = [at for at in range(len(self.line_p)) if at not in conditions]
        new = np.full(len(self.line_p), -1)
        new[keep] = np.arange(len(keep))
        cells = new[self.condition_n] >= 0
        return CellSets(
            self.x_ng[cells], new[self.condition_n[cells]],
            tuple(self.line_p[at] for at in keep), tuple(self.action_p[at] for at in keep),
            None if self.base_pg is None else self.base_pg[keep],
        )  # fmt: skip


def load_sets(
    screen: Screen | Path | str,
    splits: Splits | Path | str,
    table: EffectTable,
    controls: ControlCells,
    *,
    per_condition: int = 256,
    base_pg: np.ndarray | None = None,
) -> CellSets:
    """Read cells of the training conditions of a split; no cell of a held-out condition is read.

    Args:
        screen: screen-v1.
        splits: splits-v1 of that screen.
        table: Its training effects, whose genes and conditions are taken.
        controls: Input control cells over the same genes.
        per_condition: At most so many cells of each condition, evenly spaced over it.
        base_pg: [p, g] another model's profiles of the table's conditions.
    """
    import pandas as pd

    screen = screen if isinstance(screen, Screen) else read_screen(screen)
    splits = splits if isinstance(splits, Splits) else read_splits(splits, screen)
    columns = screen.var.index.get_indexer(pd.Index(list(table.genes)))
    places: dict[tuple[str, str], list[int]] = {}
    groups = (screen.groups[key] for key in ("cell_line", "perturbation", "start", "stop"))
    for line, label, start, stop in zip(*groups, strict=True):
        places.setdefault((str(line), str(label)), []).extend(range(int(start), int(stop)))
    blocks, code = [controls.x_ng], [controls.line_n]
    lines, actions = list(controls.lines), [NOTHING] * len(controls.lines)
    conditions = table.conditions
    for line, label, action in zip(conditions.cell_line, conditions.perturbation, conditions.actions, strict=True):
        rows = places[(str(line), str(label))]
        kept = [rows[at] for at in np.linspace(0, len(rows) - 1, min(per_condition, len(rows))).astype(int)]
        start = kept[0]
        picked: Any = log1p_cp10k(screen, start, kept[-1] + 1, columns)[np.array(kept) - start]
        blocks.append(picked.toarray().astype(np.float32))
        code.append(np.full(len(kept), len(lines)))
        lines.append(str(line))
        actions.append(action)
    if base_pg is not None:
        control_cg = np.stack([controls.of(line)[0].mean(axis=0) for line in controls.lines])
        base_pg = np.concatenate([control_cg, base_pg]).astype(np.float32)
    return CellSets(np.concatenate(blocks), np.concatenate(code), tuple(lines), tuple(actions), base_pg)


class SetBatches:
    """Endless batches of sets, each a function of the seed and the step (`vc_model.train.loop.Batches`).

    Args:
        sets: The cells.
        actions: Ids and features of their actions.
        config: Of the mapper.
        n_sets: Sets in a batch.
        seed: Of the draws.
        map_controls: Whether controls are also a condition, whose cells are to be kept as they are.
        hide_ids: Share of sets whose perturbation is shown as unknown, by its features alone, so that unseen ones are what the
            mapper was trained for.
    """

    def __init__(
        self,
        sets: CellSets,
        actions: ActionTable,
        config: StConfig,
        *,
        n_sets: int,
        seed: int,
        map_controls: bool = True,
        hide_ids: float = 0.5,
    ) -> None:
        self._hide = hide_ids if config.feature_width else 0.0
        self._sets, self._config, self._n, self._seed, self._step = sets, config, n_sets, seed, 0
        self._rows = sets.rows()
        self.mean_g = sets.x_ng.mean(axis=0)
        self._control_of = {sets.line_p[at]: at for at in sets.controls()}
        self._drawn = np.array([at for at, action in enumerate(sets.action_p) if map_controls or action.targets])
        self._id_p, self._feature_pf = actions.ids(sets.action_p), actions.features(sets.action_p)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """Batches from the present position."""
        while True:
            yield self.at(self._step)

    def at(self, step: int) -> dict[str, np.ndarray]:
        """The batch of a step; moves there."""
        self._step = step + 1
        rng = np.random.default_rng([self._seed, step])
        chosen = rng.choice(self._drawn, self._n, replace=len(self._drawn) < self._n)
        batch = [self._draw(int(condition), rng) for condition in chosen]
        out = {key: np.stack([one[key] for one in batch]) for key in batch[0]}
        out["pert_id"] = np.where(rng.random(len(chosen)) < self._hide, 0, self._id_p[chosen]).astype(np.int32)
        if self._config.feature_width:
            out["pert_feature"] = self._feature_pf[chosen]
        return out

    def _draw(self, condition: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        sets, size = self._sets, self._config.set_size
        case = _some(self._rows[condition], size, rng)
        pool = self._rows[self._control_of[sets.line_p[condition]]]
        # A control set maps to itself, which keeps identity exact.
        control = case if not sets.action_p[condition].targets else _some(pool, size, rng)
        one = {"x_control": sets.x_ng[control], "x_case": sets.x_ng[case]}
        if self._config.anchored:
            if sets.base_pg is None:
                raise TableError("cell sets: expected base_pg for an anchored mapper, found none.")
            factor_g = shift_factors(sets.x_ng[pool], sets.base_pg[condition])
            one["x_base"] = shift_cells(one["x_control"], factor_g)
        return one

    def get_state(self) -> dict[str, Any]:
        """Position."""
        return {"step": self._step}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a position."""
        self._step = int(state["step"])


def _some(rows: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    return rng.choice(rows, size, replace=len(rows) < size)
