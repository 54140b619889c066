"""Counts on their way into a screen: checked as counts, spooled to disk by rows, gathered in any order.

The spool makes a conversion read its source once and hold one block in memory, whatever the layout. It notes after each
block what its files hold, so that a killed conversion goes on where it was.
"""

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from vc_contracts.progress import progress

from vc_data.convert.moments import moments
from vc_data.convert.source import Matrix, iter_columns, iter_rows
from vc_data.errors import CountsError
from vc_data.screen.part import read_note, write_note

RANGE_ELEMENTS = 1 << 23
"""Values of a CSC matrix that are sorted in memory at once: 100 MB, and as much again for the order."""
MAX_RANGES = 512
_ENTRY = np.dtype([("row", np.uint32), ("column", np.int32), ("count", np.uint32)])
MAX_COUNT = np.iinfo(np.uint32).max


class Spool:
    """Rows of counts in flat files, any row readable at once; what was filled before a kill is not filled again.

    Attributes:
        totals_n: [n] int64, sum of each row.
        max_g: [g] int64, greatest count of each column.
        indptr: [n + 1] int64, where each row starts.
    """

    def __init__(self, folder: Path, n_cells: int, n_genes: int):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._data_fpath, self._indices_fpath = folder / "data.u4", folder / "indices.i4"
        self.shape = (n_cells, n_genes)
        self.totals_n = np.zeros(n_cells, np.int64)
        self.max_g = np.zeros(n_genes, np.int64)
        self.indptr = np.zeros(n_cells + 1, np.int64)

    def fill(
        self,
        matrix: Matrix,
        *,
        obs_names: Any,
        var_names: Any,
        whole: bool = False,
        hint: Callable[[], str] = lambda: "",
        keep: np.ndarray | None = None,
        rounding: bool = False,
    ) -> None:
        """Read and check all counts of a matrix, from where an earlier call in the same folder was killed.

        Args:
            matrix: The counts.
            obs_names: [n] Names of the cells, for messages.
            var_names: [g] Names of the columns, for messages.
            whole: Read everything at once.
            hint: Gives one sentence on where counts may be found instead.
            keep: [g] bool: columns that are read; the others become zero.
            rounding: Round to whole numbers first.

        Raises:
            CountsError: A value that is negative, fractional, not finite, or above 2^32 - 1.
        """

        def check(block, row, column):
            if keep is not None:
                block.data[~keep[block.indices + column]] = 0
                block.eliminate_zeros()
            if rounding and np.isfinite(block.data).all():
                block.data = np.rint(block.data)
                block.eliminate_zeros()
            # One comparison finds whether anything is no count; what it is, and where, is only then looked for.
            with np.errstate(invalid="ignore"):
                counts = block.data.astype(np.uint32)
            if not np.array_equal(counts, block.data):
                check_counts(block, matrix, obs_names[row:], var_names[column:], hint=hint)
            block.data = counts
            return block

        note = read_note(self._folder / "spool.json") or {"phase": "read", "next": 0, "n_rows": 0, "n_values": 0}
        self.max_g = np.array(note.get("max_g", self.max_g), np.int64)
        if matrix.kind != "csc":
            self._fill_rows(matrix, check, whole, note)
        else:
            if note["phase"] == "read":
                note = self._fill_columns(matrix, check, whole, note)
            self._sort_by_row(note)
        lengths_and_totals = np.fromfile(self._folder / "rows.i8", np.int64).reshape(-1, 2)
        np.cumsum(lengths_and_totals[:, 0], out=self.indptr[1:])
        self.totals_n = lengths_and_totals[:, 1].copy()

    def rows(self, order: np.ndarray):
        """Rows in the given order: `counts_bg`, a CSR matrix of uint32 over all columns."""
        import scipy.sparse as sp

        order = np.asarray(order)
        starts = self.indptr[order]
        indptr = np.concatenate([[0], np.cumsum(self.indptr[order + 1] - starts)])
        if not indptr[-1]:
            return sp.csr_matrix((len(order), self.shape[1]), dtype=np.uint32)
        data, indices = np.empty(indptr[-1], np.uint32), np.empty(indptr[-1], np.int32)
        # Read, not mapped: pages of a mapped file count as memory of this process, up to the whole spool.
        for values, path in ((data, self._data_fpath), (indices, self._indices_fpath)):
            room = memoryview(values).cast("B")
            with path.open("rb", buffering=0) as file:
                for start, first, last in zip(starts.tolist(), indptr[:-1].tolist(), indptr[1:].tolist(), strict=True):
                    file.seek(4 * start)
                    if file.readinto(room[4 * first : 4 * last]) != 4 * (last - first):
                        raise OSError(f"{path} ended early: convert again")
        return sp.csr_matrix((data, indices, indptr), shape=(len(order), self.shape[1]))

    def _fill_rows(self, matrix, check, whole, note):
        row = note["next"]

        def keep(block, upto: int) -> None:
            self._measure(block, slice(None))
            files.append(np.diff(block.indptr), block.indices, block.data)
            self._note("read", upto, files.flush())

        with (
            _RowFiles(self._folder, note) as files,
            # One block is written while the next is checked and those after it are inflated.
            ThreadPoolExecutor(1) as writer,
            progress(total=self.shape[0], initial=row, desc="reading counts", unit="cell", leave=True) as bar,
        ):
            writing = None
            for block in iter_rows(matrix, whole=whole, start=row):
                block = check(block, row, 0)
                row += block.shape[0]
                if writing is not None:
                    writing.result()
                writing = writer.submit(keep, block, row)
                bar.update(block.shape[0])
            if writing is not None:
                writing.result()

    def _fill_columns(self, matrix, check, whole, note) -> dict:
        """Write a CSC matrix into files of row ranges: all writing is in sequence, one range fits in memory."""
        n_cells, n_genes = self.shape
        edges = self._edges(matrix)
        paths = self._range_paths(len(edges) - 1)
        sizes = note.get("ranges", [0] * len(paths))
        with (
            contextlib.ExitStack() as stack,
            progress(total=n_genes, initial=note["next"], desc="reading counts", unit="gene", leave=True) as bar,
        ):
            files = [stack.enter_context(_open_at(path, size)) for path, size in zip(paths, sizes, strict=True)]
            for column, block in iter_columns(matrix, whole=whole, start=note["next"]):
                block = check(block, 0, column)
                stop = column + block.shape[1]
                self._measure(block, slice(column, stop))
                entries = np.empty(block.nnz, _ENTRY)
                entries["row"] = np.repeat(np.arange(n_cells), np.diff(block.indptr))
                entries["column"] = block.indices + column
                entries["count"] = block.data
                for file, first, last in zip(files, block.indptr[edges[:-1]], block.indptr[edges[1:]], strict=True):
                    file.write(entries[first:last].tobytes())
                    file.flush()
                self._note("read", stop, {"ranges": [file.tell() for file in files]})
                bar.update(block.shape[1])
        return self._note("sort", 0, {"n_rows": 0, "n_values": 0, "edges": edges.tolist()})

    def _sort_by_row(self, note):
        edges = note["edges"]
        paths = self._range_paths(len(edges) - 1)
        with _RowFiles(self._folder, note) as files:
            for i in progress(range(note["next"], len(paths)), desc="sorting by cell", unit="range", leave=True):
                entries = np.fromfile(paths[i], _ENTRY)
                # Stable: columns came in rising order and stay so within a row.
                order = np.argsort(entries["row"], kind="stable")
                lengths = np.bincount(entries["row"] - np.uint32(edges[i]), minlength=edges[i + 1] - edges[i])
                files.append(lengths, entries["column"][order], entries["count"][order])
                self._note("sort", i + 1, files.flush() | {"edges": edges})
                paths[i].unlink()

    def _edges(self, matrix) -> np.ndarray:
        n_ranges = min(max(1, -(-matrix.node["data"].shape[0] // RANGE_ELEMENTS)), self.shape[0], MAX_RANGES)
        return np.linspace(0, self.shape[0], n_ranges + 1).astype(np.int64)

    def _range_paths(self, n: int) -> list[Path]:
        return [self._folder / f"range{i}" for i in range(n)]

    def _measure(self, block, columns: slice) -> None:
        if block.nnz:
            greatest = np.zeros(block.shape[1], block.dtype)
            np.maximum.at(greatest, block.indices, block.data)
            self.max_g[columns] = np.maximum(self.max_g[columns], greatest)

    def _note(self, phase: str, following: int, sizes: dict) -> dict:
        """Remember that everything up to `following` is in the files, whose sizes are given."""
        note = {"phase": phase, "next": following, **sizes, "max_g": self.max_g.tolist()}
        write_note(self._folder / "spool.json", note)
        return note


class _RowFiles:
    """Counts, columns, and length and total of each row, in three files that grow together."""

    def __init__(self, folder: Path, note: dict):
        self._n_rows, self._n_values = note["n_rows"], note["n_values"]
        sizes = {"data.u4": 4 * self._n_values, "indices.i4": 4 * self._n_values, "rows.i8": 16 * self._n_rows}
        self._files = {name: _open_at(folder / name, size) for name, size in sizes.items()}

    def append(self, lengths: np.ndarray, indices: np.ndarray, counts: np.ndarray) -> None:
        """Add rows: [n] lengths, and [values] columns and counts, row after row."""
        starts, filled = np.cumsum(lengths) - lengths, np.asarray(lengths) > 0
        totals = np.zeros(len(lengths), np.int64)
        if filled.any():
            totals[filled] = np.add.reduceat(counts, starts[filled], dtype=np.int64)
        self._files["data.u4"].write(np.ascontiguousarray(counts, np.uint32))
        self._files["indices.i4"].write(np.ascontiguousarray(indices, np.int32))
        self._files["rows.i8"].write(np.column_stack([lengths, totals]).astype(np.int64).tobytes())
        self._n_rows += len(lengths)
        self._n_values += len(counts)

    def flush(self) -> dict:
        """Hand everything to the operating system; what the files hold now."""
        for file in self._files.values():
            file.flush()
        return {"n_rows": self._n_rows, "n_values": self._n_values}

    def __enter__(self) -> "_RowFiles":
        return self

    def __exit__(self, *error) -> None:
        for file in self._files.values():
            file.close()


def _open_at(path: Path, size: int):
    """Open for writing behind the first `size` bytes; what a kill left beyond them is cut off."""
    path.touch()
    file = path.open("r+b")
    file.truncate(size)
    file.seek(size)
    return file


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


def refuse_values(values: np.ndarray, matrix: Matrix, *, hint=lambda: "") -> None:
    """As `check_counts`, on values whose cells and genes are not known.

    Raises:
        CountsError: With the first offending value.
    """
    problem = find_problem(values)
    if problem is not None:
        place, what = problem
        do = f"{describe_values(values)} {hint()}".strip()
        raise CountsError(
            matrix.path, matrix.name, "raw counts (whole numbers, 0 or more)", f"{what} {values[place]!s}", do
        )


def refuse_rescaled(spool: Spool, columns: np.ndarray, matrix: Matrix) -> None:
    """Refuse whole numbers that are no counts of molecules, judged on up to 2,000 cells.

    Molecules that are counted vary at least as Poisson numbers do, whatever the cells are like. So two signs, each beyond
    what chance gives in so many cells (four standard errors): totals of cells that vary less, as depth-normalised values do
    after rounding; and genes (half of those with a mean of 1 or more) that vary less, as rounded logarithms do.

    Raises:
        CountsError: One of the two.
    """
    n = spool.shape[0]
    if n < 20:
        return
    rows = np.unique(np.linspace(0, n - 1, min(n, 2000)).astype(np.int64))
    totals, mean, square = moments(spool.rows, rows, columns)
    totals = totals[totals > 0]
    do = "Get the raw counts, or pass --trust-counts if they are."
    if len(totals) < 20:
        return
    low, middle, high = np.quantile(totals, [0.25, 0.5, 0.75])
    # The middle half of Poisson totals is 1.35 standard deviations wide, known to 1.17 / sqrt(n) of itself.
    spread = (high - low) / (1.349 * np.sqrt(middle))
    if middle >= 20 and spread < 1 - 4 * 1.17 / np.sqrt(max(len(totals), 32)):
        found = f"totals of about {middle:.0f} in every cell (middle half: {low:.0f} to {high:.0f})"
        raise CountsError(
            matrix.path, matrix.name, "raw counts, whose totals vary at least as Poisson numbers", found, do
        )
    high_g = mean >= 1
    if high_g.sum() >= 5:
        ratio = float(np.median((square - mean**2)[high_g] / mean[high_g]))
        if ratio < 1 - 4 * np.sqrt(2 / max(len(rows), 60)):
            found = (
                f"variances of {ratio:.2g} times the mean (median of {int(high_g.sum())} genes): rounded logarithms?"
            )
            raise CountsError(matrix.path, matrix.name, "raw counts, which vary at least as Poisson numbers", found, do)


def refuse_logs(values: np.ndarray, matrix: Matrix) -> None:
    """Refuse to round values that are log1p of depth-normalised counts: few cells hold a value above 15, and many are small.

    Raises:
        CountsError: Nearly every value is fractional and none is above 15.
    """
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values) & (values != 0)]
    fractional = values != np.trunc(values)
    if (
        len(values)
        and values.max() < 15
        and fractional.mean() > 0.99
        and len(np.unique(values.round(6))) < 0.5 * len(values)
    ):
        do = "Get the counts: logarithms cannot be rounded into them."
        found = f"values up to {values.max():.3g}, nearly all fractional, that repeat as logarithms of counts do"
        raise CountsError(matrix.path, matrix.name, "corrected counts", found, do)


def find_problem(data: np.ndarray) -> tuple[int, str] | None:
    """Position and kind of the first stored value that is no count, or None."""
    data = np.asarray(data)
    if data.dtype.kind not in "biuf":
        return (0, f"{data.dtype} values, such as") if data.size else None
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
