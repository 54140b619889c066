"""Perturbation effect models: every baseline, and the anchored model that has to beat them.

Reads screen-v1, splits-v1 and features-v1, writes predictions-v1 and checkpoint-v1 (docs/contracts). Five lines:

    import vc_model as vm

    model = vm.load("model")                                 # what `vc fit` wrote
    table = model.effects(["TP53"], cell_line="K562")        # a pandas table, the verdict before the numbers

Names below are imported when they are first used.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vc_model.ask.model import AskModel, load
    from vc_model.checkpoint import load_checkpoint, save_checkpoint
    from vc_model.emit.output import make_prediction_file
    from vc_model.models import MODELS, fit_models, make_model
    from vc_model.table.effects import Action, Conditions, EffectTable
    from vc_model.table.pseudobulk import load_conditions, load_tables

_PLACES = {
    "Action": "table.effects",
    "AskModel": "ask.model",
    "Conditions": "table.effects",
    "EffectTable": "table.effects",
    "MODELS": "models",
    "fit_models": "models",
    "load": "ask.model",
    "load_checkpoint": "checkpoint",
    "load_conditions": "table.pseudobulk",
    "load_tables": "table.pseudobulk",
    "make_model": "models",
    "make_prediction_file": "emit.output",
    "save_checkpoint": "checkpoint",
}

try:
    __version__ = version("vc-model")
except PackageNotFoundError:  # run from its source folder, not installed
    __version__ = "0"

__all__ = [
    "MODELS",
    "Action",
    "AskModel",
    "Conditions",
    "EffectTable",
    "fit_models",
    "load",
    "load_checkpoint",
    "load_conditions",
    "load_tables",
    "make_model",
    "make_prediction_file",
    "save_checkpoint",
]


def __getattr__(name: str) -> Any:
    """Import a name of `__all__` when it is first used."""
    if name not in _PLACES:
        raise AttributeError(f"module 'vc_model' has no attribute {name!r}")
    return getattr(import_module(f"vc_model.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
