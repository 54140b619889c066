"""Work in a process of its own, beside what follows: two fits in one process wait for Python's lock, not for the processor."""

import contextlib
import multiprocessing
import os
import pickle
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from vc_apps.outputs import AppError


def beside[A](work: Callable[..., A], *args: Any) -> Callable[[], tuple[A, float]]:
    """Start `work(*args)` in a fresh process.

    Args:
        work: A function of a module; it and its arguments are pickled.
        args: Its arguments.

    Returns:
        Waits for the end and gives the result and the seconds it took, or raises its error. The process ends with this
        one, however this one ends.
    """
    name = getattr(work, "func", work).__name__  # of a partial function, that of the function
    # A fork would copy the locks of threads that it does not copy.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(there, work, args), name=name, daemon=True)
    process.start()
    there.close()

    def result() -> tuple[A, float]:
        try:
            value, error, seconds = here.recv()
        except EOFError:
            process.join()
            raise AppError(
                f"{name}: its process ended with code {process.exitcode} and gave no result: memory ran out "
                '(take a smaller screen), or a script that starts it lacks `if __name__ == "__main__":`.'
            ) from None
        process.join()
        if error is not None:
            raise error
        return value, seconds

    return result


def _work(there: Connection, work: Callable[..., Any], args: tuple) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    start = time.perf_counter()
    value, error = None, None
    try:
        value = work(*args)
    except KeyboardInterrupt:
        os._exit(130)  # whoever started us was interrupted, too, and says so
    except Exception as caught:
        error = _sendable(caught)
    with contextlib.suppress(BrokenPipeError):
        there.send((value, error, time.perf_counter() - start))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(130)


def _sendable(error: Exception) -> Exception:
    """The error, or where it cannot be pickled one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        expected = isinstance(error, ValueError | OSError | MemoryError)
        return AppError(str(error)) if expected else RuntimeError("".join(traceback.format_exception(error)))
    return error
