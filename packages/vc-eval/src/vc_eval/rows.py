"""Rows of a matrix in blocks: in memory, in a file, or made on the way; always CSR of float32 or float64.

A file that is read more than once is read again, block by block, so memory stays bounded whatever its size; only a small
compressed file is kept once it was decompressed.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np
import scipy.sparse

from vc_eval.errors import VcEvalError
from vc_eval.inputs import source_name

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
    """The blocks of a matrix, with a progress bar if wanted."""
    from tqdm import tqdm

    return iter(tqdm(matrix.blocks(), total=matrix.n_blocks, desc=what, unit="block", disable=not progress, leave=False))


class RowMatrix:
    """The rows of `X` of some cells, in memory or in a file.

    Args:
        adata: The cells.
        memory_mb: A compressed file that takes less than half of it is kept.

    Raises:
        VcEvalError: If X is missing or does not hold numbers.
    """

    def __init__(self, adata: "anndata.AnnData", memory_mb: int) -> None:
        x = adata.X
        if x is None:
            raise VcEvalError(f"{source_name(adata)}: X is missing; expected expression values.")
        in_memory = scipy.sparse.issparse(x) or isinstance(x, np.ndarray)
        if getattr(x, "format", "csr") == "csc" and not in_memory:
            x, in_memory = x.to_memory(), True  # rows of a column store cannot be read on their own
        if scipy.sparse.issparse(x):
            x = scipy.sparse.csr_array(x)
        self.n_rows, self.n_columns = x.shape
        found = np.dtype(x.dtype)
        if found.kind not in "fiub":
            raise VcEvalError(f"{source_name(adata)}: X is of type {found}; expected real numbers.")
        single = np.dtype(np.float32 if found.itemsize <= 4 else np.float64)
        self.dtype = found if found in (np.float32, np.float64) else single
        self.dense = self.arrays = None
        if isinstance(x, scipy.sparse.csr_array):
            self.arrays = (x.data, x.indices, x.indptr)
        elif hasattr(x, "group"):  # a CSR matrix in a file
            self.arrays = (x.group["data"], x.group["indices"], x.group["indptr"][:])
        else:
            self.dense = x
        size = float(self.arrays[2][-1]) * (self.dtype.itemsize + 4) if self.arrays else self.n_rows * self._row_bytes()
        self.rows_per_block = int(max(1, min(self.n_rows, BLOCK_BYTES * self.n_rows / max(size, 1))))
        stored = self.arrays[0] if self.arrays else self.dense
        plain = hasattr(stored, "compression") and stored.compression is None  # as quick to read again as to keep
        self.keep = not in_memory and not plain and size < memory_mb * 2**20 / 2
        self.n_blocks = -(-self.n_rows // self.rows_per_block) if self.n_rows else 0
        self.kept: list | None = None

    def _row_bytes(self) -> float:
        return self.n_columns * self.dtype.itemsize

    def blocks(self) -> Iterator[tuple[int, scipy.sparse.csr_array]]:
        """(first row, rows as CSR of float32 or float64) until all rows are seen."""
        if self.kept is not None:
            yield from self.kept
            return
        kept = []
        for start in range(0, self.n_rows, self.rows_per_block):
            block = (start, self._read(start, min(start + self.rows_per_block, self.n_rows)))
            if self.keep:
                kept.append(block)
            yield block
        if self.keep:
            self.kept = kept

    def _read(self, start: int, stop: int) -> scipy.sparse.csr_array:
        if self.dense is not None:
            return scipy.sparse.csr_array(np.asarray(self.dense[start:stop]).astype(self.dtype, copy=False))
        data, indices, indptr = self.arrays
        a, b = int(indptr[start]), int(indptr[stop])
        # Column numbers fit in 32 bits; 64 would double what a kept file takes.
        parts = (data[a:b], indices[a:b].astype(np.int32, copy=False), (indptr[start : stop + 1] - a).astype(np.int32))
        block = scipy.sparse.csr_array(parts, shape=(stop - start, self.n_columns))
        if not block.has_canonical_format:
            block = block.copy()
            block.sum_duplicates()
        return block.astype(self.dtype, copy=False)
