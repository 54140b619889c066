"""Ctrl-C and SIGTERM as a question that the training loop asks between two steps."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class InterruptedRun(KeyboardInterrupt):
    """Training was stopped and its state saved; the text says where, and how to go on."""


@contextmanager
def catch_interrupts() -> Iterator[Callable[[], bool]]:
    """While the block runs, the first SIGINT or SIGTERM is remembered and the second one acts as usual.

    Yields:
        A function that says whether one has come. Use it in the main thread.
    """
    caught: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def remember(number: int, _) -> None:
        caught.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, remember)
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
