"""Progress of long work: a bar on a terminal, nothing in a log, nothing with `--quiet`.

Every package uses this one, so that a log file of any command holds lines and no carriage returns. The bar is tqdm's;
packages that show progress depend on it, this one does not.
"""

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

QUIET, NORMAL, VERBOSE = "quiet", "normal", "verbose"
VOLUME = "VC_VOLUME"
"""Environment variable with one of these; `vc_contracts.command.switches` sets it, child processes inherit it."""


def volume() -> str:
    """How much a command says on standard error: quiet, normal or verbose."""
    return os.environ.get(VOLUME, NORMAL)


def shows_progress() -> bool:
    """Whether bars are drawn: standard error is a terminal, and nobody asked for quiet."""
    return volume() != QUIET and sys.stderr is not None and sys.stderr.isatty()


def progress(
    items: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    desc: str,
    unit: str = "it",
    initial: int = 0,
    leave: bool = False,
    shown: bool = True,
    **more: Any,
) -> "tqdm[Any]":
    """A tqdm bar that is only drawn where somebody watches.

    Args:
        items: What is gone through; without it, call `update`.
        total: How many there are, where they cannot say so themselves.
        desc: What is done.
        unit: Of one item.
        initial: Items that were done earlier.
        leave: Keep the last state of the bar on the screen.
        shown: False draws none, whatever the terminal.
        more: Further arguments of tqdm.
    """
    from tqdm import tqdm

    shown = shown and shows_progress()
    return tqdm(items, total=total, desc=desc, unit=unit, initial=initial, leave=leave, disable=not shown, **more)


def say(text: str) -> None:
    """One line of what is being done, on standard error, unless `--quiet`."""
    if volume() != QUIET:
        print(text, file=sys.stderr, flush=True)
