"""checkpoint-v1: any fitted model as a folder of arrays and JSON, restored strictly.

A fitted model is a tree of frozen dataclasses. Its arrays go into one orbax item, an array that several parts share
once; everything else, with the shape and type of every array, goes into `config.json`. So a restore knows exactly what
it must find, and predictions after loading are the same to the bit.
"""

import dataclasses
import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from vc_contracts.content import hash_json, verify_hashes
from vc_contracts.errors import raised_as
from vc_contracts.kinds import exists
from vc_contracts.store import check_files

from vc_model.contracts.header import Config, Parents, check_header, make_header, whole
from vc_model.errors import CheckpointError, ContractError
from vc_model.predictor import Fitted
from vc_model.stored import is_stored, module_of, stored_class

_ITEMS = ("params", "config.json", "meta.json")


_ONE_SAVE = threading.Lock()
"""Two saves of orbax at once in one process take each other's signals, and one of them fails."""


def save_checkpoint(
    path: Path | str,
    fitted: Fitted,
    *,
    metrics: Mapping[str, float] | None = None,
    commit: str | None = None,
    parents: Parents = None,
    config: Config = None,
    memory: Any = None,
    overwrite: bool = True,
) -> None:
    """Write a fitted model, whole or not at all; an older checkpoint there is replaced.

    Args:
        path: The folder.
        fitted: A fitted model of this package.
        metrics: Scores at the time, by name.
        commit: Version control id of the code, if known.
        parents: File name -> sha256 of what the model was fitted on.
        config: What the caller was asked for, for the header.
        memory: A `vc_model.ask.memory.Memory`: what answering questions needs to know of the training data, or None.
        overwrite: Replace an older checkpoint there.

    Raises:
        CheckpointError: If the model holds something that no checkpoint can.
    """
    import orbax.checkpoint as ocp

    path = Path(path)
    writer = _Writer()
    root = writer.encode(fitted)
    remembered = writer.encode(memory)
    name = fitted.name
    content = {
        "model": name,
        "root": root,
        "memory": remembered,
        "plugin": getattr(fitted, "fname", None),
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
    meta["contract"]["content"] = _content(writer.arrays, content)
    with whole(path, kind="checkpoint", overwrite=overwrite) as temporary:
        temporary.mkdir()
        with _ONE_SAVE, ocp.StandardCheckpointer(multiprocessing_options=_alone()) as checkpointer:
            checkpointer.save(temporary.resolve() / "params", writer.arrays)
        (temporary / "config.json").write_text(json.dumps(content))
        (temporary / "meta.json").write_text(json.dumps(meta, indent=1))


def load_checkpoint(path: Path | str) -> Fitted:
    """Read a fitted model.

    Raises:
        CheckpointError, ContractError: As `load_with_memory`.
    """
    return load_with_memory(path)[0]


def load_with_memory(path: Path | str) -> tuple[Fitted, Any]:
    """Read a fitted model and what it remembers of its training data.

    Returns:
        The model, and its `vc_model.ask.memory.Memory`, or None for a checkpoint without one.

    Raises:
        CheckpointError: If an item is missing, the model is unknown, or the parameters' tree or shapes differ from what
            `config.json` asks for.
        ContractError: If the header is wrong.
    """
    path = Path(path)
    if exists(path):
        with raised_as(ContractError):
            path = check_files(path)
    for item in _ITEMS:
        if not (path / item).exists():
            inside = [name for name in ("model", "checkpoint") if (path / name / "meta.json").exists()]
            do = f"The model is {path / inside[0]}: name that." if inside else "Fit the model again."
            raise CheckpointError(f"{path}: {item}: expected a part of the checkpoint, found nothing. {do}")
    meta, content = _read_json(path / "meta.json"), _read_json(path / "config.json")
    header = check_header(path / "meta.json", meta.get("contract"), "checkpoint")
    _check_name(path, content)
    try:
        expected = {key: _declared(shape, dtype) for key, (shape, dtype) in content["arrays"].items()}
        objects, root = content["objects"], content["root"]
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(
            f"{path}/config.json: expected objects, arrays and root, found {error!r}. Fit again."
        ) from error
    arrays = _restore(path, expected)
    with raised_as(ContractError):
        verify_hashes(_content(arrays, content), header, path)
    try:
        reader = _Reader(arrays, objects)
        fitted, memory = reader.decode(root), reader.decode(content.get("memory"))
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}/config.json: expected the parts of a {content['model']}, found {error!r}. Fit the model again."
        ) from error
    if not all(hasattr(fitted, part) for part in ("name", "contexts", "predict")):
        raise CheckpointError(
            f"{path}/config.json: root: expected a fitted model, found {type(fitted).__name__}. Fit again."
        )
    if list(fitted.contexts.genes) != meta.get("genes") or list(fitted.contexts.cell_lines) != meta.get("cell_lines"):
        raise CheckpointError(
            f"{path}/meta.json: genes: expected those of the parameters, found others. Fit the model again."
        )
    return fitted, memory


def _check_name(path: Path, content: dict[str, Any]) -> None:
    """Refuse a model that this package does not know; a user's own brings its plugin's name with it."""
    from vc_model.models import MODELS

    names = (*MODELS, "biojepa", "biojepa_faithful", "st", "st_anchored")
    if content.get("model") not in names and not content.get("plugin"):
        raise CheckpointError(
            f"{path}/config.json: model: expected one of {list(names)}, found {content.get('model')!r}. Update vc-model."
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: expected JSON, found something else ({error}). Fit the model again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(content).__name__}. Fit the model again.")
    return content


def _declared(shape: list[int], dtype: str) -> tuple[tuple[int, ...], str]:
    """Shape and type as `config.json` states them; nothing of that size is made before the store agrees."""
    return tuple(int(size) for size in shape), str(np.dtype(dtype))


def _content(arrays: Mapping[str, np.ndarray], content: Mapping[str, Any]) -> dict[str, str]:
    """Hashes of the parameters and of `config.json`; equal runs have equal ones, whatever the store's bytes."""
    digest = hashlib.sha256()
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        digest.update(f"{key} {array.dtype} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return {"params": digest.hexdigest(), "config.json": hash_json(content)}


def _restore(path: Path, expected: dict[str, tuple[tuple[int, ...], str]]) -> dict[str, np.ndarray]:
    """Arrays of the orbax item, which must have exactly the expected names, shapes and types.

    Read with tensorstore, what orbax itself stores arrays with: orbax would load JAX, which takes longer than an answer.
    """
    import tensorstore as ts

    folder = path.resolve() / "params"
    place = {"driver": "ocdbt", "base": folder.as_uri() + "/"}

    def open_all() -> dict[str, Any]:
        names = sorted({key.decode().split("/")[0] for key in ts.KvStore.open(place).result().list().result()})
        spec = {"driver": "zarr", "kvstore": place}
        opened = {name: ts.open(spec | {"path": f"{name}/"}, open=True, read=True) for name in names}
        return {name: store.result() for name, store in opened.items()}

    stored = _guard(folder, open_all)
    found = {key: (tuple(store.shape), str(store.dtype.numpy_dtype)) for key, store in stored.items()}
    wanted = expected
    if found != wanted:
        wrong = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
        raise CheckpointError(
            f"{folder}: expected the arrays of config.json, found {len(wrong)} that differ, e.g. "
            f"{[(key, found.get(key), wanted.get(key)) for key in wrong[:3]]}. Fit the model again."
        )
    reading = {key: store.read() for key, store in stored.items()}
    return _guard(folder, lambda: {key: np.asarray(read.result()) for key, read in reading.items()})


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
        if is_stored(type(value)):
            fields = {field.name: self.encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
            kind = type(value)
            self.objects.append({"class": kind.__name__, "module": module_of(kind), "fields": fields})
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
            kind = stored_class(entry["class"], entry.get("module"))
            other = sorted(set(fields) - {field.name for field in dataclasses.fields(kind)})
            if other:
                raise ValueError(f"{kind.__name__} with {other}, as another version of vc-model wrote it")
            self.objects.append(kind(**fields))

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
