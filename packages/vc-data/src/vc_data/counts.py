"""Counts on their way into a screen: checked as counts, spooled to disk by rows, gathered in any order.

The spool makes a conversion read its source once and hold one block in memory, whatever the layout.
"""

import contextlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vc_data.errors import CountsError
from vc_data.source import Matrix, iter_columns, iter_rows

RANGE_ELEMENTS = 1 << 23
"""Values of a CSC matrix that are sorted in memory at once: 100 MB, and as much again for the order."""
MAX_RANGES = 512
_ENTRY = np.dtype([("row", np.uint32), ("column", np.int32), ("count", np.uint32)])
MAX_COUNT = np.iinfo(np.uint32).max


class Spool:
    """Rows of counts in two flat files, any row readable at once.

    Attributes:
        totals_n: [n] int64, sum of each row.
        max_g: [g] int64, greatest count of each column.
        indptr: [n + 1] int64, where each row starts.
    """

    def __init__(self, folder: Path, n_cells: int, n_genes: int):
        folder.mkdir(parents=True, exist_ok=True)
        self._data_fpath, self._indices_fpath = folder / "data.u4", folder / "indices.i4"
        self.shape = (n_cells, n_genes)
        self.totals_n = np.zeros(n_cells, np.int64)
        self.max_g = np.zeros(n_genes, np.int64)
        self.indptr = np.zeros(n_cells + 1, np.int64)

    def fill(self, matrix: Matrix, *, obs_names, var_names, whole: bool = False, hint=lambda: "") -> None:
        """Read and check all counts of a matrix.

        Raises:
            CountsError: A value that is negative, fractional, not finite, or above 2^32 - 1.
        """

        def check(block, row, column):
            check_counts(block, matrix, obs_names[row:], var_names[column:], hint=hint)
            return block.astype(np.uint32)

        if matrix.kind == "csc":
            self._fill_columns(matrix, check, whole)
        else:
            self._fill_rows(matrix, check, whole)

    def rows(self, order: np.ndarray):
        """Rows in the given order: `counts_bg`, a CSR matrix of uint32 over all columns."""
        import scipy.sparse as sp

        order = np.asarray(order)
        lengths = self.indptr[order + 1] - self.indptr[order]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(indptr[-1]) + np.repeat(self.indptr[order] - indptr[:-1], lengths)
        if not len(places):
            return sp.csr_matrix((len(order), self.shape[1]), dtype=np.uint32)
        data = np.memmap(self._data_fpath, np.uint32, "r")[places]
        indices = np.memmap(self._indices_fpath, np.int32, "r")[places]
        return sp.csr_matrix((np.asarray(data), np.asarray(indices), indptr), shape=(len(order), self.shape[1]))

    def _fill_rows(self, matrix, check, whole):
        row = 0
        with (
            self._data_fpath.open("wb") as data,
            self._indices_fpath.open("wb") as indices,
            tqdm(total=self.shape[0], desc="reading counts", unit="cell", disable=None) as bar,
        ):
            for block in iter_rows(matrix, whole=whole):
                block = check(block, row, 0)
                stop = row + block.shape[0]
                self._measure(block, slice(row, stop), slice(None))
                self.indptr[row + 1 : stop + 1] = self.indptr[row] + block.indptr[1:]
                data.write(block.data.tobytes())
                indices.write(block.indices.astype(np.int32).tobytes())
                row = stop
                bar.update(block.shape[0])

    def _fill_columns(self, matrix, check, whole):
        """Sort a CSC matrix by rows through files of row ranges: all writing is in sequence, one range fits in memory."""
        n_cells, n_genes = self.shape
        n_ranges = min(max(1, matrix.node["data"].shape[0] // RANGE_ELEMENTS), n_cells, MAX_RANGES)
        edges = np.linspace(0, n_cells, n_ranges + 1).astype(np.int64)
        paths = [self._data_fpath.with_name(f"range{i}") for i in range(n_ranges)]
        lengths = np.zeros(n_cells, np.int64)
        with (
            contextlib.ExitStack() as stack,
            tqdm(total=n_genes, desc="reading counts", unit="gene", disable=None) as bar,
        ):
            files = [stack.enter_context(path.open("wb")) for path in paths]
            for column, block in iter_columns(matrix, whole=whole):
                block = check(block, 0, column)
                self._measure(block, slice(None), slice(column, column + block.shape[1]))
                in_block = np.diff(block.indptr)
                lengths += in_block
                entries = np.empty(block.nnz, _ENTRY)
                entries["row"] = np.repeat(np.arange(n_cells), in_block)
                entries["column"] = block.indices + column
                entries["count"] = block.data
                for file, start, stop in zip(files, block.indptr[edges[:-1]], block.indptr[edges[1:]], strict=True):
                    file.write(entries[start:stop].tobytes())
                bar.update(block.shape[1])
        np.cumsum(lengths, out=self.indptr[1:])
        with self._data_fpath.open("wb") as data, self._indices_fpath.open("wb") as indices:
            for path in tqdm(paths, desc="sorting by cell", unit="range", disable=None):
                entries = np.fromfile(path, _ENTRY)
                path.unlink()
                # Stable: columns came in rising order and stay so within a row.
                order = np.argsort(entries["row"], kind="stable")
                data.write(entries["count"][order].tobytes())
                indices.write(entries["column"][order].tobytes())

    def _measure(self, block, rows: slice, columns: slice) -> None:
        self.totals_n[rows] += np.asarray(block.sum(axis=1, dtype=np.int64)).ravel()
        if block.nnz:
            greatest = np.zeros(block.shape[1], np.int64)
            np.maximum.at(greatest, block.indices, block.data.astype(np.int64))
            self.max_g[columns] = np.maximum(self.max_g[columns], greatest)


def check_counts(block, matrix: Matrix, obs_names, var_names, *, hint=lambda: "") -> None:
    """Check that a block holds raw counts.

    Args:
        block: CSR, rows are the first of `obs_names`, columns the first of `var_names`.
        matrix: Where it comes from, for the message.
        obs_names: Names of the cells from the block's first row on.
        var_names: Names of the genes from the block's first column on.
        hint: Gives one sentence on where counts may be found instead.

    Raises:
        CountsError: With the first offending cell and gene.
    """
    problem = find_problem(block.data)
    if problem is None:
        return
    place, what = problem
    row = int(np.searchsorted(block.indptr, place, side="right")) - 1
    value = block.data[place]
    found = f"{what} {value!s} in cell {obs_names[row]!r}, gene {var_names[int(block.indices[place])]!r}"
    do = f"{describe_values(block.data)} {hint()}".strip()
    raise CountsError(matrix.path, matrix.name, "raw counts (whole numbers, 0 or more)", found, do)


def find_problem(data: np.ndarray) -> tuple[int, str] | None:
    """Position and kind of the first stored value that is no count, or None."""
    data = np.asarray(data)
    for what, bad in (
        ("a value that is not finite,", ~np.isfinite(data)),
        ("a negative value", data < 0),
        ("a fractional value", data != np.trunc(data)),
        ("a value above 2^32 - 1,", data > MAX_COUNT),
    ):
        if bad.any():
            return int(np.argmax(bad)), what
    return None


def describe_values(data: np.ndarray) -> str:
    """What values that are no counts look like."""
    data = np.asarray(data, np.float64)
    finite = data[np.isfinite(data)]
    if len(finite) < len(data):
        return "Remove or repair the cells with NaN or infinity."
    if len(finite) and finite.min() < 0:
        return "Negative values look like z-scores or log fold changes."
    if np.any(finite != np.trunc(finite)):
        log = "log1p-normalised" if finite.max() < 15 else "depth-normalised"
        return f"The values look {log} (greatest {finite.max():.4g})."
    return "Counts this large do not occur."


def merge_columns(counts, target: np.ndarray, n_columns: int, *, how: str = "sum"):
    """Send columns to new places; columns that meet are summed, or their greatest value is kept.

    Args:
        counts: [n, g] CSR.
        target: [g], new column of each column; negative for none.
        n_columns: Width of the result.
        how: `sum` or `max`.

    Returns:
        [n, n_columns] CSR of the same dtype, sorted, without stored zeros.
    """
    import scipy.sparse as sp

    n_cells = counts.shape[0]
    columns = target[counts.indices]
    kept = columns >= 0
    rows = np.repeat(np.arange(n_cells), np.diff(counts.indptr))[kept]
    keys = rows * n_columns + columns[kept]
    order = np.argsort(keys, kind="stable")
    keys, data = keys[order], counts.data[kept][order]
    if len(keys):
        first = np.flatnonzero(np.concatenate([[True], np.diff(keys) > 0]))
        merge = {"sum": np.add, "max": np.maximum}[how]
        keys, data = keys[first], merge.reduceat(data, first)
    indptr = np.searchsorted(keys, np.arange(n_cells + 1) * n_columns)
    return sp.csr_matrix((data, (keys % n_columns).astype(np.int32), indptr), shape=(n_cells, n_columns))
