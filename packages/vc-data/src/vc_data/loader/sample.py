"""Which cells make which batch: everything random, and nothing that touches expression.

A *unit* is a training condition (cell line, perturbation). An *item* is what a batch holds several of: a set of cells of
one unit, a single cell, or a unit's profile. Every epoch cuts each unit's rows anew into *blocks* of neighbouring rows
(small enough to hold, large enough to read fast) and each block into items, in random order. Blocks are put in random
order, and items are shuffled further within a sliding window of some ten thousand cells, so that a batch mixes many
units while only the window is in memory.

All is a function of the settings, the seed and the step: any step can be drawn without those before it.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from vc_data.errors import ContractError, VcDataError, few
from vc_data.loader.packed import PackedScreen
from vc_data.split import Splits, read_splits

MODES = ("sets", "cells", "pseudobulk")
POOLS = ("input", "reference")
TIERS = ("same_batch", "same_cell_line")
"""Where a matched control comes from, best first; positions are the codes in a batch's `*_tier`."""
BLOCK_CELLS = 512
"""Most cells of a unit that are read at once."""
_EPOCH, _BLOCK, _CONTROLS = range(3)  # streams of random numbers


class LoaderError(VcDataError):
    """Screens, splits or settings that do not go together; the message says which to change."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """How often items are drawn, where that is not once per epoch.

    An epoch keeps its length; each unit gets its expected number of items, rounded up or down at random.
    """

    dataset: Mapping[str, float] = field(default_factory=dict)
    """Data set -> its share of the items, in any unit; all data sets or none. Default: by size."""
    perturbation: Mapping[str, float] = field(default_factory=dict)
    """Perturbation -> how much more often than by size; 1 where not named, 0 for never."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to sample; see `Loader.open`."""

    mode: Literal["sets", "cells", "pseudobulk"]
    set_size: int
    batch_size: int
    seed: int
    controls: tuple[str, ...]
    shuffle_cells: int
    process_index: int
    process_count: int


class Condition(NamedTuple):
    """A unit of training: position of its screen, names, and number of cells."""

    screen: int
    cell_line: str
    perturbation: str
    target: str
    n_cells: int


class Batch(NamedTuple):
    """An experimental batch: position of its screen, and names."""

    screen: int
    cell_line: str
    batch: str


@dataclass(frozen=True)
class Pool:
    """Controls of one list of one screen, sorted by (cell line, batch)."""

    rows: np.ndarray
    """[m] packed rows."""
    lo: np.ndarray
    """[pairs] First position of each (cell line, batch); `hi` the one after the last."""
    hi: np.ndarray
    line_lo: np.ndarray
    """[pairs] The same of the pair's whole cell line."""
    line_hi: np.ndarray

    def draw(self, pairs: np.ndarray, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions in `rows` and tiers, for cells of the given pairs and uniform numbers in [0, 1)."""
        lo, hi = self.lo[pairs], self.hi[pairs]
        tier = (lo == hi).astype(np.int8)
        lo, hi = np.where(tier, self.line_lo[pairs], lo), np.where(tier, self.line_hi[pairs], hi)
        return lo + (uniform * (hi - lo)).astype(np.int64), tier


@dataclass(frozen=True)
class Draw:
    """The cells of one batch; b items of s cells (s = 1 in mode `cells`, 0 in mode `pseudobulk`)."""

    unit: np.ndarray
    """[b]"""
    block: np.ndarray
    """[b] Block of the epoch that holds the item."""
    rows: np.ndarray
    """[b, s] packed rows of the unit's screen."""
    mask: np.ndarray
    """[b, s], or [b] in mode `pseudobulk`: false for repeats."""
    controls: dict[str, tuple[np.ndarray, np.ndarray]]
    """List -> positions in the screen's pool [b, s], tiers [b, s]."""


@dataclass(frozen=True)
class Plan:
    """One epoch of one process."""

    block_unit: np.ndarray
    """[k] Unit of each block."""
    lo: np.ndarray
    """[k] Where the block begins in `Sampler.rows`; `hi` where it ends."""
    hi: np.ndarray
    item_block: np.ndarray
    """[i] Block of each item, in the order in which items are served."""
    item: np.ndarray
    """[i] Which item of its block."""
    first: np.ndarray
    """[k] Position of the first item that needs the block (past the end: never); `last` of the last one (-1: never)."""
    last: np.ndarray
    arrival: np.ndarray
    """Blocks that are used, in the order of `first`."""


class Sampler:
    """Draws batches of cells from packed screens.

    Args:
        screens: Open screens; one gene axis, different data sets.
        splits: One per screen; None takes every condition and every control.
        settings: How to sample.
        weights: How often.

    Raises:
        LoaderError: The screens do not go together, or nothing is left to train on.
        ContractError: A split does not belong to its screen.
    """

    def __init__(
        self,
        screens: Sequence[PackedScreen],
        splits: Sequence[Path | None],
        settings: Settings,
        weights: Weights | None,
    ):
        self.screens, self.settings = list(screens), settings
        _check_screens(self.screens)
        read = [None if path is None else read_splits(path) for path in splits]
        for screen, split, path in zip(screens, read, splits, strict=True):
            if split is not None:
                _check_split(screen, split, path)
        self.excluded: list[Condition] = []
        """Conditions in some split's training part that another split holds out, and that are left out therefore."""
        self.pools = [
            {name: _make_pool(screen, split, name) for name in POOLS}
            for screen, split in zip(screens, read, strict=True)
        ]
        self.conditions, self.rows, self.starts = self._make_units(read)
        self.batches = [Batch(i, *pair) for i, screen in enumerate(screens) for pair in screen.pools]
        self.batch_base = np.cumsum([0, *(len(screen.pools) for screen in screens)])
        self.perturbations = sorted({c.perturbation for c in self.conditions})
        self.cell_lines = sorted({c.cell_line for c in self.conditions})
        self.unit_screen = np.array([c.screen for c in self.conditions])
        self.unit_perturbation = np.searchsorted(self.perturbations, [c.perturbation for c in self.conditions])
        self.unit_cell_line = np.searchsorted(self.cell_lines, [c.cell_line for c in self.conditions])
        self.fallbacks = self._count_fallbacks()
        """List -> tier -> number of training cells whose controls come from there (the same in every epoch)."""
        n_cells = np.diff(self.starts)
        self._cells_per_item = {"sets": settings.set_size, "cells": 1, "pseudobulk": int(n_cells.max())}[settings.mode]
        self._items = -(-n_cells // self._cells_per_item)
        self._share = self._make_shares(weights)
        self.items_per_epoch = int(self._items.sum())
        """Over all processes."""
        if self.items_per_epoch < settings.process_count:
            found = f"{self.items_per_epoch} {settings.mode}"
            expected = f"one item or more for each of {settings.process_count} processes"
            raise LoaderError("Loader.open", "process_count", expected, found, "Take fewer processes or smaller sets.")
        per_process = -(-self.items_per_epoch // settings.process_count)
        self.steps_per_epoch = -(-per_process // settings.batch_size)
        """Of every process; short ones fill up with masked repeats."""
        self.plan = functools.lru_cache(maxsize=2)(self._make_plan)
        self._permutation = functools.lru_cache(maxsize=1024)(self._make_permutation)

    def fingerprint(self) -> str:
        """Hash of all that decides the sequence of batches."""
        parts = [dataclasses.asdict(self.settings), self._share.tolist() if self._share is not None else None]
        parts += [[screen.attributes["content_sha256"] for screen in self.screens], self.conditions]
        digest = hashlib.sha256(json.dumps(parts).encode())
        digest.update(self.rows)
        for name in self.settings.controls:
            for pools in self.pools:
                digest.update(pools[name].rows)
        return digest.hexdigest()

    def draw(self, step: int) -> Draw:
        """Draw the batch of a step, counted over all epochs."""
        settings, plan = self.settings, self.plan(step // self.steps_per_epoch)
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        at = step_in_epoch * settings.batch_size + np.arange(settings.batch_size)
        n = len(plan.item)
        block, item, within = plan.item_block[at % n], plan.item[at % n], at < n
        unit = plan.block_unit[block]
        if settings.mode == "pseudobulk":
            return Draw(unit, block, np.empty((len(at), 0), np.int64), within, {})
        size = self._cells_per_item
        rows, mask = np.empty((len(at), size), np.int64), np.ones((len(at), size), bool)
        if settings.mode == "cells":
            rows[:, 0] = self.rows[plan.lo[block] + item]
            return Draw(unit, block, rows, mask & within[:, None], {})
        for i, (b, j) in enumerate(zip(block.tolist(), item.tolist(), strict=True)):
            cells = self.rows[plan.lo[b] : plan.hi[b]]
            places = j * size + np.arange(size)
            # A short set is filled with other cells of its block, or with its own again where there are no others.
            rows[i] = cells[self._permutation(epoch, b, len(cells))[places % len(cells)]]
            mask[i] = places < len(cells)
        controls = self._draw_controls(step, unit, rows)
        return Draw(unit, block, rows, mask & within[:, None], controls)

    def span(self, plan: Plan, block: int) -> tuple[int, int, int]:
        """Screen and packed rows [start, stop) that hold a block."""
        rows = self.rows
        unit = plan.block_unit[block]
        return int(self.unit_screen[unit]), int(rows[plan.lo[block]]), int(rows[plan.hi[block] - 1]) + 1

    def _draw_controls(self, step: int, unit: np.ndarray, rows: np.ndarray) -> dict:
        rng = self._rng(_CONTROLS, step, self.settings.process_index)
        out = {}
        for name in self.settings.controls:
            uniform = rng.random(rows.shape)
            positions, tiers = np.empty(rows.shape, np.int64), np.empty(rows.shape, np.int8)
            for s in np.unique(self.unit_screen[unit]):
                of = self.unit_screen[unit] == s
                pairs = self.screens[s].pool[rows[of]]
                positions[of], tiers[of] = self.pools[s][name].draw(pairs, uniform[of])
            out[name] = positions, tiers
        return out

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, *stream])

    def _make_permutation(self, epoch: int, block: int, n: int) -> np.ndarray:
        return self._rng(_BLOCK, epoch, block).permutation(n)

    def _make_plan(self, epoch: int) -> Plan:
        rng, settings = self._rng(_EPOCH, epoch), self.settings
        unit, of_pass, first, last, drop = self._cut_blocks(rng)
        size = self._cells_per_item
        lo = self.starts[unit] + first * size
        hi = np.minimum(self.starts[unit] + last * size, self.starts[unit + 1])
        order = rng.permutation(len(unit))
        n_items = (last - first)[order]
        item_block = np.repeat(order, n_items)
        item = np.arange(n_items.sum()) - np.repeat(np.cumsum(n_items) - n_items, n_items)
        if drop is not None:
            keep = _choose(rng, of_pass[item_block], drop)
            item_block, item = item_block[keep], item[keep]
        # Processes take equal shares of the shuffled blocks; at most one block per border is read by two of them.
        n, p = len(item), settings.process_count
        mine = slice(settings.process_index * n // p, (settings.process_index + 1) * n // p)
        item_block, item = item_block[mine], item[mine]
        window = max(1, settings.shuffle_cells // size)
        served = np.argsort(np.arange(len(item)) + window * rng.random(n)[mine], kind="stable")
        item_block, item = item_block[served].astype(np.int32), item[served].astype(np.int32)
        first_use, last_use = np.full(len(unit), len(item)), np.full(len(unit), -1)
        first_use[item_block[::-1]] = np.arange(len(item))[::-1]
        last_use[item_block] = np.arange(len(item))
        arrival = np.argsort(first_use, kind="stable")[: int((last_use >= 0).sum())]
        return Plan(unit, lo, hi, item_block, item, first_use, last_use, arrival)

    def _cut_blocks(self, rng: np.random.Generator):
        """Cut every unit into blocks of items.

        Returns:
            Per block: unit, pass, first item, the one after the last; per pass: number of items to drop (or None).
        """
        unit, drop = np.arange(len(self._items)), None
        if self._share is not None:
            wanted = np.diff(np.floor(np.cumsum([0, *self._share]) * self.items_per_epoch + rng.random())).astype(int)
            passes = -(-wanted // self._items)
            unit = np.repeat(unit, passes)
            drop = np.zeros(len(unit), int)
            drop[np.cumsum(passes)[passes > 0] - 1] = (passes * self._items - wanted)[passes > 0]
        items = self._items[unit]
        per_block = max(1, BLOCK_CELLS // self._cells_per_item)
        # The first block of a unit has a random size, so that the borders fall elsewhere in every epoch.
        head = rng.integers(0, np.minimum(items, per_block))
        has_head = (head > 0).astype(int)
        n_blocks = has_head - (-(items - head) // per_block)
        # A last block of one item joins the one before, so that a short set is filled with other cells.
        n_blocks -= (n_blocks > 1) & ((items - head - 1) % per_block == 0)
        of_pass = np.repeat(np.arange(len(unit)), n_blocks)
        j = np.arange(len(of_pass)) - np.repeat(np.cumsum(n_blocks) - n_blocks, n_blocks)
        begin = head[of_pass] + (j - has_head[of_pass]) * per_block
        first = np.maximum(begin, 0)
        last = np.where(j == n_blocks[of_pass] - 1, items[of_pass], begin + per_block)
        return unit[of_pass], of_pass, first, last, drop

    def _make_units(self, splits: Sequence[Splits | None]):
        """Conditions to train on, their packed rows one after the other, and where each begins."""
        conditions, rows = [], []
        held_out = [_held_targets(screen, split) for screen, split in zip(self.screens, splits, strict=True)]
        for s, (screen, split) in enumerate(zip(self.screens, splits, strict=True)):
            train = None if split is None else set(split.part("train"))
            for line, perturbation, target, start, stop in screen.conditions:
                condition = Condition(s, line, perturbation, target, stop - start)
                if perturbation == "control":
                    if self.settings.mode != "cells":
                        continue
                    allowed = np.union1d(*(self.pools[s][name].rows for name in POOLS))
                    own = allowed[(allowed >= start) & (allowed < stop)]
                    if not len(own):
                        continue
                    condition = condition._replace(n_cells=len(own))
                elif train is not None and (line, perturbation) not in train:
                    continue
                elif _is_held_out(condition, held_out):
                    self.excluded.append(condition)
                    continue
                else:
                    own = np.arange(start, stop)
                conditions.append(condition)
                rows.append(own)
        if not any(c.perturbation != "control" for c in conditions) and self.settings.mode != "cells":
            found = f"none ({len(self.excluded)} are held out by another split)"
            raise LoaderError("screens", "conditions", "one or more to train on", found, "Pass other splits.")
        starts = np.cumsum([0, *(len(own) for own in rows)])
        return conditions, np.concatenate(rows), starts

    def _count_fallbacks(self) -> dict[str, dict[str, int]]:
        """Count training cells by tier, and refuse cell lines without any control."""
        if self.settings.mode == "cells":
            return {}
        counts = {name: dict.fromkeys(TIERS, 0) for name in self.settings.controls}
        for name in self.settings.controls:
            for u, condition in enumerate(self.conditions):
                screen, pool = self.screens[condition.screen], self.pools[condition.screen][name]
                pairs = screen.pool[self.rows[self.starts[u] : self.starts[u + 1]]]
                if (pool.line_lo[pairs] == pool.line_hi[pairs]).any():
                    found = f"none for {condition.cell_line!r}"
                    do = "Mark the conditions of that cell line as unused in the split, or add controls to the list."
                    raise LoaderError(screen.screen_path, f"controls[{name!r}]", "some in each cell line", found, do)
                without = int((pool.lo[pairs] == pool.hi[pairs]).sum())
                counts[name][TIERS[1]] += without
                counts[name][TIERS[0]] += len(pairs) - without
        return counts

    def _make_shares(self, weights: Weights | None) -> np.ndarray | None:
        """[units] Share of the items that each unit gets, or None where each item is served once."""
        if weights is None or not (weights.dataset or weights.perturbation):
            return None
        datasets = [_dataset(screen) for screen in self.screens]
        for given, known, name, all_of in (
            (weights.dataset, set(datasets), "dataset", True),
            (weights.perturbation, set(self.perturbations), "perturbation", False),
        ):
            bad = [key for key in given if key not in known]
            if bad or (all_of and given and set(given) != known):
                found = f"unknown ones: {few(bad)}" if bad else f"only {few(given)}"
                raise LoaderError("weights", name, f"names among {few(sorted(known))}", found, "Mend the weights.")
            if any(not (np.isfinite(value) and value >= 0) for value in given.values()):
                raise LoaderError("weights", name, "finite values of 0 or more", dict(given), "Mend the weights.")
        share = self._items * np.array([weights.perturbation.get(c.perturbation, 1.0) for c in self.conditions])
        if weights.dataset:
            for s, dataset in enumerate(datasets):
                of = self.unit_screen == s
                if share[of].sum() > 0:
                    share[of] *= weights.dataset[dataset] / share[of].sum()
        if share.sum() <= 0:
            raise LoaderError("weights", "all", "a positive sum", "0 for every condition", "Mend the weights.")
        return share / share.sum()


def _choose(rng: np.random.Generator, of_pass: np.ndarray, drop: np.ndarray) -> np.ndarray:
    """Mask that drops the given number of items from each pass, at random."""
    order = np.lexsort((rng.random(len(of_pass)), of_pass))
    start = np.searchsorted(of_pass[order], np.arange(len(drop)))
    keep = np.ones(len(of_pass), bool)
    keep[order] = np.arange(len(order)) - start[of_pass[order]] >= drop[of_pass[order]]
    return keep


def _dataset(screen: PackedScreen) -> str:
    return ",".join(screen.attributes["dataset"])


def _check_screens(screens: Sequence[PackedScreen]) -> None:
    """One gene axis, and no data twice."""
    seen: dict[str, Path] = {}
    for screen in screens:
        keys = [f"dataset {name!r}" for name in screen.attributes["dataset"]]
        for key in [*keys, f"counts (sha256 {screen.attributes['content_sha256'][:12]})"]:
            if key in seen:
                found = f"{key} also in {seen[key]}"
                raise LoaderError(screen.screen_path, "dataset", "each once in a mix", found, "Pass one of the two.")
            seen[key] = screen.screen_path
        if screen.genes != screens[0].genes:
            ours, first = set(screen.genes), set(screens[0].genes)
            found = f"{len(ours - first)} others, {len(first - ours)} missing, or another order"
            expected = f"the {len(first)} genes of {screens[0].screen_path} in that order"
            raise LoaderError(screen.screen_path, "var", expected, found, "Convert both with the same --genes.")


def _check_split(screen: PackedScreen, split: Splits, path: Path) -> None:
    """The split's conditions and controls are those of the screen."""
    do = "Pass the split of this screen, or make it again with 'vc-data split'."
    held = {(line, name) for line, name, *_ in screen.conditions if name != "control"}
    listed = {(c["cell_line"], c["perturbation"]) for c in split.conditions}
    if held != listed:
        found = f"{len(listed - held)} others {few(sorted(listed - held))}, {len(held - listed)} missing"
        raise ContractError(path, "conditions", f"those of {screen.screen_path}", found, do)
    names = set(screen.attributes["control_names"])
    for name, cells in split.controls.items():
        others = [cell for cell in cells if cell not in names]
        if others:
            expected = f"control cells of {screen.screen_path}"
            raise ContractError(path, f"controls[{name!r}]", expected, f"others: {few(others)}", do)


def _make_pool(screen: PackedScreen, split: Splits | None, name: str) -> Pool:
    """Controls of one list; without a split, all controls of the screen."""
    spans = [
        np.arange(start, stop) for _, perturbation, _, start, stop in screen.conditions if perturbation == "control"
    ]
    rows = np.concatenate(spans)
    if split is not None:
        listed = set(split.controls[name])
        rows = rows[[cell in listed for cell in screen.attributes["control_names"]]]
    pairs = screen.pool[rows]
    order = np.argsort(pairs, kind="stable")
    # Pairs are numbered in the order of their names, so those of one cell line are neighbours.
    lines = np.array([line for line, _ in screen.pools])
    _, line_first, line_of = np.unique(lines, return_index=True, return_inverse=True)
    lo, hi = (np.searchsorted(pairs[order], np.arange(len(lines)), side=side) for side in ("left", "right"))
    line_last = np.append(line_first[1:], len(lines)) - 1
    return Pool(rows[order], lo, hi, lo[line_first][line_of], hi[line_last][line_of])


class _HeldOut(NamedTuple):
    """Targets that a split keeps from training: of any cell line, and per cell line."""

    anywhere: set[frozenset[str]]
    in_line: dict[str, set[frozenset[str]]]


def _held_targets(screen: PackedScreen, split: Splits | None) -> _HeldOut:
    held = _HeldOut(set(), {})
    if split is None:
        return held
    target = {(line, name): frozenset(target.split("+")) for line, name, target, *_ in screen.conditions}
    for line, name in split.part("val") + split.part("test"):
        held.in_line.setdefault(line, set()).add(target[line, name])
        if split.recipe == "by_perturbation":
            held.anywhere.add(target[line, name])
    return held


def _is_held_out(condition: Condition, held_out: Sequence[_HeldOut]) -> bool:
    """Whether any split of the mix holds out what a condition would show.

    A split by perturbation holds its targets out of every cell line, the other recipes out of the cell line they name.
    Of another screen than the split's own, a combination with a target that is held out alone is left out as well.
    """
    targets = frozenset(condition.target.split("+"))
    for s, held in enumerate(held_out):
        all_held = held.anywhere | held.in_line.get(condition.cell_line, set())
        if targets in all_held or (s != condition.screen and any(frozenset([name]) in all_held for name in targets)):
            return True
    return False
