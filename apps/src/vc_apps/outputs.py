"""A run folder appears whole or not at all."""

import contextlib
import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

RUN_FNAME = "run.json"


class AppError(ValueError):
    """A request that cannot be carried out; the text says what to change."""


@contextlib.contextmanager
def run_folder(out_dpath: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary folder that becomes `out_dpath` when the block ends well, and vanishes when it does not.

    A folder that an earlier run wrote (it holds `run.json`) is replaced in the last moment; anything else that stands
    there is refused before any work is done, unless `overwrite` is set.

    Args:
        out_dpath: Where the run shall stand.
        overwrite: Replace whatever is there.

    Yields:
        The temporary folder, beside `out_dpath`.

    Raises:
        AppError: If `out_dpath` exists and is not an earlier run.
    """
    out_dpath = Path(out_dpath).absolute()
    if out_dpath.exists() and not (overwrite or (out_dpath / RUN_FNAME).is_file()):
        raise AppError(
            f"{out_dpath}: exists and holds no {RUN_FNAME}, so it is not an earlier run of this command. "
            "Give another --out, or --overwrite to replace it."
        )
    out_dpath.parent.mkdir(parents=True, exist_ok=True)
    tmp_dpath = out_dpath.with_name(f".{out_dpath.name}.tmp-{os.getpid()}")
    tmp_dpath.mkdir()
    try:
        yield tmp_dpath
        old_dpath = out_dpath.with_name(f".{out_dpath.name}.old-{os.getpid()}")
        if out_dpath.exists():
            out_dpath.rename(old_dpath)
        tmp_dpath.rename(out_dpath)
        shutil.rmtree(old_dpath, ignore_errors=True)
    finally:
        shutil.rmtree(tmp_dpath, ignore_errors=True)


def check_space(dpath: Path, n_bytes: int) -> None:
    """Refuse a disk that cannot hold `n_bytes` more; to be asked before HDF5, which does not survive a failed write.

    Raises:
        OSError: ENOSPC.
    """
    if shutil.disk_usage(dpath).free < n_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(dpath))


def write_json(fpath: Path, value: dict) -> None:
    """Write `value` as readable JSON with sorted keys."""
    fpath.write_text(json.dumps(value, indent=2, sort_keys=True, default=str) + "\n")


def say(text: str) -> None:
    """One line of progress on stderr, unless `vc --quiet`."""
    if os.environ.get("VC_VOLUME") != "quiet":
        print(text, file=sys.stderr, flush=True)
