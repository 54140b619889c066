"""Raw counts read in blocks of rows: sums by group, ranks against a control, and the delete-one jackknife.

What is kept are tables of groups by genes, and the values of tested genes as far as the memory allowed reaches; more genes
are read in further passes.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple

import numpy as np
import scipy.sparse

from vc_eval.cells.rows import Rows, with_bar
from vc_eval.errors import VcEvalError
from vc_eval.rank import sweep
from vc_eval.rank.kernels import default_threads
from vc_eval.vcc2026 import kernels

type Csr = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Row pointers, column indices and values."""

BULK_TARGET_SUM = 50_000.0  # counts of a scaled bulk profile
MAX_COUNTS_PER_CELL = 1e6  # a cell may hold this many counts, not more
INTEGRAL = 1e-6  # a count may be this far from a whole number


class Columns(NamedTuple):
    """Values of some cells gene by gene, zeros left out."""

    values: np.ndarray
    """Values of all genes, one after the other."""
    offsets: np.ndarray
    """`[g + 1]` where each gene starts."""
    n_cells: int
    """Cells, those without a value included."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Raw counts that are read in blocks of rows, and how."""

    rows: Rows
    name: str
    """Side, for messages."""
    column_g: np.ndarray | None = None
    """`[g]` column of the matrix that holds each gene; None where the orders agree."""
    cell_names: Sequence[str] | np.ndarray | None = None
    """`[n]` names, for messages."""
    gene_names: Sequence[str] | np.ndarray | None = None
    """`[g]` names, for messages."""
    fractional: bool = False
    """Accept values that are not whole numbers."""
    memory_mb: int = 4096
    """For values of tested genes at a time."""
    n_threads: int | None = None
    """Default is every core."""
    progress: bool = False
    """Show progress bars."""
    gene_of: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        gene_of = np.arange(self.rows.n_columns, dtype=np.int32)
        if self.column_g is not None:
            gene_of[self.column_g] = np.arange(gene_of.size, dtype=np.int32)
        object.__setattr__(self, "gene_of", gene_of)

    def blocks(self, what: str) -> Iterator[tuple[int, scipy.sparse.csr_array]]:
        """(first row, rows as CSR, genes in the order wanted) until all rows are seen."""
        for start, block in with_bar(self.rows, f"{self.name}, {what}", self.progress):
            if self.column_g is None:
                yield start, block
            else:
                yield (
                    start,
                    scipy.sparse.csr_array((block.data, self.gene_of[block.indices], block.indptr), block.shape),
                )


class Sums(NamedTuple):
    """What one pass over the cells gives."""

    totals: np.ndarray
    """`[n]` counts of each cell; 0 for cells left out."""
    stored_g: np.ndarray
    """`[g]` non-zero values of the cells that take part."""
    sums_pg: np.ndarray
    """`[p, g]` summed counts."""
    cpm_pg: np.ndarray
    """`[p, g]` mean counts per million."""
    sizes: np.ndarray
    """`[p]` cells."""


def sum_groups(counts: Counts, code_n: np.ndarray, n_groups: int) -> Sums:
    """Check the cells that take part, and sum them by group.

    Args:
        counts: The cells.
        code_n: `[n]` group of each cell, -1 to leave it out.
        n_groups: Number of groups; each needs a cell.

    Raises:
        VcEvalError: If a value is negative, not finite or not a whole number, or a cell holds more than 1,000,000.
    """
    rows = counts.rows
    totals = np.zeros(rows.n_rows)
    sums_pg, cpm_pg = (np.zeros((n_groups, rows.n_columns)) for _ in range(2))
    limit = float(rows.dtype.type(INTEGRAL))
    with CountPool(counts.n_threads) as pool:
        states_k, stored_kg = np.zeros((pool.n, 3)), np.zeros((pool.n, rows.n_columns), np.int64)
        for start, block in counts.blocks("sums"):
            # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
            code, here = code_n[start : start + block.shape[0]], totals[start : start + block.shape[0]]
            arrays = (block.indptr, block.indices, block.data)

            def look(n: int, k: int, arrays: Csr = arrays, code: np.ndarray = code, here: np.ndarray = here) -> None:
                part = slice(code.size * k // n, code.size * (k + 1) // n)
                pointers, indices, data = arrays[0][part.start : part.stop + 1], arrays[1], arrays[2]
                kernels.look(pointers, indices, data, code[part], states_k[k], here[part], stored_kg[k])

            pool.share(look)
            state = np.array([states_k[:, 0].min(), states_k[:, 1].sum(), states_k[:, 2].max()])
            if state[0] < 0 or state[1] or (state[2] > limit and not counts.fractional):
                _refuse(counts, block, start, code, state, limit)
            if (here > MAX_COUNTS_PER_CELL).any():
                raise VcEvalError(
                    f"{counts.name}: cell {_cell(counts, start + int(here.argmax()))} holds {here.max():,.0f} counts, "
                    f"more than {MAX_COUNTS_PER_CELL:,.0f}; scale the prediction down."
                )
            pool.share(lambda n, k, a=arrays, t=here, c=code: kernels.group_sums(*a, t, c, n, k, sums_pg, cpm_pg))
    sizes = np.bincount(code_n[code_n >= 0], minlength=n_groups)
    return Sums(totals, stored_kg.sum(axis=0), sums_pg, cpm_pg / sizes[:, None], sizes)


def _refuse(
    counts: Counts, block: scipy.sparse.csr_array, start: int, code: np.ndarray, state: np.ndarray, limit: float
) -> None:
    """Name the first value of a block that is no count."""
    data = block.data
    kind, remedy, wrong = (
        ("not finite", "finite counts. Replace them", ~np.isfinite(data))
        if state[1]
        else ("negative", "raw counts of 0 or more. Undo the transformation", data < 0)
        if state[0] < 0
        else ("not whole numbers", "raw counts. Undo the normalisation, or round", np.abs(data - np.rint(data)) > limit)
    )
    # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
    row = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
    at = int(np.flatnonzero(wrong & (code[row] >= 0))[0])
    column = int(block.indices[at])
    gene = f"number {column + 1}" if counts.gene_names is None else repr(str(counts.gene_names[column]))
    raise VcEvalError(
        f"{counts.name}: values that are {kind}, first {data[at]:g} at cell {_cell(counts, start + int(row[at]))}, gene "
        f"{gene}; expected {remedy}."
    )


def _cell(counts: Counts, row: int) -> str:
    return f"number {row + 1}" if counts.cell_names is None else repr(str(counts.cell_names[row]))


class Jackknife:
    """Sampling error of the bulk profile of every group, summed over genes (C of docs/metrics.md#vcc2026), block by block."""

    def __init__(self, sums: Sums, code_n: np.ndarray) -> None:
        self.sums, self.code_n = sums, code_n
        self.whole = sums.sums_pg.sum(axis=1)
        kept = code_n >= 0
        rest = self.whole[code_n[kept]] - sums.totals[kept]
        each = np.divide(BULK_TARGET_SUM, rest, out=np.zeros_like(rest), where=rest > 0)
        n_p = sums.sizes.size
        used = np.bincount(code_n[kept], weights=rest > 0, minlength=n_p)
        total = np.bincount(code_n[kept], weights=each, minlength=n_p)
        self.factor = np.divide(total, used, out=np.zeros(n_p), where=used > 0)
        height = self.factor[:, None] * sums.sums_pg
        self.share = height / (1.0 + height)
        self.first, self.second = (np.zeros(self.share.shape) for _ in range(2))
        self.moments = np.zeros((n_p, 16))

    def add(self, start: int, block: scipy.sparse.csr_array, pool: "CountPool") -> None:
        """Take in the rows of a block that begins at row `start`."""
        # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
        rows = slice(start, start + block.shape[0])
        arrays = (block.indptr, block.indices, block.data, self.sums.totals[rows], self.code_n[rows])
        own = (self.whole, self.factor, BULK_TARGET_SUM, self.sums.sums_pg, self.share, self.first, self.second, self.moments)  # fmt: skip
        pool.share(lambda n, k: kernels.jackknife(*arrays, n, k, *own))

    def result(self) -> np.ndarray:
        """`[p]`."""
        result = np.empty(self.sums.sizes.size)
        kernels.jackknife_total(self.sums.sizes, self.factor, self.share, self.first, self.second, self.moments, result)
        return result


class Ranks(NamedTuple):
    """Rank sums of every group."""

    jackknife_p: np.ndarray
    """`[p]` C of every group."""
    twice_u: np.ndarray
    """`[p, t]` 2U against the control, over tested genes."""
    ties: np.ndarray
    """`[p, t]` sum of t^3 - t over tied blocks."""
    control: Columns
    """The control they were ranked against."""


class _Window:
    """Values of some genes with the group of each, gene after gene; threads fill genes of their own."""

    def __init__(self, stored_w: np.ndarray, owner: type, pool: "CountPool") -> None:
        self.offsets = np.concatenate([[0], np.cumsum(stored_w)])
        self.values, self.owners = np.empty(self.offsets[-1]), np.empty(self.offsets[-1], owner)
        self.position, self.pool = self.offsets[:-1].copy(), pool

    def put_control(self, control: Columns, first: int, code: int) -> None:
        """Put the control's values of the genes from `first` on, as group `code`."""

        def work(n: int, k: int) -> None:
            a, b = self._part(n, k)
            kernels.place(
                control.values, control.offsets, first + a, code, self.position[a:b], self.values, self.owners
            )

        self.pool.share(work)

    def put_rows(self, rows: scipy.sparse.csr_array, code_n: np.ndarray, *, ordered: bool) -> None:
        """Put cells, whose columns are genes of the window; `ordered`: they ascend in every row."""

        def work(n: int, k: int) -> None:
            a, b = self._part(n, k)
            arrays = (rows.indptr, rows.indices, rows.data, code_n)
            sweep.fill(*arrays, a, b, ordered, self.position[a:b], self.values, self.owners)

        self.pool.share(work)

    def _part(self, n: int, k: int) -> tuple[int, int]:
        return self.position.size * k // n, self.position.size * (k + 1) // n


def rank_groups(counts: Counts, code_n: np.ndarray, sums: Sums, tested_g: np.ndarray, control: Columns | None) -> Ranks:
    """Rank every group against the control in the tested genes, and take the jackknife on the way.

    Args:
        counts: The cells.
        code_n: `[n]` group; without `control` the last group is the control.
        sums: Of the same cells.
        tested_g: `[g]` bool.
        control: Control cells measured before.
    """
    n_p = sums.sizes.size - (control is None)
    sizes = sums.sizes if control is None else np.append(sums.sizes, control.n_cells)
    stored = sums.stored_g[tested_g] + (0 if control is None else np.diff(control.offsets))
    twice_u, ties = (np.zeros((stored.size, n_p)) for _ in range(2))
    jackknife = Jackknife(sums, code_n)
    owner = np.uint16 if n_p < 2**16 else np.uint32
    kept_values, kept_sizes = [], []
    with CountPool(counts.n_threads) as pool:
        for first, last in sweep.windows(stored, 8 + np.dtype(owner).itemsize, counts.memory_mb):
            window = _Window(stored[first:last], owner, pool)
            if control is not None:
                window.put_control(control, first, n_p)
            window_g = np.where(tested_g, np.cumsum(tested_g) - 1 - first, -1)
            window_g[window_g >= last - first] = -1
            for start, block in counts.blocks("ranks"):
                if first == 0:
                    jackknife.add(start, block, pool)
                # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
                code = code_n[start : start + block.shape[0]]
                rows = np.flatnonzero(code >= 0)
                if rows.size:
                    totals = sums.totals[start : start + code.size]
                    part = _log_per_million(block, totals, rows, window_g, last - first, pool)
                    window.put_rows(part, code[rows], ordered=counts.column_g is None)
            unused = np.zeros((last - first, n_p + 1))
            sorted_ones = (window.values, window.owners, window.offsets)
            sweep.rank(*sorted_ones, sizes, twice_u[first:last], ties[first:last], unused, n_threads=counts.n_threads)
            if control is None:
                each = np.empty(last - first, np.int64)
                taken = np.empty(kernels.take(*sorted_ones, n_p, each, np.empty(0)))
                kernels.take(*sorted_ones, n_p, each, taken)
                kept_values.append(taken)
                kept_sizes.append(each)
    if control is None:
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(kept_sizes))])
        control = Columns(np.concatenate(kept_values), offsets, int(sizes[-1]))
    return Ranks(jackknife.result(), twice_u.T, ties.T, control)


def _log_per_million(
    block: scipy.sparse.csr_array, totals: np.ndarray, rows: np.ndarray, position_g: np.ndarray, n_genes: int,
    pool: "CountPool",
) -> scipy.sparse.csr_array:  # fmt: skip
    """float64 log1p of counts per million of the listed rows in the genes with a position.

    The logarithm leaves ranks alone, except that it may round two neighbouring values to one. It is taken because the
    reference implementation ranks log values, and ties enter the variance of the test.
    """
    sizes = np.empty(rows.size, np.int64)
    kernels.count_kept(block.indptr, block.indices, rows, position_g, sizes)
    ends = np.cumsum(sizes)
    n_stored = int(ends[-1])
    indptr = np.append(0, ends).astype(np.int32)
    indices, data = np.empty(n_stored, np.int32), np.empty(n_stored)

    def scale(n: int, k: int) -> None:
        part = slice(rows.size * k // n, rows.size * (k + 1) // n)
        own, out = rows[part], indptr[part.start : part.stop + 1]
        kernels.scale_kept(block.indptr, block.indices, block.data, totals, own, position_g, out, indices, data)
        values = data[out[0] : out[-1]]
        np.log1p(values, out=values)

    pool.share(scale)
    return scipy.sparse.csr_array((data, indices, indptr), shape=(rows.size, n_genes))


class CountPool:
    """Threads that share each block of rows: task k of n takes the groups k, k + n, k + 2n ..., or a run of rows."""

    def __init__(self, n_threads: int | None) -> None:
        self.n = n_threads or default_threads()
        self.pool = ThreadPoolExecutor(self.n)

    def __enter__(self) -> "CountPool":
        return self

    def __exit__(self, *error: BaseException | type[BaseException] | TracebackType | None) -> None:
        self.pool.shutdown()

    def share(self, task: Callable[[int, int], None]) -> None:
        """Run `task(n, k)` for every k below n and wait."""
        for done in [self.pool.submit(task, self.n, k) for k in range(self.n)]:
            done.result()
