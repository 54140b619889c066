"""Hold out what a user names: targets, combinations, single conditions of one cell line."""

from collections.abc import Sequence

from vc_data.errors import OptionError
from vc_data.split.conditions import THIRDS, check_known, finish, list_conditions
from vc_data.split.file import Splits


def named(
    screen,
    *,
    test: Sequence[str],
    val: Sequence[str] = (),
    seed: int = 0,
    min_cells: int = 20,
    control_shares: Sequence[float] = THIRDS,
) -> Splits:
    """Hold out named conditions; everything else trains.

    `TP53` holds out the target: every condition that contains it, in every cell line. `MYC+KLF1` holds out that combination;
    its members may train. `K562|TP53` and `K562|MYC+KLF1` do so in one cell line. A label that names no target, such as one
    dose of a compound, holds out the conditions of that label.

    Args:
        screen: A checked screen (an AnnData).
        test: Names to test.
        val: Names to validate on; what is in both is tested.
        seed: Of the cut of controls.
        min_cells: Conditions with fewer cells are `unused`.
        control_shares: Shares of `input`, `reference`, `evaluation`.

    Raises:
        OptionError: No name, or one that the screen does not have.
        TooFewError: Nothing is left for training or testing.
    """
    table = list_conditions(screen, min_cells)
    lines = {condition["cell_line"] for condition in table}
    if not test:
        raise OptionError("split", "named", "at least one name to hold out", "none", "Pass --hold-out NAME ...")
    parts = [(part, *_parse(name, lines)) for part, names in (("test", test), ("val", val)) for name in names]
    targets = {target for condition in table for target in condition["targets"]}
    combos = {"+".join(sorted(condition["targets"])) for condition in table if len(condition["targets"]) > 1}
    labels = {condition["perturbation"] for condition in table}
    known = {*targets, *combos, *labels}
    check_known("hold-out", [name for _, _, name in parts], known, "Names are targets, labels, or LINE|NAME.")

    def assign(condition: dict) -> None:
        own = {*condition["targets"], "+".join(sorted(condition["targets"])), condition["perturbation"]}
        held = {part for part, line, name in parts if name in own and line in ("", condition["cell_line"])}
        condition["part"] = "test" if "test" in held else "val" if "val" in held else "train"

    by_label = any(name not in targets and name not in combos for _, _, name in parts)
    held_out = "condition" if by_label else "target in line" if any(line for _, line, _ in parts) else "target"
    config = {"test": list(test), "val": list(val), "min_cells": min_cells}
    return finish(
        screen,
        table,
        assign,
        recipe="named",
        held_out=held_out,
        seed=seed,
        config=config,
        control_shares=control_shares,
    )


def _parse(name: str, lines: set[str]) -> tuple[str, str]:
    """(Cell line or empty, name); members of a combination in sorted order."""
    line, _, rest = name.rpartition("|")
    line, rest = line.strip(), rest.strip()
    if line:
        check_known("hold-out", [line], lines, "Names are targets, labels, or LINE|NAME.")
    return line, "+".join(sorted(part.strip() for part in rest.split("+"))) if "+" in rest else rest
