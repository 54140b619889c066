"""Numba kernels of the 2026 rule: counts per million for testing, group sums, and the delete-one jackknife.

All work on one group of cells or one range of rows, release the interpreter lock and write only their own output, so
results do not depend on threads. The prediction may hold fractional counts; nothing here assumes integers.
"""

import numba
import numpy as np

MILLION = 1e6
_SERIES = 0.02  # below this |x| eight terms of log1p are exact to 3e-15 of the result


@numba.njit(nogil=True, cache=True)
def row_totals(indptr, data, totals):
    """Fill `totals [n]` with the sum of each CSR row, float64, in stored order."""
    for row in range(totals.size):
        total = 0.0
        for j in range(indptr[row], indptr[row + 1]):
            total += data[j]
        totals[row] = total


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
def group_sums(indptr, indices, data, totals, rows, sums, per_million):
    """Add the counts of the listed rows to `sums [g]` and their counts per million to `per_million [g]`."""
    for i in range(rows.size):
        row = rows[i]
        divisor = totals[row] / MILLION
        if divisor == 0.0:
            divisor = 1.0
        for j in range(indptr[row], indptr[row + 1]):
            value = float(data[j])
            sums[indices[j]] += value
            per_million[indices[j]] += value / divisor


@numba.njit(nogil=True, cache=True)
def _log1p_series(x):
    return x * (
        1.0
        + x
        * (-1.0 / 2 + x * (1.0 / 3 + x * (-1.0 / 4 + x * (1.0 / 5 + x * (-1.0 / 6 + x * (1.0 / 7 + x * (-1.0 / 8)))))))
    )


@numba.njit(nogil=True, cache=True)
def jackknife(indptr, indices, data, totals, rows, sums, target_sum):
    """Sampling error of the bulk profile of one group: (n-1)/n sum_g sum_i (v_ig - mean_i v_ig)^2.

    v_ig = log1p(target_sum (P_g - y_ig) / (S - l_i)) is the profile without cell i. Each v is written as a deviation
    log1p(a_g e) from log1p(s P_g), s the mean factor and a_g = s P_g / (1 + s P_g): e is the same for all genes that
    are zero in a cell, and a short series replaces the logarithm where e is small.

    Args:
        indptr: CSR row pointers.
        indices: CSR column indices.
        data: CSR values, counts.
        totals: `[n]` row sums.
        rows: `[m]` rows of the group.
        sums: `[g]` P, the summed counts of the group.
        target_sum: Counts a profile is scaled to.

    Returns:
        The sum over genes; 0 for fewer than two cells or no counts.
    """
    n = rows.size
    n_genes = sums.size
    whole = sums.sum()
    if n < 2 or whole <= 0.0:
        return 0.0
    mean_factor = 0.0
    used = 0
    for i in range(n):
        rest = whole - totals[rows[i]]
        if rest > 0.0:
            mean_factor += target_sum / rest
            used += 1
    if used == 0:
        return 0.0
    mean_factor /= used
    share = np.empty(n_genes)
    height = np.empty(n_genes)
    for g in range(n_genes):
        share[g] = mean_factor * sums[g] / (1.0 + mean_factor * sums[g])
        height[g] = np.log1p(mean_factor * sums[g])
    first = np.zeros(n_genes)
    second = np.zeros(n_genes)
    for i in range(n):
        row = rows[i]
        rest = whole - totals[row]
        if rest <= 0.0:
            for g in range(n_genes):
                first[g] -= height[g]
                second[g] += height[g] * height[g]
            continue
        shift = target_sum / rest / mean_factor - 1.0
        small = abs(shift) < _SERIES
        if small:
            for g in range(n_genes):
                d = _log1p_series(share[g] * shift)
                first[g] += d
                second[g] += d * d
        else:
            for g in range(n_genes):
                d = np.log1p(share[g] * shift)
                first[g] += d
                second[g] += d * d
        for j in range(indptr[row], indptr[row + 1]):
            g = indices[j]
            if data[j] == 0:
                continue
            x = share[g] * shift
            d = _log1p_series(x) if small else np.log1p(x)
            x = share[g] * (shift - (1.0 + shift) * (data[j] / sums[g]))
            exact = _log1p_series(x) if abs(x) < _SERIES else np.log1p(x)
            first[g] += exact - d
            second[g] += exact * exact - d * d
    total = 0.0
    for g in range(n_genes):
        total += second[g] - first[g] * first[g] / n
    return max((n - 1) / n * total, 0.0)
