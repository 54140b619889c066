"""What is held out: by perturbation, by cell line, or few-shot; and which control cells serve which purpose.

The file is splits-v1 (`splits_v1.py`). Beyond what it asks for: a combination that contains a held-out target is held out with it,
so a held-out target occurs in no training condition at all (few-shot: of the few-shot cell line).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vc_data.contract import make_header
from vc_data.errors import OptionError, TooFewError, few
from vc_data.splits_v1 import CONTROL_SETS, Splits, check_splits, read_splits, write_splits

__all__ = ["Splits", "by_cell_line", "by_perturbation", "cut_controls", "few_shot", "read_splits", "write_splits"]

THIRDS = (1 / 3, 1 / 3, 1 / 3)


def by_perturbation(
    screen,
    *,
    seed: int = 0,
    test: float = 0.25,
    val: float = 0.0,
    min_cells: int = 20,
    control_shares: Sequence[float] = THIRDS,
) -> Splits:
    """Hold out target genes (or compounds), each in all cell lines.

    Of the combinations whose targets are all measured alone, the same shares are held out on their own. Combinations
    left over follow their most held-out target.

    Args:
        screen: A checked screen (an AnnData).
        seed: Of all draws.
        test: Share of targets held out for testing; at least one.
        val: Share of targets for validation; at least one if above 0.
        min_cells: Conditions with fewer cells are `unused`.
        control_shares: Shares of `input`, `reference`, `evaluation`.

    Raises:
        OptionError: Shares that leave nothing for training.
        TooFewError: Too few targets to fill the parts that were asked for.
    """
    if not (0 < test < 1 and 0 <= val < 1 and test + val < 1):
        raise OptionError("split", "test and val", "shares that leave some for training", (test, val), "Lower them.")
    table = _conditions(screen, min_cells)
    rng = np.random.default_rng(seed)
    singles = sorted({targets[0] for targets in _usable(table) if len(targets) == 1})
    sizes = {"test": _share(test, len(singles)), "val": _share(val, len(singles))}
    if sum(sizes.values()) >= len(singles):
        found = f"{len(singles)} single targets with {min_cells} cells or more"
        do = "Lower --min-cells, or hold out a cell line."
        raise TooFewError("split", "targets", f"more than {sum(sizes.values())} to hold out", found, do)
    part_of = _draw(rng, singles, sizes)
    combos = sorted({targets for targets in _usable(table) if len(targets) > 1})
    eligible = [targets for targets in combos if set(targets) <= set(singles)]
    part_of_combo = _draw(rng, eligible, {"test": round(test * len(eligible)), "val": round(val * len(eligible))})

    def assign(condition: dict) -> None:
        targets = condition["targets"]
        parts = {part_of.get(target, "train") for target in targets}
        parts.add(part_of_combo.get(targets, "train") if len(targets) > 1 else "train")
        condition["part"] = _most_held_out(parts)

    config = {"test": test, "val": val, "min_cells": min_cells}
    return _finish(screen, table, assign, "by_perturbation", seed, config, control_shares)


def by_cell_line(
    screen,
    *,
    test_lines: Sequence[str] | float,
    val_lines: Sequence[str] = (),
    seed: int = 0,
    min_cells: int = 20,
    control_shares: Sequence[float] = THIRDS,
) -> Splits:
    """Hold out whole cell lines; their control cells stay, as a model's input and as the measure of effects.

    Args:
        screen: A checked screen (an AnnData).
        test_lines: Names, or the share of cell lines to draw (at least one).
        val_lines: Names of cell lines for validation.
        seed: Of all draws.
        min_cells: Conditions with fewer cells are `unused`.
        control_shares: Shares of `input`, `reference`, `evaluation`.

    Raises:
        OptionError: An unknown cell line.
        TooFewError: No cell line is left for training.
    """
    table = _conditions(screen, min_cells)
    lines = sorted({condition["cell_line"] for condition in table if "why" not in condition})
    if isinstance(test_lines, int | float):
        drawn = np.random.default_rng(seed).permutation(len(lines))[: _share(float(test_lines), len(lines))]
        test_lines = [lines[i] for i in sorted(drawn)]
    held_out = {**dict.fromkeys(val_lines, "val"), **dict.fromkeys(test_lines, "test")}
    unknown = sorted(set(held_out) - set(lines))
    if unknown or not test_lines:
        found = f"no usable cell line {few(unknown)}" if unknown else "none"
        raise OptionError("split", "test lines", f"some of {few(lines, 20)}", found, "Pass --test-lines NAME.")
    if set(lines) <= set(held_out):
        do = "Hold out fewer cell lines, or split by perturbation."
        raise TooFewError("split", "cell lines", "one or more left for training", f"only {few(lines)}", do)

    def assign(condition: dict) -> None:
        condition["part"] = held_out.get(condition["cell_line"], "train")

    config = {"test_lines": list(test_lines), "val_lines": list(val_lines), "min_cells": min_cells}
    return _finish(screen, table, assign, "by_cell_line", seed, config, control_shares)


def few_shot(
    screen,
    cell_line: str,
    *,
    n_train: int = 150,
    n_val: int = 50,
    n_test: int = 100,
    seed: int = 0,
    min_cells: int = 20,
    control_shares: Sequence[float] = THIRDS,
) -> Splits:
    """Show a model a new cell line through a few perturbations: the protocol of the Virtual Cell Challenge 2025.

    Every other cell line is in training. The targets of `cell_line` are drawn into the three parts; targets beyond the
    three numbers are `unused`. With fewer targets than asked for, the numbers shrink in proportion. Combinations of the
    cell line follow their most held-out target.

    Args:
        screen: A checked screen (an AnnData).
        cell_line: The line with few perturbations.
        n_train: Its targets in training.
        n_val: Its targets in validation.
        n_test: Its targets in testing.
        seed: Of all draws.
        min_cells: Conditions with fewer cells are `unused`.
        control_shares: Shares of `input`, `reference`, `evaluation`.

    Raises:
        OptionError: An unknown cell line, or sizes without training or test targets.
        TooFewError: Too few targets to give each part one.
    """
    table = _conditions(screen, min_cells)
    own = [condition for condition in table if condition["cell_line"] == cell_line]
    if not own:
        names = sorted({condition["cell_line"] for condition in table})
        raise OptionError("split", "cell line", f"one of {few(names, 20)}", repr(cell_line), "Pass --cell-line NAME.")
    targets = sorted({targets[0] for targets in _usable(own) if len(targets) == 1})
    wanted = {"train": n_train, "val": n_val, "test": n_test}
    sizes = _shrink(wanted, len(targets), cell_line, min_cells)
    part_of = _draw(np.random.default_rng(seed), targets, sizes)

    def assign(condition: dict) -> None:
        if condition["cell_line"] != cell_line:
            condition["part"] = "train"
            return
        condition["part"] = _most_held_out({part_of.get(target, "unused") for target in condition["targets"]})
        if condition["part"] == "unused":
            condition["why"] = "target not drawn"

    config = {"cell_line": cell_line, **{f"n_{part}": n for part, n in sizes.items()}, "min_cells": min_cells}
    return _finish(screen, table, assign, "few_shot", seed, config, control_shares)


def cut_controls(obs, shares: Sequence[float], rng: np.random.Generator) -> dict[str, list[str]]:
    """Cut control cells into `input`, `reference` and `evaluation` within each (cell line, batch).

    A batch of n controls gives each set its share of n, rounded down; the cells left over go to the sets of that cell
    line that are furthest below their share. So small batches, even of one cell, even out over a cell line. A set that
    is still empty takes a cell from the largest set, so every cell line with three controls has all three sets.

    Args:
        obs: Cells of a screen.
        shares: Of the three sets; positive, summing to 1.
        rng: Draws which cells go where.

    Returns:
        Names of cells per set, in the order of `obs`.

    Raises:
        OptionError: Shares that are not three positive numbers summing to 1.
    """
    shares = np.asarray(shares, float)
    if shares.shape != (3,) or (shares <= 0).any() or not np.isclose(shares.sum(), 1):
        raise OptionError(
            "split", "control shares", "three positive numbers that sum to 1", shares.tolist(), "Mend them."
        )
    set_of = np.full(len(obs), -1)
    is_control = obs["is_control"].to_numpy()
    line, batch = obs["cell_line"].astype(str).to_numpy(), obs["batch"].astype(str).to_numpy()
    for one_line in np.unique(line[is_control]):
        in_line = np.flatnonzero(is_control & (line == one_line))
        filled, seen = np.zeros(3), 0
        for one_batch in np.unique(batch[in_line]):
            cells = rng.permutation(in_line[batch[in_line] == one_batch])
            sizes = np.floor(shares * len(cells) + 1e-9).astype(int)
            seen += len(cells)
            for _ in range(len(cells) - sizes.sum()):
                sizes[np.argmax(shares * seen - filled - sizes)] += 1
            set_of[cells] = np.repeat(np.arange(3), sizes)
            filled += sizes
        for empty in np.flatnonzero(filled == 0):
            largest = int(np.argmax(filled))
            if filled[largest] > 1:
                cell = rng.choice(in_line[set_of[in_line] == largest])
                set_of[cell] = empty
                filled[largest] -= 1
                filled[empty] += 1
    names = obs.index.to_numpy()
    return {name: names[set_of == i].tolist() for i, name in enumerate(CONTROL_SETS)}


def _conditions(screen, min_cells: int) -> list[dict]:
    """Every non-control condition with its targets, and `why` where it cannot be used."""
    obs = screen.obs[["cell_line", "perturbation", "target", "is_control"]]
    obs = obs.astype({"cell_line": str, "perturbation": str, "target": str})
    n_controls = obs[obs["is_control"]].groupby("cell_line").size()
    perturbed = obs[~obs["is_control"]]
    table = []
    for (line, perturbation), cells in perturbed.groupby(["cell_line", "perturbation"])["target"]:
        condition = {"cell_line": line, "perturbation": perturbation, "targets": tuple(cells.iloc[0].split("+"))}
        if n_controls.get(line, 0) < 3:
            condition["why"] = "fewer than 3 control cells in the cell line"
        elif len(cells) < min_cells:
            condition["why"] = f"fewer than {min_cells} cells"
        table.append(condition)
    return table


def _usable(table: list[dict]) -> list[tuple[str, ...]]:
    return [condition["targets"] for condition in table if "why" not in condition]


def _share(share: float, n: int) -> int:
    """Number that a share of n comes to: at least one if the share is above 0."""
    return max(1, round(share * n)) if share > 0 else 0


def _draw(rng: np.random.Generator, items: list, sizes: dict[str, int]) -> dict:
    """Item -> part, for as many random items as the sizes say."""
    order = [items[i] for i in rng.permutation(len(items))]
    parts = [part for part, n in sizes.items() for _ in range(n)]
    return dict(zip(order, parts, strict=False))


def _most_held_out(parts: set[str]) -> str:
    return next(part for part in ("unused", "test", "val", "train") if part in parts)


def _shrink(wanted: dict[str, int], n: int, cell_line: str, min_cells: int) -> dict[str, int]:
    """The wanted sizes, in proportion where fewer targets exist, none of them 0 that was not."""
    total = sum(wanted.values())
    least = sum(size > 0 for size in wanted.values())
    if min(wanted.values()) < 0 or not wanted["train"] or not wanted["test"]:
        do = "Pass --n-train and --n-test above 0."
        raise OptionError("split", "sizes", "one or more targets for train and test", wanted, do)
    if n < least:
        found = f"{n} single targets with {min_cells} cells or more"
        raise TooFewError("split", cell_line, f"{least} targets or more", found, "Lower --min-cells.")
    if n >= total:
        return wanted
    sizes = {part: max(1, size * n // total) if size else 0 for part, size in wanted.items()}
    while sum(sizes.values()) != n:
        step = 1 if sum(sizes.values()) < n else -1
        room = {part: step * (wanted[part] * n / total - size) for part, size in sizes.items() if step > 0 or size > 1}
        sizes[max((part for part in room if wanted[part]), key=room.get)] += step
    return sizes


def _finish(screen, table, assign, recipe: str, seed: int, config: dict, shares: Sequence[float]) -> Splits:
    """Assign parts, cut controls, and check."""
    for condition in table:
        if "why" in condition:
            condition["part"] = "unused"
        else:
            assign(condition)
    keys = ("cell_line", "perturbation", "part", "why")
    conditions = [{key: condition[key] for key in keys if key in condition} for condition in table]
    # A stream of its own: the cut of controls must not move when the number of targets does.
    controls = cut_controls(screen.obs, shares, np.random.default_rng([seed, 1]))
    splits = Splits(recipe, seed, conditions, controls, {**config, "control_shares": list(shares)})
    content = dataclasses.asdict(splits) | {"contract": make_header("splits")}
    check_splits(content, "split", screen)
    return splits
