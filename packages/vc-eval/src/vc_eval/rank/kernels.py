"""Blocks of genes as the rank engine (`vc_eval.rank.sweep`) takes them: non-zero values with the code of their group.

Cells come from a CSR matrix or are emitted from a predicted profile. Kernels take a range of genes and
release the interpreter lock; `run_blocks` spreads blocks of genes over threads. No two blocks write the same cell of the
output, so results do not depend on threads, blocks or cell order.
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


def share(task: Callable[[int, int], None], n: int, n_threads: int | None) -> None:
    """Run `task(first, stop)` on one range of `0..n` per thread."""
    n_threads = min(n_threads or default_threads(), n)
    edges = [n * k // n_threads for k in range(n_threads + 1)]
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(task, edges[:-1], edges[1:]))


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
def gather(indptr, indices, data, order, ends, control, offsets, gene_start, gene_stop):
    """Collect a block of genes from a CSR matrix, gene by gene: the controls, then the cells in the order of their groups.

    Args:
        indptr: CSR row pointers.
        indices: CSR column indices, sorted within each row.
        data: CSR values; stored zeros are dropped.
        order: Row numbers, sorted by group.
        ends: `[p]` position in `order` after the last row of each group.
        control: Non-zero values of the controls, gene after gene, of the type of `data`.
        offsets: `[g + 1]` where each gene starts in `control`.
        gene_start: First gene of the block.
        gene_stop: Gene after the last one of the block.

    Returns:
        (values, their groups, `[b + 1]` where each gene of the block starts); the controls are group p.
    """
    n_genes = gene_stop - gene_start
    n_rows = ends[ends.size - 1] if ends.size else 0
    first = np.empty(n_rows, np.int64)
    last = np.empty(n_rows, np.int64)
    starts = np.zeros(n_genes + 1, np.int64)
    for i in range(n_rows):
        row = order[i]
        first[i] = _first_at_least(indices, indptr[row], indptr[row + 1], gene_start)
        j = first[i]
        while j < indptr[row + 1] and indices[j] < gene_stop:
            if data[j] != 0:
                starts[indices[j] - gene_start + 1] += 1
            j += 1
        last[i] = j
    for g in range(n_genes):
        starts[g + 1] += starts[g] + offsets[gene_start + g + 1] - offsets[gene_start + g]
    values = np.empty(starts[n_genes], data.dtype)
    codes = np.full(starts[n_genes], ends.size, np.int32)
    position = np.empty(n_genes, np.int64)
    for g in range(n_genes):
        position[g] = _put_controls(control, offsets, gene_start + g, values, starts[g])
    group = 0
    for i in range(n_rows):
        while i >= ends[group]:
            group += 1
        for j in range(first[i], last[i]):
            if data[j] != 0:
                g = indices[j] - gene_start
                values[position[g]] = data[j]
                codes[position[g]] = group
                position[g] += 1
    return values, codes, starts


@numba.njit(nogil=True, cache=True)
def _put_controls(control, offsets, gene, values, at):
    """Copy the controls of a gene to `values[at:]`; where the next value goes."""
    for i in range(offsets[gene], offsets[gene + 1]):
        values[at] = control[i]
        at += 1
    return at


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
def emit(
    indptr, indices, linear, n_input, draws, ends, target, cap, control, offsets, gene_start, gene_stop, means, residual
):
    """Emit cells for every condition of a block of genes, behind the controls of each gene.

    `indptr, indices, linear` is the CSC matrix of expm1 values of the input control cells; condition q draws the rows
    `draws[ends[q - 1] : ends[q]]` and scales them so that their mean log1p is `target[q]`. Fills `means` (of what was
    emitted) and `residual` (emitted mean minus target), both `[p, g]`; returns what `gather` returns.
    """
    column = np.zeros(n_input)
    drawn = np.empty(draws.size)
    starts = np.empty(gene_stop - gene_start + 1, np.int64)
    n_most = offsets[gene_stop] - offsets[gene_start] + draws.size * (gene_stop - gene_start)
    values = np.empty(n_most, control.dtype)
    codes = np.empty(n_most, np.int32)
    end = 0
    for gene in range(gene_start, gene_stop):
        starts[gene - gene_start] = end
        for j in range(indptr[gene], indptr[gene + 1]):
            column[indices[j]] = linear[j]
        end = _put_controls(control, offsets, gene, values, end)
        codes[starts[gene - gene_start] : end] = ends.size
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
            for i in range(n_stored):
                value = np.float32(np.log1p(factor * drawn[i]))
                if value > 0.0:
                    values[end] = value
                    codes[end] = q
                    total += value
                    end += 1
            means[q, gene] = total / n_cells
            residual[q, gene] = total / n_cells - target[q, gene]
            begin = ends[q]
        for j in range(indptr[gene], indptr[gene + 1]):
            column[indices[j]] = 0.0
    starts[gene_stop - gene_start] = end
    return values[:end], codes[:end], starts
