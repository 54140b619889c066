"""Everything a run needs to go on, on disk: whole or absent, the last few kept.

A save holds the state (parameters, frozen arrays, optimiser, step) and a JSON record (seed, settings, the data's position,
what the monitors last showed, cells and seconds so far). orbax writes it under a temporary name and renames it, so what a
killed process leaves behind is never read.
"""

import json
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from vc_contracts.bucket.twin import Twin

from vc_model.errors import CheckpointError
from vc_model.train.state import TrainState

_POSITION_BYTES = 4096  # room for one process's position of the data, as JSON


class Saver:
    """Saves of one run, in a folder; use as a context manager.

    Args:
        folder: Made where it is absent.
        keep: How many saves stay.
        beside: Files beside the folder that go with a save, where the run's output is in a bucket: saves are sent there,
            too, and the newest is fetched where there is none here.
    """

    def __init__(self, folder: Path, keep: int, beside: Collection[str] = ()):
        import orbax.checkpoint as ocp

        logging.getLogger("absl").setLevel(logging.WARNING)  # orbax reports every save at some length
        self.folder = Path(folder).resolve()
        self._twin = Twin(Path(folder), beside)
        if jax.process_index() == 0:
            self._twin.pull()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, create=True, cleanup_tmp_directories=True, enable_async_checkpointing=False
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options, item_names=("state", "record"))

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, *_) -> None:
        self._manager.close()

    @property
    def latest(self) -> int | None:
        """Steps done at the latest save, or None where there is none."""
        return self._manager.latest_step()

    def path(self, step: int) -> Path:
        """Folder of a save."""
        return self.folder / str(step)

    def save(self, step: int, state: TrainState, record: Mapping[str, Any]) -> None:
        """Write a save; returns when it is whole."""
        import orbax.checkpoint as ocp

        tree = {"params": state.params, "frozen": state.frozen, "step": state.step, "opt_state": state.opt_state}
        record = dict(record) | {"arrays": _shapes(state)}
        args = ocp.args.Composite(state=ocp.args.StandardSave(tree), record=ocp.args.JsonSave(record))
        self._manager.save(step, args=args, force=True)
        self._manager.wait_until_finished()
        if jax.process_index() == 0:
            self._twin.push(step)

    def restore(self, step: int, like: TrainState, shardings: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """Read a save onto the present mesh, which may differ from the one that wrote it.

        Args:
            step: Which.
            like: A state with the shapes that are expected.
            shardings: Where its arrays shall lie.

        Raises:
            CheckpointError: If it cannot be read, or its arrays are not those of `like`.
        """
        import orbax.checkpoint as ocp

        shapes = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), like, shardings)
        tree = {"params": shapes.params, "frozen": shapes.frozen, "step": shapes.step, "opt_state": shapes.opt_state}
        record = self._read(step, "record", ocp.args.JsonRestore())
        expected, found = _shapes(like), record.get("arrays", {})
        if found != expected:
            wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
            raise CheckpointError(
                f"{self.path(step)}: expected the arrays of this model, found {len(wrong)} that differ, e.g. "
                f"{[(name, found.get(name), expected.get(name)) for name in wrong[:3]]}. Give the sizes of that run, or "
                "another folder."
            )
        state = self._read(step, "state", ocp.args.StandardRestore(tree))
        return TrainState(state["params"], state["frozen"], state["opt_state"], state["step"]), record

    def _read(self, step: int, item: str, args: Any) -> Any:
        import orbax.checkpoint as ocp

        try:
            return self._manager.restore(step, args=ocp.args.Composite(**{item: args}))[item]
        except Exception as error:  # orbax and tensorstore raise many kinds for a damaged save
            raise CheckpointError(
                f"{self.path(step)}: {item}: expected a whole save, found one that cannot be read ({error}). Delete that "
                "folder to go on from the save before it."
            ) from error


def _shapes(state: TrainState) -> dict[str, list]:
    """Name of every array -> its shape and type, JSON-ready."""
    return {
        jax.tree_util.keystr(path): [list(leaf.shape), str(leaf.dtype)]
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def gather_positions(position: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The data's position of every process, known to every process."""
    if jax.process_count() == 1:
        return [dict(position)]
    from jax.experimental import multihost_utils

    text = json.dumps(position).encode()
    own = np.zeros(_POSITION_BYTES, np.uint8)
    own[: len(text)] = np.frombuffer(text, np.uint8)
    return [json.loads(bytes(row).rstrip(b"\0")) for row in np.asarray(multihost_utils.process_allgather(own))]
