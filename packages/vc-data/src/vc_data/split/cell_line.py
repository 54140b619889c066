"""Hold out whole cell lines, or most of one."""

from collections.abc import Sequence

import numpy as np

from vc_data.errors import OptionError, TooFewError, few
from vc_data.split.conditions import (
    THIRDS,
    check_known,
    count_share,
    draw,
    finish,
    list_conditions,
    most_held_out,
    usable,
)
from vc_data.split.file import Splits


def by_cell_line(
    screen,
    *,
    test_lines: Sequence[str] | float,
    val_lines: Sequence[str] = (),
    unseen: float = 0.0,
    seed: int = 0,
    min_cells: int = 20,
    control_shares: Sequence[float] = THIRDS,
) -> Splits:
    """Hold out whole cell lines; their control cells stay, as a model's input and as the measure of effects.

    Args:
        screen: A checked screen (an AnnData).
        test_lines: Names, or the share of cell lines to draw (at least one).
        val_lines: Names of cell lines for validation.
        unseen: Share of the held-out lines' targets that no other line trains on either (at least one if above 0).
            With it, test conditions carry `group`: `seen elsewhere` or `seen nowhere`.
        seed: Of all draws.
        min_cells: Conditions with fewer cells are `unused`.
        control_shares: Shares of `input`, `reference`, `evaluation`.

    Raises:
        OptionError: An unknown cell line.
        TooFewError: No cell line is left for training.
    """
    table = list_conditions(screen, min_cells)
    lines = sorted({condition["cell_line"] for condition in table if "why" not in condition})
    if isinstance(test_lines, int | float):
        drawn = np.random.default_rng(seed).permutation(len(lines))[: count_share(float(test_lines), len(lines))]
        test_lines = [lines[i] for i in sorted(drawn)]
    held_out = {**dict.fromkeys(val_lines, "val"), **dict.fromkeys(test_lines, "test")}
    check_known("cell lines", held_out, lines, "Pass --test-lines NAME.")
    if not test_lines or not 0 <= unseen < 1:
        do = "Pass --test-lines NAME, and --unseen below 1."
        raise OptionError("split", "test lines", f"some of {few(lines, 20)}", "none" if not test_lines else unseen, do)
    if set(lines) <= set(held_out):
        do = "Hold out fewer cell lines, or split by perturbation."
        raise TooFewError("split", "cell lines", "one or more left for training", f"only {few(lines)}", do)

    own = sorted({t for c in table if c["cell_line"] in held_out and "why" not in c for t in c["targets"]})
    nowhere = {own[i] for i in np.random.default_rng(seed).permutation(len(own))[: count_share(unseen, len(own))]}

    def assign(condition: dict) -> None:
        hidden = bool(nowhere & set(condition["targets"]))
        condition["part"] = held_out.get(condition["cell_line"], "train")
        if unseen and condition["part"] != "train":
            condition["group"] = "seen nowhere" if hidden else "seen elsewhere"
        elif hidden:
            condition |= {"part": "unused", "why": "target held out in every cell line"}

    config = {"test_lines": list(test_lines), "val_lines": list(val_lines), "unseen": unseen, "min_cells": min_cells}
    return finish(screen, table, assign, "by_cell_line", "target in line", seed, config, control_shares)


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
        n_train: Its targets in training; 0 where other lines train.
        n_val: Its targets in validation.
        n_test: Its targets in testing.
        seed: Of all draws.
        min_cells: Conditions with fewer cells are `unused`.
        control_shares: Shares of `input`, `reference`, `evaluation`.

    Raises:
        OptionError: An unknown cell line, or sizes without training or test targets.
        TooFewError: Too few targets to give each part one.
    """
    table = list_conditions(screen, min_cells)
    check_known("cell line", [cell_line], (c["cell_line"] for c in table), "Pass --cell-line NAME.")
    own = [condition for condition in table if condition["cell_line"] == cell_line]
    targets = sorted({targets[0] for targets in usable(own) if len(targets) == 1})
    # Test first: a learning curve over n_train keeps its test targets.
    wanted = {"test": n_test, "val": n_val, "train": n_train}
    alone = not any(c["cell_line"] != cell_line and "why" not in c for c in table)
    sizes = _shrink(wanted, len(targets), cell_line, min_cells, alone)
    part_of = draw(np.random.default_rng(seed), targets, sizes)

    def assign(condition: dict) -> None:
        if condition["cell_line"] != cell_line:
            condition["part"] = "train"
            return
        condition["part"] = most_held_out({part_of.get(target, "unused") for target in condition["targets"]})
        if condition["part"] == "unused":
            condition["why"] = "target not drawn"

    config = {"cell_line": cell_line, **{f"n_{part}": n for part, n in sizes.items()}, "min_cells": min_cells}
    return finish(screen, table, assign, "few_shot", "target in line", seed, config, control_shares)


def _shrink(wanted: dict[str, int], n: int, cell_line: str, min_cells: int, alone: bool) -> dict[str, int]:
    """The wanted sizes, in proportion where fewer targets exist, none of them 0 that was not."""
    total = sum(wanted.values())
    least = sum(size > 0 for size in wanted.values())
    if min(wanted.values()) < 0 or (alone and not wanted["train"]) or not wanted["test"]:
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
        sizes[max((part for part in room if wanted[part]), key=lambda part: room[part])] += step
    return sizes
