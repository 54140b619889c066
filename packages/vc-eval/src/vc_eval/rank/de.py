"""Differential expression as cell-eval 0.8.2 computes it: Mann-Whitney U, Benjamini-Hochberg, fold change.

Every perturbation is tested against one control group, gene by gene, on log1p values (docs/metrics.md#differential-expression). The ranks come
from `sweep`; this file turns U and tie sums into p values, q values and fold changes, all in float64.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse

from vc_eval.errors import VcEvalError
from vc_eval.rank import kernels, sweep

type Matrix = np.ndarray | scipy.sparse.sparray | scipy.sparse.spmatrix
"""Dense, or any scipy sparse format."""
type Block = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Cells of a block of genes: non-zero values, the group of each, and where each gene starts."""

SIGNIFICANT = (
    0.05  # strict bound on the adjusted p value, compared in float32 (docs/metrics.md#differential-expression)
)


@dataclass(frozen=True, kw_only=True)
class DeTable:
    """Tests of `p` perturbations against one control group over `g` genes."""

    u_pg: np.ndarray
    """`[p, g]` U of the perturbed group."""
    p_value_pg: np.ndarray
    """`[p, g]` two-sided p value, tie- and continuity-corrected."""
    q_value_pg: np.ndarray
    """`[p, g]` Benjamini-Hochberg over the genes of each perturbation."""
    lfc_pg: np.ndarray
    """`[p, g]` log2 of the ratio of expm1(mean log1p); infinite where one side is all zero, 0 where both are."""
    mean_pg: np.ndarray
    """`[p, g]` mean log1p of the perturbed group."""
    control_mean_g: np.ndarray
    """`[g]` mean log1p of the control group."""

    @property
    def significant_pg(self) -> np.ndarray:
        """`[p, g]` bool: float32(q) < 0.05, the rounding cell-eval applies (docs/metrics.md#differential-expression)."""
        return self.q_value_pg.astype(np.float32) < np.float32(SIGNIFICANT)


@dataclass(frozen=True, kw_only=True)
class SortedControl:
    """The control group with every gene sorted: made once, used for every prediction that is tested against it."""

    values: np.ndarray
    """Non-zero values, gene after gene, each gene ascending."""
    offsets: np.ndarray
    """`[g + 1]` where each gene starts."""
    mean_g: np.ndarray
    n_cells: int
    n_genes: int


def sort_control(control: Matrix, *, n_threads: int | None = None) -> SortedControl:
    """Sort every gene of the control cells.

    Args:
        control: `[n, g]` log1p values, any scipy sparse format or dense.
        n_threads: Threads; default is every core.

    Raises:
        VcEvalError: If there is no cell or a value is not finite.
    """
    control = as_csr(control, "control cells")
    # pyrefly: ignore[not-iterable] scipy's code, which has no stubs, starts shape at None
    n_cells, n_genes = control.shape
    if n_cells == 0:
        raise VcEvalError("differential expression: the control group holds no cell; expected at least one.")
    columns = control.tocsc()
    columns.eliminate_zeros()
    values, offsets = columns.data, columns.indptr.astype(np.int64)
    mean_g = np.zeros(n_genes)

    def task(start: int, stop: int) -> None:
        for gene in range(start, stop):
            own = values[offsets[gene] : offsets[gene + 1]]
            own.sort()
            mean_g[gene] = own.sum(dtype=np.float64) / n_cells

    kernels.run_blocks(task, n_genes, n_threads)
    return SortedControl(values=values, offsets=offsets, mean_g=mean_g, n_cells=n_cells, n_genes=n_genes)


def test_groups(
    cells: Matrix, group_n: np.ndarray, n_groups: int, control: SortedControl, *, n_threads: int | None = None
) -> DeTable:
    """Test each group of cells against the sorted controls.

    Args:
        cells: `[n, g]` log1p values, any scipy sparse format or dense.
        group_n: `[n]` group 0..p-1 of each cell; cells with -1 are ignored.
        n_groups: Number of groups `p`; each needs a cell.
        control: From `sort_control`, same genes.
        n_threads: Threads; default is every core.

    Raises:
        VcEvalError: If gene numbers differ, a group is empty or a value is not finite.
    """
    cells = as_csr(cells, "perturbed cells")
    # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
    if cells.shape[1] != control.n_genes:
        raise VcEvalError(
            f"differential expression: perturbed cells have {cells.shape[1]} genes, control cells {control.n_genes}; "
            "bring both to one gene axis."
        )
    order, ends = group_order(group_n, n_groups)
    sizes = np.diff(ends, prepend=0)
    dtype = np.result_type(cells.data, control.values)
    data, values = cells.data.astype(dtype, copy=False), control.values.astype(dtype, copy=False)

    def columns(start: int, stop: int) -> Block:
        return kernels.gather(cells.indptr, cells.indices, data, order, ends, values, control.offsets, start, stop)

    twice_u, ties, sums = rank_blocks(columns, sizes, control, n_threads)
    return make_table(twice_u, ties, sums / sizes[:, None], sizes, control)


# pyrefly: ignore[missing-attribute] a function may carry attributes; pytest reads this one
test_groups.__test__ = False  # a statistical test, not one for pytest


def rank_blocks(
    columns: Callable[[int, int], Block], sizes: np.ndarray, control: SortedControl, n_threads: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rank every group against the controls, one block of genes after the other on each thread.

    Args:
        columns: Gives the cells of the genes `start..stop`: values, the group of each (controls last), and where each
            gene starts.
        sizes: `[p]` cells per group, zeros included.
        control: The controls, which `columns` has to bring with the cells.
        n_threads: Threads; default is every core.

    Returns:
        (2U, sums of t^3 - t over tied blocks, sums of values), each `[p, g]`.
    """
    with_control = np.append(sizes, control.n_cells)
    found = [np.zeros((control.n_genes, with_control.size)) for _ in range(3)]
    code_type = np.uint16 if with_control.size < 2**16 else np.uint32

    def task(start: int, stop: int) -> None:
        values, codes, starts = columns(start, stop)
        twice_u, ties, sums = (part[start:stop] for part in found)
        sweep.rank(values, codes.astype(code_type), starts, with_control, twice_u, ties, sums, n_threads=1)

    kernels.run_blocks(task, control.n_genes, n_threads)
    twice_u, ties, sums = (np.ascontiguousarray(part[:, :-1].T) for part in found)
    return twice_u, ties, sums


def rank_tiles(placed: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of groups whose cells all equal one profile, from where the profile stands among the controls.

    Args:
        placed: `[3, g]` controls below the profile, those equal to it, and the sum of t^3 - t of the controls alone.
        sizes: `[p]` cells per group.

    Returns:
        (2U, sums of t^3 - t over tied blocks of group and controls together), each `[p, g]`.
    """
    below_g, equal_g, control_ties_g = placed
    n = np.asarray(sizes)[:, None].astype(np.float64)
    both = equal_g + n
    return n * (2 * below_g + equal_g), control_ties_g - (equal_g**3 - equal_g) + both**3 - both


def make_table(
    twice_u: np.ndarray, ties: np.ndarray, mean_pg: np.ndarray, sizes: np.ndarray, control: SortedControl
) -> DeTable:
    """Turn rank sums into the table: p values, q values and fold changes (docs/metrics.md#differential-expression).

    Args:
        twice_u: `[p, g]` 2U, a whole number.
        ties: `[p, g]` sum of t^3 - t over tied blocks.
        mean_pg: Mean log1p of each group.
        sizes: `[p]` cells per group.
        control: The group everything was ranked against.
    """
    p_value_pg = p_values(twice_u, ties, sizes, control.n_cells)
    return DeTable(
        u_pg=twice_u / 2,
        p_value_pg=p_value_pg,
        q_value_pg=benjamini_hochberg(p_value_pg),
        lfc_pg=log_fold_change(mean_pg, control.mean_g),
        mean_pg=mean_pg,
        control_mean_g=control.mean_g,
    )


def p_values(twice_u: np.ndarray, ties: np.ndarray, sizes: np.ndarray, n_control: int) -> np.ndarray:
    """Two-sided asymptotic Mann-Whitney p values with tie and continuity correction; no variance gives 1.

    References:
        docs/metrics.md#differential-expression; the same numbers as scipy.stats.mannwhitneyu(method="asymptotic", use_continuity=True).
    """
    p = np.empty(twice_u.shape)
    sweep.two_sided_p(
        np.ascontiguousarray(twice_u), np.ascontiguousarray(ties), np.asarray(sizes, np.int64), n_control, p
    )
    return p


def benjamini_hochberg(p_value_pg: np.ndarray) -> np.ndarray:
    """Adjusted p values, each row on its own: q_(i) = min over j >= i of p_(j) G / j, at most 1.

    References:
        Benjamini and Hochberg (1995), J. R. Stat. Soc. B 57; docs/metrics.md#differential-expression.
    """
    n_genes = p_value_pg.shape[1]
    order = np.argsort(p_value_pg, axis=1)
    ranked = np.take_along_axis(p_value_pg, order, axis=1) * (n_genes / np.arange(1, n_genes + 1))
    ranked = np.minimum.accumulate(ranked[:, ::-1], axis=1)[:, ::-1]
    q_value_pg = np.empty_like(ranked)
    np.put_along_axis(q_value_pg, order, np.minimum(ranked, 1.0), axis=1)
    return q_value_pg


def log_fold_change(mean_pg: np.ndarray, control_mean_g: np.ndarray, epsilon: float = 0.0) -> np.ndarray:
    """log2((expm1(mean) + epsilon) / (expm1(control mean) + epsilon)); 0/0 is 0, x/0 is +inf, 0/x is -inf.

    The mean is taken of log values and then exponentiated, as cell-eval does; cell-eval passes epsilon 0.

    References:
        docs/metrics.md#differential-expression.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        top, bottom = np.expm1(mean_pg) + epsilon, np.expm1(control_mean_g) + epsilon
        lfc_pg = np.log2(top / bottom)
    lfc_pg[(top == 0) & (bottom == 0)] = 0.0
    return lfc_pg


def group_moments(cells: Matrix, group_n: np.ndarray, n_groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and variance of each group of cells, float64, one pass over the stored values.

    Args:
        cells: `[n, g]` values, any scipy sparse format or dense.
        group_n: `[n]` group 0..p-1 of each cell; cells with -1 are ignored.
        n_groups: Number of groups; an empty one gets NaN.

    Returns:
        (means `[p, g]`, sums of squared deviations `[p, g]`, cells per group `[p]`).
    """
    cells = as_csr(cells, "cells")
    group_n = np.asarray(group_n, np.int64)
    # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
    sums, squares = (np.zeros((n_groups, cells.shape[1])) for _ in range(2))
    kernels.add_groups(cells.indptr, cells.indices, cells.data, group_n, sums, squares)
    sizes = np.bincount(group_n[group_n >= 0], minlength=n_groups)
    with np.errstate(invalid="ignore"):
        means = sums / sizes[:, None]
    return means, np.maximum(squares - sums * means, 0.0), sizes


def as_csr(matrix: Matrix, name: str) -> scipy.sparse.csr_array:
    """CSR with sorted, summed indices and floating values; the input is left as it is.

    Raises:
        VcEvalError: If a value is not finite.
    """
    csr = scipy.sparse.csr_array(matrix)
    if csr.data.dtype not in (np.float32, np.float64):
        csr = csr.astype(np.float64 if csr.data.dtype.itemsize > 2 else np.float32)
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    if not np.isfinite(csr.data).all():
        raise VcEvalError(
            f"{name}: {int((~np.isfinite(csr.data)).sum())} values are not finite; expected finite expression."
        )
    return csr


def group_order(group_n: np.ndarray, n_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows sorted by group (stable) and the end of each group in that order.

    Raises:
        VcEvalError: If a group holds no cell.
    """
    group_n = np.asarray(group_n)
    rows = np.flatnonzero(group_n >= 0)
    order = rows[np.argsort(group_n[rows], kind="stable")]
    sizes = np.bincount(group_n[rows], minlength=n_groups)
    if (sizes == 0).any():
        raise VcEvalError(f"differential expression: {int((sizes == 0).sum())} of {n_groups} groups hold no cell.")
    return order, np.cumsum(sizes)
