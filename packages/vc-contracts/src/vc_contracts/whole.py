"""One writer for every output: whole or not at all, and nothing of the user's is ever replaced.

A target is built beside its place under a name nobody else uses, and renamed. An existing target is replaced only on
request and only where it is an output of the same kind that this project wrote. A lock beside the target keeps a second
process out; what a killed one left is cleared by the next.
"""

import contextlib
import os
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vc_contracts.bucket.address import is_address
from vc_contracts.errors import OutputError
from vc_contracts.kinds import MARKER, kind_of, strangers_in, write_marker


def check_target(
    path: str | Path,
    *,
    kind: str = "file",
    overwrite: bool = False,
    inputs: Iterable[str | Path] = (),
    make_parent: bool = False,
) -> Path:
    """Absolute path of an output, checked before any work is done.

    Args:
        path: Target file or folder.
        kind: A contract, `file` for a file without header, or any other word for a folder that `write_whole` marks.
        overwrite: Allow an existing output of the same kind.
        inputs: What the output is made from; none of them may be, hold or lie in the target.
        make_parent: The folder of the target will be made; else it must exist.

    Raises:
        OutputError: The target exists and may not be replaced, is an input, or its folder does not exist.
    """
    if is_address(path):
        from vc_contracts.bucket.address import parse
        from vc_contracts.bucket.local import check_free

        check_free(parse(path), overwrite=overwrite, kind=None)
        return Path(path)
    path = Path(os.path.abspath(path))  # noqa: PTH100 - a link at the target itself must stay a link
    if "\0" in str(path):
        raise OutputError(repr(str(path)), "output", "a name of a file", "a NUL character", "Choose another name.")
    _check_inputs(path, inputs)
    recover(path)
    if not is_free(path):
        _check_replaceable(path, kind, overwrite)
    parent = path.parent
    while make_parent and not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise OutputError(path, "output", "an existing folder to write into", f"no {path.parent}", "Make the folder.")
    if not os.access(parent, os.W_OK | os.X_OK):
        do = "Choose another folder, or change its permissions."
        raise OutputError(path, "output", "a folder that can be written", f"{parent} cannot", do)
    return path


@contextlib.contextmanager
def write_whole(
    path: str | Path,
    *,
    kind: str = "file",
    overwrite: bool = False,
    inputs: Iterable[str | Path] = (),
    make_parent: bool = False,
) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` on success, remove it on any failure or signal.

    Args:
        path: Target file or folder; at an address in a bucket, it is made here and uploaded whole.
        kind: A contract; `file`, `cells` or `archive` for a file without header; or any other word for a folder that is
            marked.
        overwrite: Replace an existing output of the same kind; it stays in place until the replacement is whole.
        inputs: What the output is made from.
        make_parent: Make the folder of the target.

    Raises:
        OutputError: As `check_target`, or another process is at work on the same output.
    """
    if is_address(path):
        from vc_contracts.bucket.local import delivered

        with delivered(path, overwrite=overwrite) as local, write_whole(local, kind=kind, overwrite=True) as temporary:
            yield temporary
        return
    path = check_target(path, kind=kind, overwrite=overwrite, inputs=inputs, make_parent=make_parent)
    path.parent.mkdir(parents=make_parent, exist_ok=True)
    with terminate_like_interrupt(), lock_output(path):
        clear(path)
        temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}-{uuid.uuid4().hex[:12]}")
        try:
            yield temporary
            if temporary.is_dir():
                write_marker(temporary, kind)
            publish(temporary, path, kind=kind, overwrite=overwrite)
        finally:
            remove(temporary)


@contextlib.contextmanager
def work_folder(temporary: Path) -> Iterator[Path]:
    """A folder for what is made on the way to an output, beside its temporary; the next run clears what a kill leaves."""
    folder = temporary.with_name(f"{temporary.name}-work")
    folder.mkdir()
    try:
        yield folder
    finally:
        remove(folder)


def is_free(path: Path) -> bool:
    """Whether nothing is lost by writing there: no such name, or an empty folder."""
    if path.is_symlink():
        return False
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def publish(temporary: Path, path: Path, *, kind: str, overwrite: bool) -> None:
    """Give a whole output its name; what is there by now is checked again, because work took time."""
    if is_free(path):
        if path.is_dir():
            path.rmdir()
        temporary.rename(path)
        return
    _check_replaceable(path, kind, overwrite)
    if not path.is_dir() and not temporary.is_dir():
        temporary.replace(path)
        return
    aside = path.with_name(f".{path.name}.old-{os.getpid()}-{uuid.uuid4().hex[:12]}")
    path.rename(aside)
    try:
        temporary.rename(path)
    except BaseException:
        aside.rename(path)
        raise
    remove(aside)


def recover(path: Path) -> None:
    """Put an output back that a process was killed over between its two renames."""
    if path.exists() or path.is_symlink() or not path.parent.is_dir():
        return
    older = sorted(path.parent.glob(f".{_escaped(path.name)}.old-*"))
    if len(older) == 1:
        with contextlib.suppress(OSError, OutputError), lock_output(path):
            if not path.exists():
                older[0].rename(path)


def clear(path: Path) -> None:
    """Remove what killed processes left of an output; call with its lock held."""
    for pattern in ("tmp-*", "old-*"):
        for left in path.parent.glob(f".{_escaped(path.name)}.{pattern}"):
            remove(left)


def remove(path: Path) -> None:
    """Remove a file or folder if it is there; zarr's writer threads may still be adding files right after Ctrl-C."""
    for attempt in range(20):
        try:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
            return
        except OSError:
            if attempt == 19:
                raise
            time.sleep(0.05)


@contextlib.contextmanager
def lock_output(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold `.NAME.lock` beside an output; the system lets go of it when the process dies.

    Args:
        path: The output.
        wait: Wait for another process that holds it.

    Raises:
        OutputError: Another process holds it, and `wait` is false.
    """
    try:
        import fcntl
    except ImportError:  # not on this system; temporaries still have names of their own
        yield
        return
    lock = path.with_name(f".{path.name}.lock")
    descriptor = -1
    while descriptor < 0:
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            same = os.path.samestat(os.fstat(descriptor), lock.stat())
        except BlockingIOError:
            os.close(descriptor)
            do = "Wait for it, or choose another name."
            raise OutputError(path, "output", "one process at a time", "another one at work on it", do) from None
        except FileNotFoundError:
            same = False
        except OSError:  # a file system without locks
            same = True
        if not same:
            os.close(descriptor)
            descriptor = -1
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


@contextlib.contextmanager
def terminate_like_interrupt() -> Iterator[None]:
    """While the block runs, SIGTERM is a KeyboardInterrupt, so that temporaries go with it."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt("terminated")

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _check_inputs(path: Path, inputs: Iterable[str | Path]) -> None:
    real = Path(os.path.realpath(path))
    for given in inputs:
        if is_address(given):
            continue
        source = Path(os.path.realpath(given))
        if source == real or real in source.parents or (source.is_dir() and source in real.parents):
            found = f"the input {given}" if source == real else f"the input {given}, one inside the other"
            raise OutputError(path, "output", "another place than its inputs", found, "Choose another name.")


def _check_replaceable(path: Path, kind: str, overwrite: bool) -> None:
    if not overwrite:
        do = "Pass --overwrite or another name."
        raise OutputError(path, "output", "a free name", "something there already", do)
    do = "Move it away or choose another name; only an output of the same kind is ever replaced."
    if path.is_symlink():
        raise OutputError(path, "output", f"an earlier {kind} output to replace", "a symbolic link", do)
    found = kind_of(path, kind)
    if found != kind:
        raise OutputError(path, "output", f"an earlier {kind} output to replace", found or "something else", do)
    strangers = strangers_in(path, kind)
    if strangers:
        found = f"files that are not part of it: {', '.join(repr(name) for name in strangers[:5])}"
        raise OutputError(path, "output", f"nothing but an earlier {kind} output", found, do)


def _escaped(name: str) -> str:
    import glob

    return glob.escape(name)


__all__ = [
    "MARKER",
    "check_target",
    "clear",
    "is_free",
    "lock_output",
    "publish",
    "recover",
    "remove",
    "work_folder",
    "write_whole",
]
