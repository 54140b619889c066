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
from typing import Literal

import numpy as np

from vc_data.errors import few
from vc_data.loader.eligible import Batch, Eligible, LoaderError, count_fallbacks
from vc_data.loader.packed import PackedScreen

MODES = ("sets", "cells", "pseudobulk")
BLOCK_CELLS = 512
"""Most cells of a unit that are read at once."""
_EPOCH, _BLOCK, _CONTROLS = range(3)  # streams of random numbers


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
class Epoch:
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
        screens: Open screens.
        eligible: What of them to train on.
        settings: How to sample.
        weights: How often.

    Raises:
        LoaderError: A cell line without controls, weights of unknown names, or fewer items than processes.
    """

    def __init__(
        self, screens: Sequence[PackedScreen], eligible: Eligible, settings: Settings, weights: Weights | None = None
    ):
        self.screens, self.settings = list(screens), settings
        self.conditions, self.rows, self.starts = eligible.conditions, eligible.rows, eligible.starts
        self.pools, self.excluded = eligible.pools, eligible.excluded
        self.batches = [Batch(i, *pair) for i, screen in enumerate(screens) for pair in screen.pools]
        self.batch_base = np.cumsum([0, *(len(screen.pools) for screen in screens)])
        self.perturbations = sorted({c.perturbation for c in self.conditions})
        self.cell_lines = sorted({c.cell_line for c in self.conditions})
        self.unit_screen = np.array([c.screen for c in self.conditions])
        self.unit_perturbation = np.searchsorted(self.perturbations, [c.perturbation for c in self.conditions])
        self.unit_cell_line = np.searchsorted(self.cell_lines, [c.cell_line for c in self.conditions])
        self.fallbacks = count_fallbacks(screens, eligible, settings.controls)
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

    @functools.cached_property
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

    def span(self, plan: Epoch, block: int) -> tuple[int, int, int]:
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

    def _make_plan(self, epoch: int) -> Epoch:
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
        return Epoch(unit, lo, hi, item_block, item, first_use, last_use, arrival)

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

    def _make_shares(self, weights: Weights | None) -> np.ndarray | None:
        """[units] Share of the items that each unit gets, or None where each item is served once."""
        if weights is None or not (weights.dataset or weights.perturbation):
            return None
        datasets = [",".join(screen.attributes["dataset"]) for screen in self.screens]
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
