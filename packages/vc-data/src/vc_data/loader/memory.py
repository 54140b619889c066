"""What the loader holds in memory: output buffers, the blocks of the shuffle window, and the control pools."""

import itertools
import sys
import threading
from collections.abc import Iterator

import numpy as np

from vc_data.loader import kernel
from vc_data.loader.eligible import Pool
from vc_data.loader.packed import PackedScreen
from vc_data.loader.sample import Epoch, Sampler

READ_AHEAD = 16
"""Blocks being read before they are needed."""
_ALIGNMENT = 64  # bytes; JAX on CPU takes an aligned array without copying it
_ROWS_PER_READ = 512


class Buffers:
    """Large arrays that are handed out again once nobody holds them or a view of them.

    Fresh memory for every batch costs a third of the speed (page faults). An array is idle when its reference count is
    that of one which only this list holds; views, JAX arrays and torch tensors that share its memory hold a reference.
    """

    _MOST = 16

    def __init__(self):
        self._lock = threading.Lock()
        self._arrays: list[np.ndarray] = [np.empty(0, np.uint8)]
        self._idle = self._count(0)

    def take(self, n: int, width: int, dtype: type) -> np.ndarray:
        """An array [n, width] with any content."""
        size = n * width * np.dtype(dtype).itemsize + _ALIGNMENT
        with self._lock:
            for i in range(len(self._arrays)):
                if self._arrays[i].nbytes == size and self._count(i) == self._idle:
                    return self._view(self._arrays[i], n, width, dtype)
            array = np.empty(size, np.uint8)
            self._arrays.append(array)
            del self._arrays[1 : max(1, len(self._arrays) - self._MOST)]
            return self._view(array, n, width, dtype)

    def _count(self, i: int) -> int:
        return sys.getrefcount(self._arrays[i])

    @staticmethod
    def _view(array: np.ndarray, n: int, width: int, dtype: type) -> np.ndarray:
        skip = -array.ctypes.data % _ALIGNMENT
        return array[skip : skip + n * width * np.dtype(dtype).itemsize].view(dtype).reshape(n, width)


class Blocks:
    """Blocks of the shuffle window, read before they are needed and dropped after their last use."""

    def __init__(self, sampler: Sampler, margin: int):
        self._sampler = sampler
        self._margin = margin
        self._lock = threading.Lock()
        self._reads: dict[tuple[int, int], tuple[PackedScreen, object]] = {}
        self._arrays: dict[tuple[int, int], np.ndarray] = {}

    def read_ahead(self, epoch: int, plan: Epoch, step: int) -> None:
        """Begin to read what this step and the next ones need; drop what is behind."""
        size = self._sampler.settings.batch_size
        begin, end = step * size, (step + 1) * size
        first = plan.first[plan.arrival]
        now = np.searchsorted(first, begin), np.searchsorted(first, end) + READ_AHEAD
        with self._lock:
            for block in plan.arrival[now[0] : now[1]]:
                self._begin(epoch, plan, int(block))
            if now[1] > len(plan.arrival):
                following = self._sampler.plan(epoch + 1)
                for block in following.arrival[: now[1] - len(plan.arrival)]:
                    self._begin(epoch + 1, following, int(block))
            for key in [key for key in self._reads if self._is_behind(key, epoch, plan, begin)]:
                del self._reads[key]
                self._arrays.pop(key, None)

    def get(self, epoch: int, plan: Epoch, block: int) -> np.ndarray:
        """Codes of a block; reads it where it was not read ahead."""
        key = (epoch, block)
        with self._lock:
            if key in self._arrays:
                return self._arrays[key]
            self._begin(epoch, plan, block)
            screen, read = self._reads[key]
        codes = screen.finish(read)
        with self._lock:
            if key in self._reads:
                self._arrays[key] = codes
        return codes

    def _begin(self, epoch: int, plan: Epoch, block: int) -> None:
        if (epoch, block) not in self._reads:
            s, start, stop = self._sampler.span(plan, block)
            screen = self._sampler.screens[s]
            self._reads[epoch, block] = screen, screen.read(start, stop)

    def _is_behind(self, key: tuple[int, int], epoch: int, plan: Epoch, position: int) -> bool:
        late = position - self._margin * self._sampler.settings.batch_size
        if key[0] == epoch:
            return plan.last[key[1]] < late
        return key[0] < epoch and late >= 0


class ControlPools:
    """The control pools of a screen, in memory in packed form, brought at first use."""

    def __init__(self, screen: PackedScreen, pools: dict[str, Pool]):
        self._screen, self._pools = screen, pools
        self._lock = threading.Lock()
        self._held: dict[str, tuple] = {}
        self._means: dict[tuple[str, int, int], np.ndarray] = {}

    def rows(self, name: str, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Codes [m] of a pool, and starts, stops and scales of the controls at the given positions."""
        codes, starts, stops, scales = self._pool(name)
        return codes, starts[positions], stops[positions], scales[positions]

    def mean_matched(self, name: str, pairs: np.ndarray, n_genes: int) -> np.ndarray:
        """[g] Mean, over cells of the given (cell line, batch) pairs, of the mean of each cell's controls."""
        pool = self._pools[name]
        total = np.zeros(n_genes)
        codes, numbers = np.unique(pairs, return_counts=True)
        for code, n in zip(codes, numbers, strict=True):
            lo, hi = pool.lo[code], pool.hi[code]
            if lo == hi:
                lo, hi = pool.line_lo[code], pool.line_hi[code]
            total += n * self._mean(name, int(lo), int(hi), n_genes)
        return total / len(pairs)

    def _mean(self, name: str, lo: int, hi: int, n_genes: int) -> np.ndarray:
        if (name, lo, hi) not in self._means:
            codes, starts, stops, scales = self._pool(name)
            total = np.zeros(n_genes)
            kernel.add_profile(total, codes, starts[lo:hi], stops[lo:hi], scales[lo:hi])
            self._means[name, lo, hi] = (total / (hi - lo)).astype(np.float32)
        return self._means[name, lo, hi]

    def _pool(self, name: str) -> tuple:
        with self._lock:
            if name not in self._held:
                self._held[name] = self._bring(name)
            return self._held[name]

    def _bring(self, name: str) -> tuple:
        screen, rows = self._screen, self._pools[name].rows
        ascending = np.sort(rows)
        lengths = screen.offsets[ascending + 1] - screen.offsets[ascending]
        ends = np.cumsum(lengths)
        held = np.empty(ends[-1], np.uint8)
        breaks = np.flatnonzero(np.diff(ascending) > _ROWS_PER_READ) + 1
        for run in np.split(ascending, breaks):
            for start, stop, codes in read_rows(screen, int(run[0]), int(run[-1]) + 1):
                i, j = np.searchsorted(ascending, (start, stop))
                if i == j:
                    continue
                own = ascending[i:j]
                begin, end = (screen.offsets[own + k] - screen.offsets[start] for k in (0, 1))
                to = slice(ends[i] - lengths[i], ends[j - 1])
                kernel.gather_rows(codes, begin, end, held[to])
        at = np.searchsorted(ascending, rows)
        return held, ends[at] - lengths[at], ends[at], scale_rows(screen, rows)


def read_rows(screen: PackedScreen, start: int, stop: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Packed rows in pieces (start, stop, codes), several being read ahead."""
    edges = [*range(start, stop, _ROWS_PER_READ), stop]
    spans = list(itertools.pairwise(edges))
    reads = [screen.read(*span) for span in spans[:READ_AHEAD]]
    for i, (begin, end) in enumerate(spans):
        if i + READ_AHEAD < len(spans):
            reads.append(screen.read(*spans[i + READ_AHEAD]))
        yield begin, end, screen.finish(reads[i])
        reads[i] = None


def scale_rows(screen: PackedScreen, rows: np.ndarray) -> np.ndarray:
    """[r] float32: what a count of each packed row is multiplied by to be CP10k."""
    return kernel.TARGET_SUM / screen.total[rows]
