"""A screen without anything held out: every condition trains, and every control is an input or a reference."""

import numpy as np

from vc_model.contracts.screen import CONTROL, Screen, Splits
from vc_model.errors import TableError

MIN_CELLS = 20  # conditions with fewer cells are not trained on, as in the quickstart


def whole_split(screen: Screen, *, min_cells: int = MIN_CELLS, seed: int = 0) -> Splits:
    """A split in memory that trains on everything.

    Controls are dealt to `input` and `reference` in turn, shuffled within each cell line and batch: effects are measured
    against one half and judged on the other, as with any split.

    Args:
        screen: An open screen-v1.
        min_cells: Conditions with fewer cells are left out.
        seed: Shuffles the controls.

    Raises:
        TableError: If no condition has enough cells.
    """
    groups = screen.groups
    size_of: dict[tuple[str, str], int] = {}
    for line, label, start, stop in zip(
        groups["cell_line"], groups["perturbation"], groups["start"], groups["stop"], strict=True
    ):
        key = (str(line), str(label))
        size_of[key] = size_of.get(key, 0) + int(stop) - int(start)
    lines = {line for line, label in size_of if label == CONTROL}
    parts = {
        key: "train" if size >= min_cells and key[0] in lines else "unused"
        for key, size in size_of.items()
        if key[1] != CONTROL
    }
    if "train" not in parts.values():
        raise TableError(
            f"{screen.path}: expected conditions with at least {min_cells} cells, found none of {len(parts)}. "
            "Lower --min-cells."
        )
    return Splits(screen.path, {}, "everything", seed, parts, deal_controls(screen, seed))


def deal_controls(screen: Screen, seed: int) -> dict[str, tuple[str, ...]]:
    """Role -> names of control cells; the halves of each (cell line, batch) differ by one cell at most."""
    rng = np.random.default_rng([seed, 2])
    names = screen.obs.index.to_numpy()
    control_n = screen.obs["is_control"].to_numpy()
    line_n, batch_n = (screen.obs[column].astype(str).to_numpy() for column in ("cell_line", "batch"))
    chosen: dict[str, list[str]] = {"input": [], "reference": []}
    for line in np.unique(line_n[control_n]):
        turn = 0
        for batch in np.unique(batch_n[control_n & (line_n == line)]):
            cells = names[control_n & (line_n == line) & (batch_n == batch)]
            for cell in rng.permutation(cells):
                # The first control of a line is an input: a line without input controls cannot be described.
                chosen[("input", "reference")[turn % 2]].append(str(cell))
                turn += 1
    return {role: tuple(cells) for role, cells in chosen.items()} | {"evaluation": ()}
