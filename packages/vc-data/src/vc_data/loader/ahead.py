"""Steps prepared before they are asked for, in order, whatever the number of threads.

Plain threads are enough: nearly all the work runs outside the interpreter lock. (grain's reader would do the same, but
importing it brings JAX, which takes longer than all else before the first batch; `Loader` is a source that grain takes.)
"""

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

MOST_THREADS = 4
"""Beyond these, threads wait for memory and the interpreter rather than work."""


def default_threads() -> int:
    """As many threads as cores that this process may use, up to `MOST_THREADS`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_THREADS)


class Ahead[Made]:
    """An iterator over `make(step)` for `step` in `position..length - 1`.

    Args:
        make: Makes what belongs to a step; called from several threads at once, or where asked with `threads=0`.
        length: The step after the last.
        threads: Steps at work at once.
    """

    def __init__(self, make: Callable[[int], Made], length: int, threads: int):
        self._make, self._length, self._threads = make, length, threads
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[Made]] = deque()
        self.position = 0

    def __iter__(self) -> "Ahead[Made]":
        """The iterator itself."""
        return self

    def __next__(self) -> Made:
        """What belongs to the next step; the position moves on once it is made."""
        if self.position >= self._length:
            raise StopIteration
        if not self._threads:
            made = self._make(self.position)
        else:
            pool = self._start()
            upto = min(self.position + self._threads + 1, self._length)
            for step in range(self.position + len(self._waiting), upto):
                self._waiting.append(pool.submit(self._make, step))
            made = self._waiting[0].result()
            self._waiting.popleft()
        self.position += 1
        if self._waiting and self.position + self._threads < self._length:
            self._waiting.append(self._start().submit(self._make, self.position + self._threads))
        return made

    def _start(self) -> ThreadPoolExecutor:
        """The threads, started when first asked for."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="vc-data-loader")
        return self._pool

    def move(self, position: int) -> None:
        """Go on from another step; what was prepared is dropped."""
        for waiting in self._waiting:
            waiting.cancel()
        self._waiting.clear()
        self.position = position
