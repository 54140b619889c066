"""Batches of the control cells that rows of activations are made of, for a probe of how much batch the activations hold."""

from pathlib import Path

from vc_model.contracts import read_screen, read_splits
from vc_model.table.pseudobulk import input_rows


def control_batches(screen: Path | str, splits: Path | str, per_line: int) -> dict[str, list[str]]:
    """Cell line -> batch of each of the cells that `load_control_cells` reads, in its order.

    Args:
        screen: screen-v1.
        splits: splits-v1 of that screen.
        per_line: At most so many cells of each line.

    Raises:
        TableError: If a line has no input control.
    """
    found = read_screen(screen)
    rows, line_n, lines = input_rows(found, read_splits(splits, found), per_line)
    batch_n = found.obs["batch"].astype(str).to_numpy()
    return {line: batch_n[rows[line_n[rows] == line]].tolist() for line in lines}
