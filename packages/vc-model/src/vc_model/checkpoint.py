"""checkpoint-v1: any fitted model as a folder of arrays and JSON, restored strictly.

A fitted model is a tree of frozen dataclasses. Its arrays go into one orbax item, an array that several parts share
once; everything else, with the shape and type of every array, goes into `config.json`. So a restore knows exactly what
it must find, and predictions after loading are the same to the bit.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vc_model.anchored.adapt import FittedAdapted
from vc_model.anchored.direct import DirectEffect
from vc_model.anchored.dose import DoseGate
from vc_model.anchored.ensemble import Ensemble
from vc_model.anchored.gp import GaussianProcess, GPConfig
from vc_model.anchored.losses import LossWeights
from vc_model.anchored.model import AnchoredConfig, FittedAnchored
from vc_model.anchored.residual import ContextMap, Residual, ResidualConfig
from vc_model.anchored.stack import MeasuredEffect, Stack
from vc_model.baselines.additive import Additive
from vc_model.baselines.lowrank import LowRank
from vc_model.baselines.means import GaussianEffect, LineMean, RandomEffect, SeenEffect
from vc_model.baselines.neighbours import NearestNeighbours
from vc_model.baselines.ridge import FeatureRidge, KernelRidge
from vc_model.biojepa.actions import ActionBank
from vc_model.biojepa.config import BioJepaConfig
from vc_model.biojepa.fitted import FittedBioJepa
from vc_model.contracts.header import check_header, make_header, whole
from vc_model.doubt.conformal import Conformal
from vc_model.doubt.spread import Spread
from vc_model.doubt.support import Support
from vc_model.errors import CheckpointError
from vc_model.models import MODELS
from vc_model.predictor import Fitted, FittedEffect
from vc_model.table.effects import Action, Contexts
from vc_model.table.features import BankMap, FeatureMap
from vc_model.table.folds import KnownActions
from vc_model.table.pseudobulk import ControlCells

_CLASSES = {
    kind.__name__: kind
    for kind in (
        Action, ActionBank, Additive, AnchoredConfig, BankMap, BioJepaConfig, Conformal, ContextMap, Contexts, ControlCells,
        DirectEffect, DoseGate, Ensemble, FeatureMap, FeatureRidge, FittedAdapted, FittedAnchored, FittedBioJepa, FittedEffect,
        GaussianEffect, GaussianProcess, GPConfig, KernelRidge, KnownActions, LineMean, LossWeights, LowRank, MeasuredEffect, NearestNeighbours,
        RandomEffect, Residual, ResidualConfig, SeenEffect, Spread, Stack, Support,
    )
}  # fmt: skip
_NAMES = (*MODELS, "biojepa", "biojepa_faithful")
_ITEMS = ("params", "config.json", "meta.json")


def save_checkpoint(
    path: Path | str,
    fitted: Fitted,
    *,
    metrics: Mapping[str, float] | None = None,
    commit: str | None = None,
    parents: Mapping[str, str] | None = None,
    config: Mapping[str, object] | None = None,
) -> None:
    """Write a fitted model, whole or not at all; an older checkpoint there is replaced.

    Args:
        path: The folder.
        fitted: A fitted model of this package.
        metrics: Scores at the time, by name.
        commit: Version control id of the code, if known.
        parents: File name -> sha256 of what the model was fitted on.
        config: What the caller was asked for, for the header.

    Raises:
        CheckpointError: If the model holds something that no checkpoint can.
    """
    import orbax.checkpoint as ocp

    path = Path(path)
    writer = _Writer()
    root = writer.encode(fitted)
    name = fitted.name
    content = {
        "model": name,
        "root": root,
        "objects": writer.objects,
        "arrays": {key: [list(array.shape), str(array.dtype)] for key, array in writer.arrays.items()},
    }
    meta = {
        "contract": make_header("checkpoint", parents=parents, config=config),
        "genes": list(fitted.contexts.genes),
        "cell_lines": list(fitted.contexts.cell_lines),
        "metrics": dict(metrics or {}),
        "commit": commit,
    }
    with whole(path) as temporary:
        temporary.mkdir()
        with ocp.StandardCheckpointer(multiprocessing_options=_alone()) as checkpointer:
            checkpointer.save(temporary.resolve() / "params", writer.arrays)
        (temporary / "config.json").write_text(json.dumps(content))
        (temporary / "meta.json").write_text(json.dumps(meta, indent=1))


def load_checkpoint(path: Path | str) -> Fitted:
    """Read a fitted model.

    Raises:
        CheckpointError: If an item is missing, the model is unknown, or the parameters' tree or shapes differ from what
            `config.json` asks for.
        ContractError: If the header is wrong.
    """
    path = Path(path)
    for item in _ITEMS:
        if not (path / item).exists():
            raise CheckpointError(
                f"{path}: {item}: expected a part of the checkpoint, found nothing. Fit the model again."
            )
    meta, content = _read_json(path / "meta.json"), _read_json(path / "config.json")
    check_header(path / "meta.json", meta.get("contract"), "checkpoint")
    if content.get("model") not in _NAMES:
        raise CheckpointError(
            f"{path}/config.json: model: expected one of {list(_NAMES)}, found {content.get('model')!r}. Update vc-model."
        )
    try:
        expected = {key: np.empty(shape, dtype) for key, (shape, dtype) in content["arrays"].items()}
        objects, root = content["objects"], content["root"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}/config.json: expected objects, arrays and root, found {error!r}. Fit again."
        ) from error
    arrays = _restore(path, expected)
    try:
        fitted = _Reader(arrays, objects).decode(root)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}/config.json: expected the parts of a {content['model']}, found {error!r}. Fit the model again."
        ) from error
    if not isinstance(fitted, FittedAdapted | FittedAnchored | FittedEffect | FittedBioJepa):
        raise CheckpointError(
            f"{path}/config.json: root: expected a fitted model, found {type(fitted).__name__}. Fit again."
        )
    if list(fitted.contexts.genes) != meta.get("genes") or list(fitted.contexts.cell_lines) != meta.get("cell_lines"):
        raise CheckpointError(
            f"{path}/meta.json: genes: expected those of the parameters, found others. Fit the model again."
        )
    return fitted


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: expected JSON, found something else ({error}). Fit the model again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(content).__name__}. Fit the model again.")
    return content


def _restore(path: Path, expected: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of the orbax item, which must have exactly the expected names, shapes and types."""
    import orbax.checkpoint as ocp

    folder = path.resolve() / "params"
    with ocp.StandardCheckpointer(multiprocessing_options=_alone()) as checkpointer:
        stored = _guard(folder, lambda: checkpointer.metadata(folder).item_metadata.tree)
        found = {key: (tuple(leaf.shape), str(np.dtype(leaf.dtype))) for key, leaf in stored.items()}
        wanted = {key: (array.shape, str(array.dtype)) for key, array in expected.items()}
        if found != wanted:
            wrong = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
            raise CheckpointError(
                f"{folder}: expected the arrays of config.json, found {len(wrong)} that differ, e.g. "
                f"{[(key, found.get(key), wanted.get(key)) for key in wrong[:3]]}. Fit the model again."
            )
        return _guard(folder, lambda: checkpointer.restore(folder, expected))


def _alone():
    """What makes orbax wait for no other process: a checkpoint is of host arrays, read and written by whoever wants to."""
    import jax
    import orbax.checkpoint as ocp

    own = jax.process_index()
    return ocp.options.MultiprocessingOptions(primary_host=own, active_processes={own})


def _guard(folder: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:  # orbax and tensorstore raise many kinds for a damaged item
        raise CheckpointError(
            f"{folder}: expected an orbax item, found one it cannot read ({error}). Fit the model again."
        ) from error


class _Writer:
    """Takes a tree of dataclasses apart into arrays and JSON."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.objects: list[dict] = []
        self.place: dict[int, Any] = {}
        self.kept: list[Any] = []  # holds what `place` knows by identity, so that no id is used twice

    def encode(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, tuple | list):
            return {"tuple": [self.encode(part) for part in value]}
        if isinstance(value, dict):
            return {"dict": {key: self.encode(part) for key, part in value.items()}}
        if id(value) not in self.place:
            self.kept.append(value)
            self.place[id(value)] = self._add(value)
        return self.place[id(value)]

    def _add(self, value: Any) -> dict[str, Any]:
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            if value.size == 0:
                return {"empty": [list(value.shape), str(value.dtype)]}
            key = f"a{len(self.arrays):04d}"
            # A product rounds differently where its matrix lies in memory column by column; a store keeps rows.
            columns = value.flags.f_contiguous and not value.flags.c_contiguous
            self.arrays[key] = value.T if columns else value
            return {"transposed" if columns else "array": key}
        if type(value).__name__ in _CLASSES:
            fields = {field.name: self.encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
            self.objects.append({"class": type(value).__name__, "fields": fields})
            return {"object": len(self.objects) - 1}
        raise CheckpointError(
            f"checkpoint: expected arrays, plain values and known classes, found {type(value).__name__}."
        )


class _Reader:
    """Puts together again what `_Writer` took apart."""

    def __init__(self, arrays: dict[str, np.ndarray], objects: list[dict]) -> None:
        self.arrays = arrays
        # An object only ever refers to objects before it.
        self.objects: list[Any] = []
        for entry in objects:
            fields = {name: self.decode(part) for name, part in entry["fields"].items()}
            self.objects.append(_CLASSES[entry["class"]](**fields))

    def decode(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        ((kind, content),) = value.items()
        if kind == "tuple":
            return tuple(self.decode(part) for part in content)
        if kind == "dict":
            return {key: self.decode(part) for key, part in content.items()}
        if kind == "empty":
            return np.zeros(*content)
        if kind == "transposed":
            return self.arrays[content].T
        return self.arrays[content] if kind == "array" else self.objects[content]
