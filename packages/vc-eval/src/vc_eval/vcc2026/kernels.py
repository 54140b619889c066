"""Numba kernels of the 2026 rule: a look at counts, group sums, the delete-one jackknife, and values for testing.

All work on one block of CSR rows and release the interpreter lock. Where threads share a block, each takes the groups
whose code leaves its number as remainder, so that no two write the same cell and no result depends on threads. The
prediction may hold fractional counts; nothing here assumes integers.
"""

import numba
import numpy as np

MILLION = 1e6
_SERIES = 0.02  # below this |x| eight terms of log1p are exact to 3e-15 of the result
_TERMS = 8


@numba.njit(nogil=True, cache=True)
def look(indptr, indices, data, code, state, totals, stored):
    """Look at a block of CSR rows.

    Args:
        indptr: Row pointers of the block, starting at 0.
        indices: Column indices.
        data: Counts.
        code: `[b]` group of each row, -1 to leave it out.
        state: `[3]` minimum, number of values that are not finite, largest distance from a whole number; updated.
        totals: `[b]` receives the sum of each row, float64, in stored order.
        stored: `[g]` gains the number of non-zero values of each column.
    """
    for row in range(code.size):
        totals[row] = 0.0
        if code[row] < 0:
            continue
        total = 0.0
        for j in range(indptr[row], indptr[row + 1]):
            value = float(data[j])
            if not np.isfinite(value):
                state[1] += 1
                continue
            if value != 0.0:
                stored[indices[j]] += 1
            total += value
            state[0] = min(state[0], value)
            state[2] = max(state[2], abs(value - np.rint(value)))
        totals[row] = total


@numba.njit(nogil=True, cache=True)
def group_sums(indptr, indices, data, totals, code, n_tasks, task, sums, per_million):
    """Add the counts of a block to `sums [p, g]` and its counts per million to `per_million [p, g]`."""
    for row in range(code.size):
        p = code[row]
        if p < 0 or p % n_tasks != task:
            continue
        divisor = totals[row] / MILLION
        if divisor == 0.0:
            divisor = 1.0
        for j in range(indptr[row], indptr[row + 1]):
            value = float(data[j])
            sums[p, indices[j]] += value
            per_million[p, indices[j]] += value / divisor


@numba.njit(nogil=True, cache=True)
def count_kept(indptr, indices, rows, position, sizes):
    """Fill `sizes [m]` with the stored values of each listed row that lie in kept genes (`position[g] >= 0`)."""
    for i in range(rows.size):
        kept = 0
        for j in range(indptr[rows[i]], indptr[rows[i] + 1]):
            if position[indices[j]] >= 0:
                kept += 1
        sizes[i] = kept


@numba.njit(nogil=True, cache=True)
def scale_kept(indptr, indices, data, totals, rows, position, out_indptr, out_indices, out_data):
    """Write counts per million of the kept genes of the listed rows as CSR; a row without counts stays zero.

    The quotient is count / (total / 1e6), in that order: the rounding decides which cells tie.
    """
    for i in range(rows.size):
        row = rows[i]
        divisor = totals[row] / MILLION
        if divisor == 0.0:
            divisor = 1.0
        k = out_indptr[i]
        for j in range(indptr[row], indptr[row + 1]):
            column = position[indices[j]]
            if column >= 0:
                out_indices[k] = column
                out_data[k] = data[j] / divisor
                k += 1


@numba.njit(nogil=True, cache=True)
def _log1p_series(x):
    return x * (
        1.0
        + x
        * (-1.0 / 2 + x * (1.0 / 3 + x * (-1.0 / 4 + x * (1.0 / 5 + x * (-1.0 / 6 + x * (1.0 / 7 + x * (-1.0 / 8)))))))
    )


@numba.njit(nogil=True, cache=True)
def jackknife(
    indptr, indices, data, totals, code, n_tasks, task, whole, factor, target_sum, sums, share, first, second, moments
):
    """Add a block to the moments of the delete-one profiles of each group.

    v_ig = log1p(target_sum (P_g - y_ig) / (S - l_i)) is the profile of a group without its cell i. Each v is written as a
    deviation d = log1p(a_g e_i) from log1p(f P_g), f the mean of target_sum / (S - l_i) and a_g = f P_g / (1 + f P_g):
    e_i is the same for all genes that are zero in a cell, so their sums follow from the moments of e_i alone, and only
    stored values cost time.

    Args:
        indptr: Row pointers of the block, starting at 0.
        indices: Column indices.
        data: Counts.
        totals: `[b]` row sums.
        code: `[b]` group of each row, -1 to leave it out.
        n_tasks: Threads that share the block.
        task: This one.
        whole: `[p]` S, the summed counts of each group.
        factor: `[p]` f; 0 for groups without a jackknife.
        target_sum: Counts a profile is scaled to.
        sums: `[p, g]` P.
        share: `[p, g]` a.
        first: `[p, g]` sum of d, but for the part that `moments` holds; updated.
        second: `[p, g]` sum of d^2, likewise; updated.
        moments: `[p, 16]` sums of powers 1 to 16 of small e; updated.
    """  # fmt: skip
    n_genes = sums.shape[1]
    for row in range(code.size):
        p = code[row]
        if p < 0 or p % n_tasks != task or factor[p] <= 0.0:
            continue
        rest = whole[p] - totals[row]
        if rest <= 0.0:  # the group's only counts: without this cell the profile is zero
            for g in range(n_genes):
                height = np.log1p(factor[p] * sums[p, g])
                first[p, g] -= height
                second[p, g] += height * height
            continue
        shift = target_sum / rest / factor[p] - 1.0
        small = abs(shift) < _SERIES
        if small:
            power = 1.0
            for k in range(2 * _TERMS):
                power *= shift
                moments[p, k] += power
        else:
            for g in range(n_genes):
                d = np.log1p(share[p, g] * shift)
                first[p, g] += d
                second[p, g] += d * d
        for j in range(indptr[row], indptr[row + 1]):
            if data[j] == 0:
                continue
            g = indices[j]
            a = share[p, g]
            x = a * shift
            d = _log1p_series(x) if small else np.log1p(x)
            x = a * (shift - (1.0 + shift) * (data[j] / sums[p, g]))
            exact = _log1p_series(x) if abs(x) < _SERIES else np.log1p(x)
            first[p, g] += exact - d
            second[p, g] += exact * exact - d * d


@numba.njit(nogil=True, cache=True)
def jackknife_total(sizes, factor, share, first, second, moments, result):
    """Fill `result [p]` with (n-1)/n sum_g sum_i (v_ig - mean_i v_ig)^2; 0 for a single cell or no counts."""
    linear = np.empty(_TERMS)
    for k in range(_TERMS):
        linear[k] = (1.0 if k % 2 == 0 else -1.0) / (k + 1)
    square = np.zeros(2 * _TERMS)
    for k in range(_TERMS):
        for m in range(_TERMS):
            square[k + m + 1] += linear[k] * linear[m]
    for p in range(sizes.size):
        n = sizes[p]
        result[p] = 0.0
        if n < 2 or factor[p] <= 0.0:
            continue
        total = 0.0
        for g in range(share.shape[1]):
            one, two = first[p, g], second[p, g]
            power = 1.0
            for k in range(2 * _TERMS):
                power *= share[p, g]
                if k < _TERMS:
                    one += linear[k] * power * moments[p, k]
                two += square[k] * power * moments[p, k]
            total += two - one * one / n
        result[p] = max((n - 1) / n * total, 0.0)


@numba.njit(nogil=True, cache=True)
def place(source, source_offsets, first_gene, code, position, values, owners):
    """Put the values of one group, kept gene by gene, into a window that starts at `first_gene`; `position` advances."""
    for gene in range(position.size):
        at = position[gene]
        for i in range(source_offsets[first_gene + gene], source_offsets[first_gene + gene + 1]):
            values[at] = source[i]
            owners[at] = code
            at += 1
        position[gene] = at


@numba.njit(nogil=True, cache=True)
def take(values, owners, offsets, code, sizes, out):
    """Copy the values of one group out of a window, gene after gene; fills `sizes [w]`, returns how many there are."""
    k = 0
    for gene in range(sizes.size):
        before = k
        for i in range(offsets[gene], offsets[gene + 1]):
            if owners[i] == code:
                if k < out.size:
                    out[k] = values[i]
                k += 1
        sizes[gene] = k - before
    return k
