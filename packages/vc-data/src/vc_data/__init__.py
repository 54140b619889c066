"""Perturbation screens into one checked format: convert, align genes, split, simulate.

Writes and reads the contracts screen-v1 and splits-v1 (docs/contracts). Names below are imported on first use, so that
`import vc_data` and `vc-data --help` stay fast. The two verbs live in their modules: `vc_data.convert.run.convert` and
`vc_data.simulate.simulate`.
"""

import importlib

__version__ = "0.1.0"

_HOME = {
    "Columns": "options",
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


def __getattr__(name: str):
    """Import a public name on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'vc_data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"vc_data.{_HOME[name]}"), name)
