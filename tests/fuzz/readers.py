"""Readers of what is no contract: files of other programs, archives, checkpoints, lists. Each takes a path."""

import shutil
import tempfile
from pathlib import Path
from typing import Any


def convert_foreign(path: str) -> Any:
    """A screen made of a foreign file."""
    from vc_data.convert.run import convert
    from vc_data.options import ConvertOptions
    from vc_data.screen.file import read_screen

    folder = Path(tempfile.mkdtemp())
    try:
        convert(path, folder / "s.zarr", ConvertOptions(dataset="any"))
        return read_screen(folder / "s.zarr")
    finally:
        shutil.rmtree(folder)


def convert_table(path: str) -> Any:
    """A table of effects made of a foreign one."""
    from vc_data.effects.convert import make_effects
    from vc_data.effects.options import EffectsOptions
    from vc_data.effects.source import read_source

    options = EffectsOptions(values="z", cell_line_name="A", mode_name="crispri")
    return make_effects(read_source(Path(path), options), Path(path), options)[0]


def inspect_foreign(path: str) -> Any:
    """What `vc-data inspect` prints."""
    from vc_data.convert.inspect import inspect_file
    from vc_data.options import ConvertOptions

    return inspect_file(Path(path), as_json=False, options=ConvertOptions())


def score_cells(path: str) -> Any:
    """Cells as `vc-eval cells` reads them, all values."""
    import scipy.sparse
    from vc_eval.cells.inputs import open_cells
    from vc_eval.cells.rows import RowMatrix

    cells = open_cells(Path(path))
    return scipy.sparse.vstack([block for _, block in RowMatrix(cells, 10).blocks()]).toarray()


def read_archive(path: str) -> Any:
    """The cells of a .vcc."""
    from vc_eval.vcc2026.archive import read_archive

    return read_archive(Path(path))


def read_list(path: str) -> Any:
    """Names of a list."""
    from vc_contracts.text.lists import read_names

    return read_names(path)


def load_model(path: str) -> Any:
    """A fitted model's genes."""
    from vc_model.checkpoint import load_checkpoint

    return load_checkpoint(path).contexts.genes
