"""Reads gzip arrays of HDF5 files with all cores: h5py inflates one chunk at a time, under its lock."""

import contextlib
import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np

MOST_THREADS = 8


@contextlib.contextmanager
def open_pool() -> Iterator[Executor]:
    """Threads that inflate; what waits when the block ends is dropped."""
    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS), thread_name_prefix="vc-data-inflate")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def begin_read(pool: Executor, dataset, start: int, stop: int) -> Callable[[], np.ndarray]:
    """Begin to read `dataset[start:stop]` of a one-dimensional h5py dataset or zarr array.

    Args:
        pool: Where chunks are inflated (`open_pool`).
        dataset: Chunks that are gzip and nothing else are read in parallel, all others by their library when asked for.
        start: First value.
        stop: The value after the last.

    Returns:
        A function that waits and gives the values. It raises `zlib.error` where a chunk is damaged, and what h5py raises.
    """
    if stop <= start or not _is_plain_gzip(dataset):
        return lambda: dataset[start:stop]
    out, size = np.empty(stop - start, dataset.dtype), dataset.chunks[0]
    waiting = []
    for chunk in range(start // size * size, stop, size):
        skipped, raw = dataset.id.read_direct_chunk((chunk,))
        if skipped:
            return lambda: dataset[start:stop]
        waiting.append(pool.submit(_inflate, raw, chunk, size, start, out))

    def finish() -> np.ndarray:
        for inflating in waiting:
            inflating.result()
        return out

    return finish


def _is_plain_gzip(dataset) -> bool:
    """Whether it lies in HDF5 (not in zarr), every chunk is stored and has no filter but gzip."""
    import h5py

    if not isinstance(dataset, h5py.Dataset):
        return False
    if dataset.compression != "gzip" or dataset.shuffle or dataset.fletcher32 or dataset.scaleoffset is not None:
        return False
    return dataset.id.get_num_chunks() == -(-dataset.shape[0] // dataset.chunks[0])


def _inflate(raw: bytes, chunk: int, size: int, start: int, out: np.ndarray) -> None:
    """Put the values of the chunk that begins at `chunk` into `out`, which begins at `start`."""
    content = zlib.decompress(raw, bufsize=size * out.itemsize)
    if len(content) != size * out.itemsize:
        raise zlib.error(f"a chunk of {len(content)} bytes instead of {size * out.itemsize}")
    values = np.frombuffer(content, out.dtype)
    first, last = max(chunk, start), min(chunk + size, start + len(out))
    out[first - start : last - start] = values[first - chunk : last - chunk]
