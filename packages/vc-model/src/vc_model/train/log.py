"""`metrics.jsonl`: one JSON object per logged step, and trackers that may look on.

The file is the record; a tracker is an optional reader of it.
"""

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, cast

import jax

from vc_model.errors import TrainingError


class Tracker(Protocol):
    """Anything that wants to see metrics as they are written."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Take the values of one step."""
        ...


class MetricsLog:
    """Appends to a metrics file; what lies beyond the step a run goes on from is cut off.

    Args:
        path: The file.
        step: The run goes on after this many steps; later lines are of a run that was lost.
        tracker: Also gets every line.
    """

    def __init__(self, path: Path, step: int = 0, tracker: Tracker | None = None):
        self._path, self._tracker = path, tracker
        kept = [line for line in read_metrics(path) if line["step"] <= step] if path.exists() else []
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        temporary.replace(path)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append the values of one step; numbers that are not finite become null."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with self._path.open("a") as stream:
            stream.write(json.dumps({"step": step, **finite}) + "\n")
        if self._tracker is not None:
            self._tracker.log(values, step)


def read_metrics(path: Path) -> list[dict]:
    """Lines of a metrics file; a last line that was cut short by a crash is left out.

    Raises:
        TrainingError: If any other line is not a JSON object with a step.
    """
    lines = path.read_text().split("\n")
    rows = []
    for number, line in enumerate(lines):
        if not line:
            continue
        try:
            row = json.loads(line)
            row["step"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            if number == len(lines) - 1:
                break
            raise TrainingError(
                f"{path}: line {number + 1}: expected a JSON object with a step, found {line[:60]!r}. Delete that line."
            ) from error
        rows.append(row)
    return rows


def check_tracker(name: str | None) -> None:
    """Refuse a tracker that cannot be used; to be asked before any work.

    Raises:
        TrainingError: If it is unknown or not installed.
    """
    if name is None:
        return
    if name != "wandb":
        raise TrainingError(f"tracker: expected 'wandb' or none, found {name!r}.")
    # A module that is loaded counts, whether it says where it comes from or not; one that is set to None does not.
    if (sys.modules["wandb"] if "wandb" in sys.modules else find_spec("wandb")) is None:
        raise TrainingError(
            "tracker: wandb is not installed. Run `uv pip install 'vc-model[tracking]'`, or leave it out."
        )


@contextmanager
def open_tracker(name: str | None, *, run: str, config: Mapping[str, object]) -> Iterator[Tracker | None]:
    """A tracker by name, imported only when asked for, with a run of its own that ends with the block.

    Args:
        name: `wandb`, or None for none.
        run: Name of the run.
        config: What the run was asked for.

    Yields:
        The tracker, or None without one and in all processes but the first.

    Raises:
        TrainingError: If it is unknown or not installed.
    """
    check_tracker(name)
    if name is None:
        yield None
        return
    import wandb  # pyrefly: ignore[missing-import] an extra

    if jax.process_index() > 0:
        yield None
        return
    # A run that is left open is what the next `init` gives back, and steps of the next stage are dropped as too old.
    with wandb.init(name=run, config={key: str(value) for key, value in config.items()}) as tracker:
        yield cast("Tracker", tracker)
