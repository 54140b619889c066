"""Independent pieces of work on all cores: numpy lets other threads run while it computes.

Every piece computes what it would compute alone, so results do not depend on the number of threads. Decompositions of
this size are quickest on one BLAS thread each (`OPENBLAS_NUM_THREADS=1`, which the command line sets). Small tables gain
nothing, because Python's lock is held between the computations; `VC_THREADS` sets a number of threads.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

MOST = 8  # threads; each holds a table of its own while anchors are fitted


def allowed_threads() -> int:
    """Cores that this process may use, or `VC_THREADS` where it holds a number."""
    said = os.environ.get("VC_THREADS", "")
    if said.isdecimal() and int(said) > 0:
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads[A, B](work: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """Yield `work(item)` of every item, in their order.

    Args:
        work: Must not change what other items use.
        items: What to work on.
    """
    items = list(items)
    n_threads = min(MOST, allowed_threads())
    if min(n_threads, len(items)) < 2:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(n_threads)
    try:
        yield from pool.map(work, items)
    finally:
        # After an interrupt nothing that has not begun is begun.
        pool.shutdown(wait=True, cancel_futures=True)
