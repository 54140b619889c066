"""What may be trained on: conditions and controls of the screens of a mix, under all of their splits.

Checks that the screens go together, that each split belongs to its screen, and leaves out what any split holds out.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from vc_contracts.rules import promise_of
from vc_contracts.store import open_store

from vc_data.errors import ContractError, VcDataError, few
from vc_data.loader.packed import PackedScreen
from vc_data.split.file import Splits, read_splits
from vc_data.split.leakage import check_leakage, check_studies
from vc_data.split.targets import TargetTable, read_targets, target_keys

POOLS = ("input", "reference")
TIERS = ("same_batch", "same_cell_line")
"""Where a matched control comes from, best first; positions are the codes in a batch's `*_tier`."""
_TRANSFER = ("target in line", "condition")
"""Promises (see `split.leakage`) of splits whose held-out targets may train in other cell lines or conditions."""


class LoaderError(VcDataError):
    """Screens, splits or settings that do not go together; the message says which to change."""


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
class Eligible:
    """The training part of a mix."""

    conditions: list[Condition]
    rows: np.ndarray
    """[m] int64: packed rows of all conditions, one condition after the other."""
    starts: np.ndarray
    """[conditions + 1] Where each begins in `rows`."""
    pools: list[dict[str, Pool]]
    """Per screen: list -> its controls."""
    excluded: list[Condition]
    """In the training part of their own split, and left out because of another condition that a split holds out."""


def select_cells(
    screens: Sequence[PackedScreen], split_paths: Sequence[Path | None], *, with_controls: bool
) -> Eligible:
    """Select what may be trained on.

    Args:
        screens: Open screens; one gene axis, different data sets.
        split_paths: One per screen; None takes every condition, and every control into each list.
        with_controls: Also select the controls of `input` and `reference` as conditions named `control`.

    Raises:
        LoaderError: The screens do not go together, or nothing is left.
        ContractError: A split breaks its contract or does not belong to its screen.
        LeakError: A split trains on what it says it holds out, or two screens are copies of one study.
    """
    _check_screens(screens)
    splits = [None if path is None else read_splits(path) for path in split_paths]
    for screen, split, path in zip(screens, splits, split_paths, strict=True):
        if split is not None and path is not None:
            _check_split(screen, split, path)
    pools = [
        {name: _make_pool(screen, split, name) for name in POOLS} for screen, split in zip(screens, splits, strict=True)
    ]
    keys = target_keys([_read_targets(screen) for screen in screens])
    held_out = [_held_targets(*member) for member in zip(screens, splits, keys, strict=True)]
    conditions, rows, excluded = [], [], []
    for s, (screen, split) in enumerate(zip(screens, splits, strict=True)):
        train = None if split is None else set(split.part("train"))
        for line, perturbation, target, start, stop in screen.conditions:
            condition, own = Condition(s, line, perturbation, target, stop - start), np.arange(start, stop)
            if perturbation == "control":
                allowed = np.zeros(stop - start, bool)
                for name in POOLS:
                    of_pool = pools[s][name].rows
                    allowed[of_pool[(of_pool >= start) & (of_pool < stop)] - start] = True
                own = start + np.flatnonzero(allowed)
                condition = condition._replace(n_cells=len(own))
                if not with_controls or not len(own):
                    continue
            elif train is not None and (line, perturbation) not in train:
                continue
            elif _is_held_out(condition, held_out, keys[s]):
                excluded.append(condition)
                continue
            conditions.append(condition)
            rows.append(own)
    if not conditions:
        found = f"none ({len(excluded)} are held out by another split)"
        raise LoaderError("screens", "conditions", "one or more to train on", found, "Pass other splits.")
    return Eligible(conditions, np.concatenate(rows), np.cumsum([0, *map(len, rows)]), pools, excluded)


def count_fallbacks(
    screens: Sequence[PackedScreen], eligible: Eligible, names: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Count training cells by the tier of their controls, per list.

    Raises:
        LoaderError: A cell line without any control of a list.
    """
    counts = {name: dict.fromkeys(TIERS, 0) for name in names}
    for name in names:
        for u, condition in enumerate(eligible.conditions):
            screen, pool = screens[condition.screen], eligible.pools[condition.screen][name]
            pairs = screen.pool[eligible.rows[eligible.starts[u] : eligible.starts[u + 1]]]
            if (pool.line_lo[pairs] == pool.line_hi[pairs]).any():
                found = f"none for {condition.cell_line!r}"
                do = "Mark the conditions of that cell line as unused in the split, or add controls to the list."
                raise LoaderError(screen.screen_path, f"controls[{name!r}]", "some in each cell line", found, do)
            without = int((pool.lo[pairs] == pool.hi[pairs]).sum())
            counts[name][TIERS[1]] += without
            counts[name][TIERS[0]] += len(pairs) - without
    return counts


def _check_screens(screens: Sequence[PackedScreen]) -> None:
    """One gene axis, and no data twice, nor two copies of one study."""
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
    check_studies([(str(screen.screen_path), screen.attributes["dataset"]) for screen in screens])


def _check_split(screen: PackedScreen, split: Splits, path: Path) -> None:
    """The split's conditions and controls are those of the screen, and it keeps what it promises."""
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
    promise = _promise(split)
    if promise is not None:
        targets = {(line, name): tuple(target.split("+")) for line, name, target, *_ in screen.conditions}
        table = [c | {"targets": targets[c["cell_line"], c["perturbation"]]} for c in split.conditions]
        check_leakage(table, promise, path)


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
    """What a split keeps from training: sets of targets, of any cell line and per cell line (case of names ignored)."""

    anywhere: set[frozenset[str]]
    in_line: dict[str, set[frozenset[str]]]
    everywhere_else: bool
    """Other screens leave the targets out of all cell lines, not only of the one that the split names."""


def _read_targets(screen: PackedScreen) -> TargetTable:
    """Targets of a screen and the genes that conversion linked them to."""
    from anndata.io import read_elem

    record = None
    with contextlib.ExitStack() as stack:
        path = Path(screen.screen_path)
        file = stack.enter_context(open_store(path))
        if "uns/target_genes" in file:
            record = read_elem(file["uns/target_genes"])
        var = read_elem(file["var"])
    targets = {target for _, perturbation, target, *_ in screen.conditions if perturbation != "control"}
    return read_targets(targets, var, record)


def _held_targets(screen: PackedScreen, split: Splits | None, keys: Mapping[str, str]) -> _HeldOut:
    held = _HeldOut(set(), {}, _promise(split) not in _TRANSFER)
    if split is None:
        return held
    target = {
        (line, name): frozenset(keys.get(part, part) for part in target.split("+"))
        for line, name, target, *_ in screen.conditions
    }
    for line, name in split.part("val") + split.part("test"):
        held.in_line.setdefault(line.casefold(), set()).add(target[line, name])
        held.anywhere.add(target[line, name])
    return held


def _promise(split: Splits | None) -> str | None:
    """What a split states, or its recipe stands for: a key of `HELD_OUT`."""
    if split is None:
        return None
    return promise_of(split.recipe, split.config.get("held_out"))


def _is_held_out(condition: Condition, held_out: Sequence[_HeldOut], keys: Mapping[str, str]) -> bool:
    """Whether the split of another screen of the mix holds out what a condition would show; its own split has decided.

    One target is one fold: what a split holds out, alone or in a combination, is left out of all cell lines of the other
    screens, and so is a combination with a target that is held out alone. Splits that ask what transfers between
    conditions (a new cell line, few shots, a new dose) hold out of the cell line that they name.
    """
    targets = frozenset(keys.get(part, part) for part in condition.target.split("+"))
    for s, held in enumerate(held_out):
        if s == condition.screen:
            continue
        line = held.in_line.get(condition.cell_line.casefold(), set())
        all_held = held.anywhere if held.everywhere_else else line
        if targets in all_held or any(frozenset([name]) in all_held for name in targets):
            return True
    return False
