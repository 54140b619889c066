"""Rank kernels: one gene at a time, each list sorted once, zeros never stored and never sorted.

The control column of a gene is sorted once and shared by all perturbations; every group list is sorted on its own and
placed into the control by binary search, with the implicit zeros of both sides in closed form. The cost is
O(nnz log nnz_column) instead of one sort of control plus group per (perturbation, gene). Kernels take a range of genes
and release the interpreter lock; `run_blocks` spreads blocks of genes over threads. No two blocks write the same cell
of the output, and every sum runs over sorted values, so results do not depend on threads, blocks or cell order.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

BLOCK = 64  # genes per task: the gathered block of a 20,000-cell screen stays within a few MB


def default_threads() -> int:
    """Every core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_blocks(task: Callable[[int, int], None], n_genes: int, n_threads: int | None = None) -> None:
    """Run `task(start, stop)` over blocks of genes on threads.

    Args:
        task: Called with half-open gene ranges; must write only to its own genes.
        n_genes: Number of genes.
        n_threads: Threads; default is every core this process may use.
    """
    n_threads = n_threads or default_threads()
    starts = range(0, n_genes, BLOCK)
    if n_threads == 1 or len(starts) == 1:
        for start in starts:
            task(start, min(start + BLOCK, n_genes))
        return
    with ThreadPoolExecutor(n_threads) as pool:
        for done in [pool.submit(task, start, min(start + BLOCK, n_genes)) for start in starts]:
            done.result()


@numba.njit(nogil=True, cache=True)
def _first_at_least(values, start, stop, bound):
    """Position of the first entry of sorted `values[start:stop]` that is not below `bound`."""
    while start < stop:
        middle = (start + stop) >> 1
        if values[middle] < bound:
            start = middle + 1
        else:
            stop = middle
    return start


@numba.njit(nogil=True, cache=True)
def _first_above(values, start, stop, bound):
    """Position of the first entry of sorted `values[start:stop]` that is above `bound`."""
    while start < stop:
        middle = (start + stop) >> 1
        if values[middle] <= bound:
            start = middle + 1
        else:
            stop = middle
    return start


@numba.njit(nogil=True, cache=True)
def place(group, n_group, n_stored, control, control_start, control_stop, n_control, control_ties):
    """Twice U and the tie sum of one sorted group list against one sorted control list.

    Values may be negative; zeros are implicit on both sides (docs/metrics.md#differential-expression, extended to negative values).

    Returns:
        (2U of the group, sum of t^3 - t over all tied blocks of both sides together, zeros included).
    """
    zeros_group = n_group - n_stored
    zeros_control = n_control - (control_stop - control_start)
    below_zero = _first_at_least(control, control_start, control_stop, 0) - control_start
    twice_u = float(zeros_group) * (2.0 * below_zero + zeros_control)
    zeros = float(zeros_group + zeros_control)
    ties = control_ties + zeros * zeros * zeros - zeros
    i = 0
    lower = control_start
    while i < n_stored:
        value = group[i]
        j = i + 1
        while j < n_stored and group[j] == value:
            j += 1
        m = float(j - i)
        lower = _first_at_least(control, lower, control_stop, value)
        equal = 0.0
        if lower < control_stop and control[lower] == value:
            equal = float(_first_above(control, lower, control_stop, value) - lower)
        below = float(lower - control_start)
        if value > 0:
            below += zeros_control
        twice_u += m * (2.0 * below + equal)
        both = equal + m
        ties += (both * both * both - both) - (equal * equal * equal - equal)
        i = j
    return twice_u, ties


@numba.njit(nogil=True, cache=True)
def tie_sum(values, start, stop):
    """Sum of t^3 - t over the blocks of equal values in sorted `values[start:stop]`."""
    total = 0.0
    i = start
    while i < stop:
        j = i + 1
        while j < stop and values[j] == values[i]:
            j += 1
        t = float(j - i)
        total += t * t * t - t
        i = j
    return total


@numba.njit(nogil=True, cache=True)
def gather(indptr, indices, data, order, ends, gene_start, gene_stop):
    """Collect a block of genes from a CSR matrix, gene by gene, cells in the order of their groups.

    Args:
        indptr: CSR row pointers.
        indices: CSR column indices, sorted within each row.
        data: CSR values; stored zeros are dropped.
        order: Row numbers, sorted by group.
        ends: `[k]` position in `order` after the last row of each group.
        gene_start: First gene of the block.
        gene_stop: Gene after the last one of the block.

    Returns:
        (values, bounds): gene j of the block holds its group q in `values[bounds[j, q] : bounds[j, q + 1]]`.
    """
    n_genes = gene_stop - gene_start
    n_groups = ends.size
    n_rows = ends[n_groups - 1]
    first = np.empty(n_rows, np.int64)
    last = np.empty(n_rows, np.int64)
    bounds = np.zeros((n_genes, n_groups + 1), np.int64)
    group = 0
    for i in range(n_rows):
        while i >= ends[group]:
            group += 1
        row = order[i]
        first[i] = _first_at_least(indices, indptr[row], indptr[row + 1], gene_start)
        j = first[i]
        while j < indptr[row + 1] and indices[j] < gene_stop:
            if data[j] != 0:
                bounds[indices[j] - gene_start, group + 1] += 1
            j += 1
        last[i] = j
    total = 0
    for g in range(n_genes):
        bounds[g, 0] = total
        for q in range(n_groups):
            total += bounds[g, q + 1]
            bounds[g, q + 1] = total
    values = np.empty(total, data.dtype)
    position = bounds[:, 0].copy()
    for i in range(n_rows):
        for j in range(first[i], last[i]):
            if data[j] != 0:
                g = indices[j] - gene_start
                values[position[g]] = data[j]
                position[g] += 1
    return values, bounds


@numba.njit(nogil=True, cache=True)
def sort_control(indptr, indices, data, order, gene_start, gene_stop):
    """Sorted control values of a block of genes: (values, bounds `[b + 1]`, tie sums `[b]`)."""
    ends = np.array([order.size])
    values, bounds = gather(indptr, indices, data, order, ends, gene_start, gene_stop)
    n_genes = gene_stop - gene_start
    offsets = np.empty(n_genes + 1, np.int64)
    ties = np.empty(n_genes)
    for g in range(n_genes):
        values[bounds[g, 0] : bounds[g, 1]].sort()
        offsets[g] = bounds[g, 0]
        ties[g] = tie_sum(values, bounds[g, 0], bounds[g, 1])
    offsets[n_genes] = values.size
    return values, offsets, ties


@numba.njit(nogil=True, cache=True)
def rank_groups(
    indptr,
    indices,
    data,
    order,
    ends,
    control,
    offsets,
    control_ties,
    n_control,
    gene_start,
    gene_stop,
    twice_u,
    ties,
    sums,
):
    """Fill `twice_u`, `ties` and `sums` (all `[p, g]`) for one block of genes of grouped cells against sorted controls."""
    values, bounds = gather(indptr, indices, data, order, ends, gene_start, gene_stop)
    for gene in range(gene_start, gene_stop):
        g = gene - gene_start
        begin = 0
        for q in range(ends.size):
            group = values[bounds[g, q] : bounds[g, q + 1]]
            group.sort()
            total = 0.0
            for value in group:
                total += value
            sums[q, gene] = total
            twice_u[q, gene], ties[q, gene] = place(
                group, ends[q] - begin, group.size, control, offsets[g], offsets[g + 1], n_control, control_ties[g]
            )
            begin = ends[q]


@numba.njit(nogil=True, cache=True)
def add_groups(indptr, indices, data, group, sums, squares):
    """Add each CSR row to the row of `sums` and, squared, of `squares` that its group names; group -1 is skipped."""
    for row in range(group.size):
        q = group[row]
        if q < 0:
            continue
        for j in range(indptr[row], indptr[row + 1]):
            value = float(data[j])
            sums[q, indices[j]] += value
            squares[q, indices[j]] += value * value


@numba.njit(nogil=True, cache=True)
def scale_factor(values, n_stored, n_cells, target, cap):
    """Factor f with mean(log1p(f * values)) = target over `n_cells`, zeros implicit; f is in [1 / cap, cap].

    The mean is concave and increasing in f, so Newton's method started at or left of the root never passes it.
    Products replace sums of logarithms: one log per gene and step instead of one per cell.
    """
    if n_stored == 0:
        return 1.0
    if target <= 0.0:
        return 1.0 / cap
    wanted = target * n_cells
    factor = 1.0
    for _ in range(60):
        height = 0.0
        slope = 0.0
        product = 1.0
        for i in range(n_stored):
            term = 1.0 + factor * values[i]
            product *= term
            slope += values[i] / term
            if product > 1e250:
                height += np.log(product)
                product = 1.0
        height += np.log(product)
        gap = wanted - height
        if abs(gap) <= 1e-9 * n_cells:
            break
        factor += gap / slope
        if factor <= 0.0:
            factor = 0.0
        elif factor > cap:
            return cap  # the root is never passed, so it lies beyond the cap too
    return max(factor, 1.0 / cap)


@numba.njit(nogil=True, cache=True)
def emit_and_rank(
    indptr, indices, linear, n_input, draws, ends, target, cap,
    control, offsets, control_ties, n_control, gene_start, gene_stop,
    twice_u, ties, means, residual,
):  # fmt: skip
    """Emit cells for every condition of a block of genes and rank them against the sorted controls, storing no cell.

    `indptr, indices, linear` is the CSC matrix of expm1 values of the input control cells; condition q draws the rows
    `draws[ends[q - 1] : ends[q]]` and scales them so that their mean log1p is `target[q]`. Fills `twice_u`, `ties`,
    `means` (of what was emitted) and `residual` (emitted mean minus target), all `[p, g]`.
    """
    column = np.zeros(n_input)
    drawn = np.empty(draws.size)
    emitted = np.empty(draws.size, np.float32)
    for gene in range(gene_start, gene_stop):
        g = gene - gene_start
        for j in range(indptr[gene], indptr[gene + 1]):
            column[indices[j]] = linear[j]
        begin = 0
        for q in range(ends.size):
            n_cells = ends[q] - begin
            n_stored = 0
            for i in range(begin, ends[q]):
                value = column[draws[i]]
                if value > 0.0:
                    drawn[n_stored] = value
                    n_stored += 1
            drawn[:n_stored].sort()
            factor = scale_factor(drawn, n_stored, n_cells, target[q, gene], cap)
            total = 0.0
            n_emitted = 0
            for i in range(n_stored):
                value = np.float32(np.log1p(factor * drawn[i]))
                if value > 0.0:
                    emitted[n_emitted] = value
                    total += value
                    n_emitted += 1
            means[q, gene] = total / n_cells
            residual[q, gene] = total / n_cells - target[q, gene]
            twice_u[q, gene], ties[q, gene] = place(
                emitted, n_cells, n_emitted, control, offsets[g], offsets[g + 1], n_control, control_ties[g]
            )
            begin = ends[q]
        for j in range(indptr[gene], indptr[gene + 1]):
            column[indices[j]] = 0.0


@numba.njit(nogil=True, cache=True)
def rank_tiles(
    profile, sizes, control, offsets, control_ties, n_control, gene_start, gene_stop, twice_u, ties
):  # fmt: skip
    """Fill `twice_u` and `ties` for groups whose cells all equal `profile[q]`, one block of genes."""
    tile = np.empty(sizes.max(), profile.dtype)
    for gene in range(gene_start, gene_stop):
        g = gene - gene_start
        for q in range(sizes.size):
            value = profile[q, gene]
            n_stored = sizes[q] if value != 0 else 0
            tile[:n_stored] = value
            twice_u[q, gene], ties[q, gene] = place(
                tile, sizes[q], n_stored, control, offsets[g], offsets[g + 1], n_control, control_ties[g]
            )
