"""Perturbation effect models: every baseline, and the anchored model that has to beat them.

Reads screen-v1, splits-v1 and features-v1, writes predictions-v1 and checkpoint-v1 (docs/contracts). Five lines:

    import vc_model as vm

    model = vm.load("model")                                 # what `vc fit` wrote
    table = model.effects(["TP53"], cell_line="K562")        # a pandas table, the verdict before the numbers

Names below are imported when they are first used.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from vc_contracts.lazy import fetch

if TYPE_CHECKING:
    from vc_model.ask.model import AskModel, load
    from vc_model.biojepa.config import BioJepaConfig, param_counts
    from vc_model.biojepa.stages import init_stage, make_loss
    from vc_model.checkpoint import load_checkpoint, save_checkpoint
    from vc_model.emit.output import make_prediction_file
    from vc_model.models import MODELS, fit_models, make_model
    from vc_model.table.effects import Action, Conditions, EffectTable
    from vc_model.table.pseudobulk import load_conditions, load_tables
    from vc_model.testing import make_world

_PLACES = {
    "make_world": "testing",
    "make_loss": "biojepa.stages",
    "init_stage": "biojepa.stages",
    "param_counts": "biojepa.config",
    "BioJepaConfig": "biojepa.config",
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
    "BioJepaConfig",
    "Conditions",
    "EffectTable",
    "fit_models",
    "init_stage",
    "load",
    "load_checkpoint",
    "load_conditions",
    "load_tables",
    "make_loss",
    "make_model",
    "make_prediction_file",
    "make_world",
    "param_counts",
    "save_checkpoint",
]


def __getattr__(name: str) -> Any:
    """Import a name of `__all__` when it is first used."""
    return fetch(__name__, _PLACES, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
