"""Cells of one AnnData, in memory or backed by a file, brought to log1p and ranked against its own controls.

Rows are read in blocks, values are kept gene by gene without zeros, and genes that do not fit in the memory allowed are
read in a further pass. The result, a `RankedSide`, is all that scores of the 2025 rule need: a DE table and mean profiles.
What a matrix holds (counts or log1p) is found as cell-eval 0.8.2 finds it (docs/metrics.md#scale); bad values are refused here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
import scipy.sparse

from vc_eval.cells.inputs import source_name
from vc_eval.cells.rows import RowMatrix, with_bar
from vc_eval.cells.scale import Scale, check_scale, factors, log1p, scan
from vc_eval.cells.settings import Settings
from vc_eval.errors import VcEvalError
from vc_eval.metrics import challenge2025 as vcc
from vc_eval.rank import de, kernels, sweep

if TYPE_CHECKING:
    import anndata

type Block = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Row pointers, column indices, log1p values and group codes of some rows."""


@dataclass(frozen=True, kw_only=True)
class RankedSide:
    """One side of a comparison: `p` perturbations tested against the control of the same matrix."""

    name: str
    """`real` or `pred`, for messages."""
    labels: list[str]
    """`[p]` perturbations in ascending order, the control left out."""
    genes: np.ndarray
    """`[g]` names."""
    sizes: np.ndarray
    """`[p + 1]` cells per perturbation, controls last."""
    scale: Scale
    stored_bytes: int
    """4 or 8: width of the values, which bounds how finely the peer tells means apart."""
    twice_u: np.ndarray
    """`[p, g]` 2U."""
    ties: np.ndarray
    """`[p, g]` sum of t^3 - t over tied blocks."""
    mean_lg: np.ndarray
    """`[p + 1, g]` mean value, controls last."""
    mean_log_lg: np.ndarray
    """`[p + 1, g]` mean log1p behind the fold change; `mean_lg` itself unless counts were taken as they are."""
    placed: np.ndarray
    """`[3, g]` controls below the mean profile of all labels, those equal to it, sum of t^3 - t of the controls alone."""
    halves: "tuple[RankedSide, RankedSide] | None" = None
    """Two disjoint halves of the cells, if they were asked for; labels of a single cell are in neither."""

    def table(self) -> de.DeTable:
        """The DE table: p values, q values per perturbation and fold changes."""
        p_value_pg = de.p_values(self.twice_u, self.ties, self.sizes[:-1], int(self.sizes[-1]))
        return de.DeTable(
            u_pg=self.twice_u / 2,
            p_value_pg=p_value_pg,
            q_value_pg=de.benjamini_hochberg(p_value_pg),
            lfc_pg=de.log_fold_change(self.mean_log_lg[:-1], self.mean_log_lg[-1]),
            mean_pg=self.mean_log_lg[:-1],
            control_mean_g=self.mean_log_lg[-1],
        )


def read_side(
    adata: "anndata.AnnData", labels_n: np.ndarray, genes: np.ndarray, *, name: str, settings: Settings,
    half_n: np.ndarray | None = None,
) -> RankedSide:  # fmt: skip
    """Rank every perturbation of one matrix against its own controls.

    Args:
        adata: `[n, g]` cells, log1p or counts; CSR, CSC or dense, in memory or backed.
        labels_n: `[n]` labels; an empty one leaves the cell out.
        genes: `[g]` names in the order wanted; all in the file.
        name: `real` or `pred`, for messages.
        settings: Control label, memory, threads.
        half_n: `[n]` half 0 or 1 of each cell, 2 for neither: also rank each half, in the same pass.

    Raises:
        VcEvalError: If values are negative, not finite, or of no scale the rule knows.
    """
    matrix = RowMatrix(adata, settings.memory_mb)
    names = sorted(set(labels_n) - {"", settings.control})
    if not names:
        raise VcEvalError(f"{name} ({source_name(adata)}): no perturbation besides the control {settings.control!r}.")
    codes = {label: code for code, label in enumerate([*names, settings.control])}
    code_n = np.array([codes.get(label, -1) for label in labels_n], np.int64)
    n_genes, n_groups = len(genes), len(names) + 1
    # pyrefly: ignore[bad-argument-type] pandas takes any list of names here
    column_g = adata.var_names.get_indexer(genes)
    seen = scan(matrix, code_n, settings.progress)
    scale = check_scale(matrix, code_n, seen, name, adata, settings)
    factor_n = factors(scale, seen.totals, matrix.dtype)
    counts = seen.counts
    log_sums = settings.allow_counts
    dtype = matrix.dtype
    subsets = [code_n >= 0] + ([] if half_n is None else [(code_n >= 0) & (half_n == h) for h in (0, 1)])
    n_subsets, divisor = len(subsets), 1 if half_n is None else 3
    sizes = np.stack([np.bincount(code_n[kept], minlength=n_groups) for kept in subsets])
    owner_n = code_n if half_n is None else np.where(code_n < 0, -1, 3 * code_n + half_n)
    twice_u, ties = (np.zeros((n_subsets, n_genes, n_groups - 1)) for _ in range(2))
    sums, sums_log = (np.zeros((n_subsets, n_genes if used else 1, n_groups)) for used in (True, log_sums))
    placed = np.zeros((n_genes, 3))
    outputs = (twice_u, ties, sums)
    for start, stop in sweep.windows(counts, dtype.itemsize + 2, settings.memory_mb):
        values, owners, offsets = _columns(matrix, owner_n, factor_n, counts, start, stop, settings)
        twice_w, ties_w, sums_w = (array[:, start:stop] for array in outputs)
        logs = sums_log[:, start:stop] if log_sums else None
        sweep.rank(values, owners, offsets, sizes, twice_w, ties_w, sums_w, logs, n_threads=settings.n_threads)
        profile_w = vcc.mean_baseline(np.ascontiguousarray(sums[0, start:stop].T) / sizes[0][:, None]).astype(
            np.float32
        )
        sweep.place(
            values, owners, offsets, n_groups - 1, divisor, int(sizes[0, -1]), profile_w, placed[start:stop],
            n_threads=settings.n_threads,
        )  # fmt: skip
        del values, owners

    def side(subset: int, kept: np.ndarray) -> RankedSide:
        size = sizes[subset][kept]
        mean_lg, mean_log_lg = (
            np.ascontiguousarray(total[subset, column_g].T[kept]) / size[:, None]
            for total in (sums, sums_log if log_sums else sums)
        )
        return RankedSide(
            name=name, labels=[label for label, used in zip(names, kept, strict=False) if used], genes=genes, sizes=size,
            scale=scale, stored_bytes=dtype.itemsize, mean_lg=mean_lg, mean_log_lg=mean_log_lg if log_sums else mean_lg,
            twice_u=np.ascontiguousarray(twice_u[subset, column_g].T[kept[:-1]]),
            ties=np.ascontiguousarray(ties[subset, column_g].T[kept[:-1]]),
            placed=np.ascontiguousarray(placed[column_g].T),
        )  # fmt: skip

    whole = side(0, np.ones(n_groups, bool))
    if half_n is None or not sizes[1, -1] or not sizes[1, :-1].any():
        return whole
    return replace(whole, halves=(side(1, sizes[1] > 0), side(2, sizes[2] > 0)))


def log1p_blocks(
    adata: "anndata.AnnData", labels_n: np.ndarray, *, settings: Settings, wanted: np.ndarray, name: str = "real"
) -> Iterator[scipy.sparse.csr_array]:
    """Wanted rows in blocks, as the rule sees them: log1p without stored zeros, float32 or float64.

    Args:
        adata: `[n, g]` cells.
        labels_n: `[n]` labels; an empty one leaves the cell out of the median that counts are scaled to.
        settings: As for `read_side`.
        wanted: `[n]` bool.
        name: `real` or `pred`, for messages.
    """
    matrix = RowMatrix(adata, settings.memory_mb)
    code_n = np.where(labels_n != "", 0, -1)
    seen = scan(matrix, code_n, settings.progress)
    factor_n = factors(check_scale(matrix, code_n, seen, name, adata, settings), seen.totals, matrix.dtype)
    for start, block in matrix.blocks():
        values = scipy.sparse.csr_array((log1p(block, factor_n, start), block.indices, block.indptr), shape=block.shape)
        # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
        values = cast("scipy.sparse.csr_array", values[wanted[start : start + block.shape[0]]])
        values.eliminate_zeros()
        yield values


def _columns(
    matrix: RowMatrix, code_n: np.ndarray, factor_n: np.ndarray | None, counts: np.ndarray, start: int, stop: int,
    settings: Settings,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Values and group codes of the columns `start..stop`, column after column, and where each starts."""
    offsets = np.concatenate([[0], np.cumsum(counts[start:stop])])
    values = np.empty(offsets[-1], matrix.dtype)
    owners = np.empty(offsets[-1], np.uint16 if code_n.max() < 2**16 else np.uint32)
    position = offsets[:-1].copy()
    for row, block in with_bar(matrix, "ranking", settings.progress):
        # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
        last = row + block.shape[0]
        arrays = (block.indptr, block.indices, log1p(block, factor_n, row), code_n[row:last])

        def task(first: int, end: int, arrays: Block = arrays) -> None:  # columns of its own, so nothing is shared
            sweep.fill(*arrays, start + first, start + end, True, position[first:end], values, owners)

        kernels.share(task, stop - start, settings.n_threads)
    return values, owners, offsets
