"""The work folder of a long job, `.NAME.part` beside its output: survives a kill, and the same job goes on from it.

Notes are small JSON files, replaced whole: what a note says has been handed to the operating system before. That covers
any death of the process; after a power cut, delete the folder.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from vc_contracts.bucket.address import is_address

from vc_data.errors import OutputError


@contextlib.contextmanager
def open_part(target: Path, job: dict) -> Iterator[Path]:
    """Give the work folder of `target`; what another job left in it is removed.

    An interrupt (Ctrl-C, a signal that Python turns into one) keeps the folder, success and any error remove it.

    Args:
        target: The output.
        job: What decides the output's bytes, JSON; the same job resumes.

    Raises:
        OutputError: Another process works on the same output.
    """
    if is_address(target):
        do = "Use the command (vc-data convert, merge), or write here and then: vc-contracts copy."
        raise OutputError(target, "output", "a local path", "an address in a bucket", do)
    folder = part_path(target)
    lock = _lock(folder, target)
    keep = False
    try:
        if read_note(folder / "job.json") != json.loads(json.dumps(job)):
            for path in folder.iterdir():
                if path.name != "lock":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            write_note(folder / "job.json", job)
        yield folder
    except (KeyboardInterrupt, SystemExit):
        keep = True
        raise
    finally:
        if not keep:
            _remove(folder)
        os.close(lock)


def part_path(target: Path) -> Path:
    """Where the work folder of an output lies."""
    return target.with_name(f".{target.name}.part")


def publish(built: Path, target: Path) -> None:
    """Give a whole output its name; a folder that is in the way steps aside into the work folder first."""
    if target.is_dir() and not target.is_symlink():
        aside = built.with_name("replaced")
        if aside.exists():
            shutil.rmtree(aside)
        target.rename(aside)
    built.rename(target)


def read_note(path: Path) -> dict | None:
    """A note, or None where there is none."""
    for place in (path, _following(path)):
        # A following note is half written at most where the one before it is still there, or where it is the first.
        with contextlib.suppress(FileNotFoundError, ValueError):
            return json.loads(place.read_text())
    return None


def write_note(path: Path, note: dict) -> None:
    """Write a note so that after a kill at any point there is this one or the one before."""
    following = _following(path)
    following.write_text(json.dumps(note))
    # Removed first: a file system may write a file out to disk, and wait, before it lets it replace another.
    path.unlink(missing_ok=True)
    following.rename(path)


def _following(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _lock(folder: Path, target: Path) -> int:
    """Hold the folder until the returned descriptor is closed, or the process dies."""
    import fcntl

    while True:
        folder.mkdir(exist_ok=True)
        try:
            descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), (folder / "lock").stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except BlockingIOError:
            os.close(descriptor)
            do = "Wait for it, or choose another name."
            raise OutputError(target, "output", "one process at a time", "another one at work on it", do) from None
        os.close(descriptor)


def _remove(folder: Path) -> None:
    """Remove the folder; the job's note goes first, so that half a folder is never taken for work to resume."""
    (folder / "job.json").unlink(missing_ok=True)
    for _ in range(20):
        # zarr's writer threads may still be adding files right after an error.
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
