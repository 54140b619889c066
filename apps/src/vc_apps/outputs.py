"""A run folder appears whole or not at all."""

import contextlib
import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vc_contracts.bucket.address import shown
from vc_contracts.command import json_values
from vc_contracts.errors import Refusal
from vc_contracts.progress import say

__all__ = ["RUN_FNAME", "AppError", "check_out", "check_space", "inputs_of", "plain", "run_folder", "say", "write_json"]
RUN_FNAME = "run.json"


class AppError(Refusal):
    """A request that cannot be carried out; the text says what to change."""


@contextlib.contextmanager
def run_folder(out_dpath: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary folder that becomes `out_dpath` when the block ends well, and vanishes when it does not.

    The one rule of this project: an earlier run that stands there is replaced only on request, in the last moment, and
    anything else never (`vc_contracts.write_whole`); both are refused before any work is done.

    Args:
        out_dpath: Where the run shall stand.
        overwrite: Replace an earlier run.

    Yields:
        The temporary folder, beside `out_dpath`.

    Raises:
        OutputError: If something stands there that may not be replaced.
    """
    from vc_contracts import write_whole

    with write_whole(out_dpath, kind="run", overwrite=overwrite, make_parent=True) as tmp_dpath:
        tmp_dpath.mkdir()
        yield tmp_dpath


def check_out(settings: Any, kind: str = "file") -> None:
    """Refuse, before any work, an output that may not be written: taken, of another kind, or one of the inputs.

    Args:
        settings: What the user set: `out`, `overwrite`, and inputs in every other field that holds paths.
        kind: As `vc_contracts.write_whole` takes it.

    Raises:
        OutputError: With the reason.
    """
    from vc_contracts import check_target

    check_target(
        settings.out, kind=kind, overwrite=settings.overwrite, inputs=list(inputs_of(settings)), make_parent=True
    )


def inputs_of(settings: Any) -> Iterator[Path]:
    """Every path among the settings but the output."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name != "out":
            yield from (path for path in (value if isinstance(value, tuple) else (value,)) if isinstance(path, Path))


def check_space(dpath: Path, n_bytes: int) -> None:
    """Refuse a disk that cannot hold `n_bytes` more; to be asked before HDF5, which does not survive a failed write.

    Raises:
        OSError: ENOSPC.
    """
    if shutil.disk_usage(dpath).free < n_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(dpath))


def plain(settings: Any) -> dict[str, Any]:
    """The settings of a command as JSON and TOML hold them; `vc rerun` reads them again."""
    return json.loads(json.dumps(dataclasses.asdict(settings), default=shown))


def write_json(fpath: Path, value: dict) -> None:
    """Write `value` as readable JSON with sorted keys; a number that is not finite is null."""
    values = json_values(json.loads(json.dumps(value, default=shown)))
    fpath.write_text(json.dumps(values, indent=2, sort_keys=True, allow_nan=False) + "\n")
