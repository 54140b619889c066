"""Rows of a matrix in blocks: in memory, in a file, or made on the way; always CSR of float32 or float64.

A file that is read more than once is read again, block by block, so memory stays bounded whatever its size; a small
compressed file is kept once it was decompressed, and so is a small column store once its rows were put together.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import scipy.sparse
from vc_contracts.trouble import damage_as

from vc_eval.cells.inputs import source_name
from vc_eval.errors import VcEvalError
from vc_eval.rank import sweep

if TYPE_CHECKING:
    import anndata

BLOCK_BYTES = 64 << 20  # of one block of rows


class Rows(Protocol):
    """A matrix that is read from the first row to the last, as often as needed."""

    n_rows: int
    n_columns: int
    dtype: np.dtype
    n_blocks: int

    def blocks(self) -> Iterator[tuple[int, scipy.sparse.csr_array]]:
        """(first row, rows as CSR) until all rows are seen."""


def with_bar(matrix: Rows, what: str, progress: bool) -> Iterator[tuple[int, scipy.sparse.csr_array]]:
    """The blocks of a matrix, the next one read while one is worked on, with a progress bar if wanted."""
    from vc_contracts import progress as bars

    bar = bars.progress(total=matrix.n_blocks, desc=what, unit="block", shown=progress)
    blocks = matrix.blocks()
    with bar, ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = pool.submit(next, blocks, None)
            yield block
            bar.update()


def _readable(name: str) -> AbstractContextManager[None]:
    """Damaged bytes as a refusal that names the file."""
    do = "The file is damaged: copy or make it again."
    return damage_as(lambda said: VcEvalError(f"{name}: X: expected values that can be read, found '{said}'. {do}"))


class RowMatrix:
    """The rows of `X` of some cells, in memory or in a file.

    Args:
        adata: The cells.
        memory_mb: A compressed file or a column store that takes less than half of it is kept; a larger column store is
            turned into rows half of it at a time.

    Raises:
        VcEvalError: If X is missing or does not hold numbers.
    """

    n_rows: int
    n_columns: int
    dtype: np.dtype
    dense: Any
    """X as an array, in memory or in a file; None for a sparse matrix."""
    arrays: Any
    """(values, indices, pointers) of a sparse matrix, in memory or in a file; None for an array."""

    def __init__(self, adata: "anndata.AnnData", memory_mb: int) -> None:
        x: Any = adata.X
        if x is None:
            raise VcEvalError(f"{source_name(adata)}: X is missing; expected expression values.")
        in_memory = scipy.sparse.issparse(x) or isinstance(x, np.ndarray)
        by_column = getattr(x, "format", "csr") == "csc" and not in_memory
        if scipy.sparse.issparse(x):  # narrow types are widened before anything adds positions up
            x = scipy.sparse.csr_array(x if x.dtype.itemsize > 2 else x.astype(np.float32))
        self.n_rows, self.n_columns = x.shape
        found = np.dtype(x.dtype)
        if found.kind not in "fiub":
            raise VcEvalError(f"{source_name(adata)}: X is of type {found}; expected real numbers.")
        single = np.dtype(np.float32 if found.itemsize <= 4 else np.float64)
        self.dtype = found if found in (np.float32, np.float64) else single
        self.dense = self.arrays = None
        self.by_column, self.name = by_column, source_name(adata)
        self.window_bytes = memory_mb * 2**20 / 2
        if isinstance(x, scipy.sparse.csr_array):
            self.arrays = (x.data, x.indices, x.indptr)
        elif hasattr(x, "group"):  # a sparse matrix in a file
            with _readable(self.name):
                self.arrays = (x.group["data"], x.group["indices"], x.group["indptr"][:])
        else:
            self.dense = x
        self._check_pointers(x.shape[1] if by_column else x.shape[0])
        size = float(self.arrays[2][-1]) * (self.dtype.itemsize + 4) if self.arrays else self.n_rows * self._row_bytes()
        self.rows_per_block = int(max(1, min(self.n_rows, BLOCK_BYTES * self.n_rows / max(size, 1))))
        stored = self.arrays[0] if self.arrays else self.dense
        plain = hasattr(stored, "compression") and stored.compression is None  # as quick to read again as to keep
        self.keep = not in_memory and (by_column or not plain) and size < self.window_bytes
        self.n_blocks = -(-self.n_rows // self.rows_per_block) if self.n_rows else 0
        self.kept: list | None = None

    def _check_pointers(self, n_major: int) -> None:
        """Refuse offsets that lead out of the stored values, before any compiled code sees them."""
        if self.arrays is None:
            return
        data, indices, indptr = self.arrays
        rises = len(indptr) == n_major + 1 and indptr[0] == 0 and (np.diff(indptr.astype(np.int64)) >= 0).all()
        if not rises or int(indptr[-1]) != data.shape[0] or indices.shape[0] != data.shape[0]:
            raise VcEvalError(
                f"{self.name}: X: expected {n_major + 1} offsets that rise to {data.shape[0]} stored values, found others. "
                "The file is damaged: copy or make it again."
            )

    def _indices(self, start: int, stop: int, n_minor: int) -> np.ndarray:
        """Stored positions, all of them within the matrix."""
        found = self.arrays[1][start:stop]
        if found.size and (found.min() < 0 or found.max() >= n_minor):
            raise VcEvalError(
                f"{self.name}: X: expected positions in 0..{n_minor - 1}, found {found.min()}..{found.max()}. "
                "The file is damaged: copy or make it again."
            )
        return found

    def _row_bytes(self) -> float:
        return self.n_columns * self.dtype.itemsize

    def blocks(self) -> Iterator[tuple[int, scipy.sparse.csr_array]]:
        """(first row, rows as CSR of float32 or float64) until all rows are seen."""
        if self.kept is not None:
            yield from self.kept
            return
        kept = []
        coming = self._from_columns() if self.by_column else self._from_rows()
        while True:
            with _readable(self.name):
                block = next(coming, None)
            if block is None:
                break
            if self.keep:
                kept.append(block)
            yield block
        if self.keep:
            self.kept = kept

    def _from_rows(self) -> Iterator[tuple[int, scipy.sparse.csr_array]]:
        for start in range(0, self.n_rows, self.rows_per_block):
            yield start, self._read(start, min(start + self.rows_per_block, self.n_rows))

    def _from_columns(self) -> Iterator[tuple[int, scipy.sparse.csr_array]]:
        """Rows of a column store: each pass over the file turns as many rows as the memory allows."""
        per_row = np.zeros(self.n_rows, np.int64)
        for _, indices, _, data in self._column_chunks():
            per_row += np.bincount(indices[data != 0], minlength=self.n_rows)
        for first, last in sweep.windows(per_row, self.dtype.itemsize + 4, int(self.window_bytes) >> 20):
            offsets = np.concatenate([[0], np.cumsum(per_row[first:last])])
            values, genes, position = (
                np.empty(offsets[-1], self.dtype),
                np.empty(offsets[-1], np.int32),
                offsets[:-1].copy(),
            )
            for column, indices, indptr, data in self._column_chunks():
                codes = np.arange(column, column + indptr.size - 1)
                sweep.fill(indptr, indices, data, codes, first, last, False, position, values, genes)
            for start in range(first, last, self.rows_per_block):
                stop = min(start + self.rows_per_block, last)
                pointer = offsets[start - first : stop - first + 1]
                part = slice(pointer[0], pointer[-1])
                arrays = (values[part], genes[part], (pointer - pointer[0]).astype(np.int32))
                yield start, _canonical(scipy.sparse.csr_array(arrays, shape=(stop - start, self.n_columns)))

    def _column_chunks(self) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """(first column, row of each value, where columns start, values) of a column store, some 64 MB at a time."""
        data, _, indptr = self.arrays
        wanted = BLOCK_BYTES // (self.dtype.itemsize + 4)
        column = 0
        while column < self.n_columns:
            stop = max(column + 1, int(np.searchsorted(indptr, indptr[column] + wanted, side="right")) - 1)
            a, b = int(indptr[column]), int(indptr[stop])
            positions = self._indices(a, b, self.n_rows)
            yield column, positions, indptr[column : stop + 1] - a, data[a:b].astype(self.dtype, copy=False)
            column = stop

    def _read(self, start: int, stop: int) -> scipy.sparse.csr_array:
        if self.dense is not None:
            return scipy.sparse.csr_array(np.asarray(self.dense[start:stop]).astype(self.dtype, copy=False))
        data, _, indptr = self.arrays
        a, b = int(indptr[start]), int(indptr[stop])
        # Column numbers fit in 32 bits; 64 would double what a kept file takes.
        parts = (
            data[a:b].astype(self.dtype, copy=False),
            self._indices(a, b, self.n_columns).astype(np.int32, copy=False),
            (indptr[start : stop + 1] - a).astype(np.int32),
        )
        return _canonical(scipy.sparse.csr_array(parts, shape=(stop - start, self.n_columns)))


def _canonical(block: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """The block with every column once and in order."""
    if not block.has_canonical_format:
        block = block.copy()
        block.sum_duplicates()
    return block
