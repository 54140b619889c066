"""`OUT.train`: where unfinished training lies; the same command goes on from it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from vc_apps.outputs import AppError

PARTS = frozenset(["pretrain", "align", "ac", "decode", "folds", "saves", "metrics.jsonl"])
"""What training leaves in it."""
DONE = ".done-"


@contextlib.contextmanager
def work_folder(out: Path, *, first: bool = True) -> Iterator[Path]:
    """Give the folder of unfinished training beside an output; whoever ends well removes it with `close`.

    Args:
        out: The checkpoint.
        first: Of several processes this is the first one, which holds the lock.

    Raises:
        AppError: Something of the user's has that name.
        OutputError: Another process trains towards the same output.
    """
    from vc_contracts.whole import lock_output, remove

    work = out.with_name(out.name + ".train")
    if not first:
        yield work
        return
    strangers = [work.name] if work.is_symlink() or (work.exists() and not work.is_dir()) else []
    strangers = strangers or sorted(_strangers(work))
    if strangers:
        raise AppError(
            f"{work}: expected no such folder, or unfinished training, found {strangers[:5]}. Move it away, or give "
            "another --out."
        )
    work.parent.mkdir(parents=True, exist_ok=True)
    with lock_output(work):
        for left in _rests(work):
            remove(left)
        yield work


def close(work: Path) -> None:
    """Remove the work that is now finished; renamed first, because half of it must never be gone on from."""
    from vc_contracts.whole import remove

    for part in PARTS:
        place = work / part
        if place.exists():
            place.rename(work / f"{DONE}{part}")
    for left in _rests(work):
        remove(left)
    with contextlib.suppress(OSError):
        work.rmdir()


def _strangers(work: Path) -> list[str]:
    names = {path.name for path in work.iterdir()} if work.is_dir() else set()
    return sorted(names - PARTS - {path.name for path in _rests(work)})


def _rests(work: Path) -> list[Path]:
    """What a killed writer of metrics left, and finished work that was about to be removed."""
    return [*work.glob(".metrics.jsonl.tmp*"), *work.glob(f"{DONE}*")] if work.is_dir() else []
