"""Perturbation screens into one checked format: convert, align genes, split, simulate.

Writes and reads the contracts screen-v1 and splits-v1 (docs/contracts). Names below are imported on first use, so that
`import vc_data` and `vc-data --help` stay fast. `vc_data.convert` is the room of conversion, its verb `convert_file`.
"""

from typing import Any

from vc_contracts.lazy import fetch

__version__ = "0.1.0"

_HOME = {
    "Columns": "options",
    "EffectsOptions": "effects.options",
    "ContractError": "errors",
    "ConvertOptions": "options",
    "ConvertReport": "convert.run",
    "GeneAlignment": "genes.align",
    "Splits": "split.file",
    "VcDataError": "errors",
    "align_genes": "genes.align",
    "by_cell_line": "split",
    "by_dose": "split",
    "by_perturbation": "split",
    "by_scaffold": "split",
    "cell_load": "split",
    "convert_effects": "effects.convert",
    "convert_file": "convert.run:convert",
    "check_corpus": "split",
    "check_screen": "screen.file",
    "describe_screen": "screen.describe",
    "few_shot": "split",
    "follow": "split",
    "gears": "split",
    "guess_columns": "convert.columns",
    "kfold": "split",
    "read_screen": "screen.file",
    "read_splits": "split.file",
    "sha256_tree": "contract",
    "write_screen": "screen.file",
    "write_simulation": "simulate",
    "write_splits": "split.file",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    return fetch(__name__, _HOME, name)


def __dir__() -> list[str]:
    return list(__all__)
