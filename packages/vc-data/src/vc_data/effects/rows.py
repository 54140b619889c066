"""What the rows of a table of effects mean, by the same rules as the cells of a screen."""

from pathlib import Path

import numpy as np
import pandas as pd
from vc_contracts.text.plain import plain

from vc_data.convert.columns import guess_columns
from vc_data.convert.controls import as_bool, boolean_column
from vc_data.convert.notes import Notes, ask, say
from vc_data.convert.obs import Cells, read_cells
from vc_data.convert.series import distinct, labels_of
from vc_data.effects.options import EffectsOptions
from vc_data.effects.source import EffectsSource
from vc_data.errors import few
from vc_data.genes.link import GeneIndex
from vc_data.options import Columns, ConvertOptions
from vc_data.text.controls import control_rank, resembles_control

NO_BATCH = "unknown"
_BATCH = ("batch", "batchid", "plate", "plateid")


def read_rows(found: EffectsSource, path: Path, options: EffectsOptions) -> tuple[Cells, Notes]:
    """Labels, controls, targets, modes and doses of every row that says what it is.

    Args:
        found: The table.
        path: File name for messages.
        options: What the user stated.

    Raises:
        ColumnError, ControlError, OptionError: As for the cells of a screen, each with the flag that decides.
    """
    raw = found.obs.reset_index(drop=True)
    columns, notes = _columns(raw, path, options)
    index = GeneIndex(
        found.genes, found.gene_ids, found.symbols, aliases=options.aliases, gene_table=options.gene_table
    )
    given = ConvertOptions(
        columns=columns,
        combo_separator=options.combo_separator,
        guide_labels=options.guide_labels,
        drop=options.drop,
        make_unique=True,
    )
    cells, more = read_cells(raw, path, index, given, columns, of_cells=False)
    if options.n_cells is None and (counts := [str(name) for name in raw if plain(str(name)) == "ncells"]):
        more += ask(f"column {counts[0]!r} is not used; --n-cells {counts[0]} reads how many cells stand behind a row")
    return cells, notes + more


def _columns(raw: pd.DataFrame, path: Path, options: EffectsOptions) -> tuple[Columns, Notes]:
    """Which column says what; most tables of effects hold no controls, which are asked for only where they are needed."""
    names = {plain(str(column)): str(column) for column in reversed(raw.columns)}
    batches = (names[name] for name in _BATCH if name in names)
    batch = options.batch or next((name for name in batches if len(distinct(raw[name])) > 1), "none")
    given = Columns(
        perturbation=options.perturbation, control=options.control, cell_line=options.cell_line,
        cell_line_name=options.cell_line_name, batch=batch, mode=options.mode, mode_name=options.mode_name,
        dose=options.dose, guide="none", total_counts="sum",
    )  # fmt: skip
    labels = distinct(labels_of(raw, options.perturbation)) if options.perturbation in raw else []
    marked = boolean_column(raw, names, path)
    none = not (
        options.control
        or any(map(control_rank, labels))
        or (marked is not None and as_bool(raw[marked], path)[0].any())
    )
    columns, statements = guess_columns(raw, pd.DataFrame(), given, path=path, control_only=none)
    notes = say(*(text for text in statements if text.endswith("(guessed)") or text.startswith("mode: none")))
    if options.batch is None and batch != "none":
        notes += say(f"batch column: {batch!r} (guessed); --batch none for none")
    suspects = [label for label in labels if none and resembles_control(label) and label not in options.drop]
    if suspects:
        notes += ask(
            f"labels that resemble controls count as perturbations: {few(suspects)}; --control or --drop, if not"
        )
    return columns, notes


def row_table(cells: Cells, n_cells_n: np.ndarray) -> pd.DataFrame:
    """The obs table of effects-v1, but for the names of its rows.

    Args:
        cells: Rows as they were read.
        n_cells_n: [rows of the source] cells behind each.
    """
    kept = cells.obs.assign(n_cells=n_cells_n[cells.obs["place"].to_numpy()])
    kept = kept[["perturbation", "target", "cell_line", "batch", "is_control", "mode", "dose", "n_cells"]]
    return kept.assign(mode=kept["mode"].astype(np.int8)).reset_index(drop=True)
