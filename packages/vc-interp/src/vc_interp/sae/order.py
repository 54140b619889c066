"""Batches of rows from disk, shuffled, in an order that depends on nothing but seed and step.

An epoch permutes blocks of rows; a window of several blocks is held in memory and its rows are permuted. So a run that was
stopped goes on with the same batches, and memory is two windows (the next one is read while one is used).
"""

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from vc_interp.files.stored import StoredLatents

WINDOW_BYTES = 1 << 25


@dataclass(frozen=True)
class Order:
    """Which rows every step takes.

    Attributes:
        n_rows: Rows of the file.
        batch: Rows of a step; what remains of a window is left out in that epoch.
        block: Rows that lie together on disk.
        per_window: Blocks of a window.
        seed: Of the permutations.
    """

    n_rows: int
    batch: int
    block: int
    per_window: int
    seed: int

    def windows(self, epoch: int) -> list[np.ndarray]:
        """Block numbers of every window of an epoch that holds a batch."""
        n_blocks = -(-self.n_rows // self.block)
        order = np.random.default_rng([self.seed, epoch, 1]).permutation(n_blocks)
        cut = [order[at : at + self.per_window] for at in range(0, n_blocks, self.per_window)]
        return [blocks for blocks in cut if self.rows_in(blocks) >= self.batch]

    def rows_in(self, blocks: np.ndarray) -> int:
        """Rows of these blocks."""
        return int(np.minimum(self.block, self.n_rows - blocks * self.block).sum())

    def places(self, step: int) -> Iterator[tuple[int, int, np.ndarray, int]]:
        """Epoch, window, its blocks, and the first batch of it that is wanted, from a step on, for ever."""
        epoch = 0
        while True:
            for window, blocks in enumerate(self.windows(epoch)):
                n_batches = self.rows_in(blocks) // self.batch
                if step < n_batches:
                    yield epoch, window, blocks, step
                step = max(0, step - n_batches)
            epoch += 1


def make_order(stored: StoredLatents, batch: int, seed: int) -> Order:
    """The order for a file: blocks as it is read, and windows of about 32 MB (at least one batch)."""
    batch = min(batch, len(stored))
    block = min(max(1, (1 << 21) // (4 * stored.width)), len(stored))
    rows = max(batch, min(len(stored), WINDOW_BYTES // (4 * stored.width)))
    return Order(len(stored), batch, block, max(1, -(-rows // block)), seed)


def batches(stored: StoredLatents, order: Order, step: int = 0) -> Generator[np.ndarray]:
    """[batch, d] float32 of every step from `step` on, for ever.

    Args:
        stored: The activations.
        order: From `make_order`.
        step: Where to start.
    """
    with ThreadPoolExecutor(1) as pool:
        places = order.places(step)

        def load() -> Future[tuple[np.ndarray, int]]:
            epoch, window, blocks, first = next(places)
            return pool.submit(_window, stored, order, epoch, window, blocks, first)

        coming = load()
        while True:
            (values_nd, first), coming = coming.result(), load()
            for at in range(first, len(values_nd) // order.batch):
                yield values_nd[at * order.batch : (at + 1) * order.batch]


def _window(
    stored: StoredLatents, order: Order, epoch: int, window: int, blocks: np.ndarray, first: int
) -> tuple[np.ndarray, int]:
    sizes = np.minimum(order.block, order.n_rows - blocks * order.block)
    # Each block goes straight to its rows' places in the mixed window: one window in memory, and one block.
    place_n = np.argsort(np.random.default_rng([order.seed, epoch, 2, window]).permutation(int(sizes.sum())))
    values_nd, at = np.empty((len(place_n), stored.width), np.float32), 0
    for block, size in zip(blocks.tolist(), sizes.tolist(), strict=True):
        values_nd[place_n[at : at + size]] = stored.read(block * order.block, block * order.block + size)
        at += size
    return values_nd, first
