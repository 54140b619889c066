"""The rank engine (Mann-Whitney): each gene is sorted once, then one sweep gives every perturbation's U.

A gene's non-zero values of all groups lie together, each with the code of its group. They are sorted by radix (the
bits of a float, turned so that they sort as whole numbers), and a single pass over the sorted list counts the controls
below each value. The cost is O(nnz), whatever the number of perturbations; zeros are never stored. All sums run over
sorted values, so no result depends on the order of cells, threads or blocks.

Both ways of scoring use it: cells of two files, read in windows of genes (`vc_eval.cells`), and cells in memory or
emitted from a predicted profile, in blocks of genes (`vc_eval.rank.de`, `vc_eval.cells.emission`).
"""

import math

import numba
import numpy as np

from vc_eval.rank import kernels

FRACTION, SMALL = 1e-3, 48  # fractions beyond it are no rounding (docs/metrics.md#scale); shorter lists: insertion sort


@numba.njit(nogil=True, cache=True)
def scan(indptr, indices, data, rows, counts, totals, state, fractions_b, fractions_g):
    """Look at a block of CSR rows before anything is computed.

    Args:
        indptr: Row pointers of the block, starting at 0.
        indices: Column indices.
        data: Values.
        rows: `[b]` bool; rows to look at.
        counts: `[g]` gains the number of non-zero values of each column.
        totals: `[b]` receives the sum of each row.
        state: `[4]` minimum, maximum, largest fractional part and number of values that are not finite, updated.
        fractions_b: `[b]` bool, receives whether the row holds a fraction.
        fractions_g: `[g]` bool, set where the column holds one.
    """
    for row in range(indptr.size - 1):
        total = 0.0
        if rows[row]:
            for j in range(indptr[row], indptr[row + 1]):
                value = float(data[j])
                if value == 0.0:
                    continue
                if not np.isfinite(value):
                    state[3] += 1
                    continue
                counts[indices[j]] += 1
                total += value
                state[0] = min(state[0], value)
                state[1] = max(state[1], value)
                fraction = value - np.trunc(value)
                if fraction > FRACTION:
                    fractions_b[row] = True
                    fractions_g[indices[j]] = True
                state[2] = max(state[2], fraction)
        totals[row] = total


@numba.njit(nogil=True, cache=True)
def fill(indptr, indices, data, code_n, start, stop, ordered, position, values, codes):
    """Append the non-zero values of a block of CSR rows to the columns `start..stop`.

    Args:
        indptr: Row pointers of the block, starting at 0.
        indices: Column indices.
        data: Values.
        code_n: `[b]` group of each row, -1 to leave it out.
        start: First column of the window.
        stop: Column after the last one of the window.
        ordered: Whether the columns of every row ascend.
        position: `[w]` where the next value of each column goes; advanced.
        values: Receives values.
        codes: Receives the group of each value.
    """
    for row in range(indptr.size - 1):
        code = code_n[row]
        if code < 0:
            continue
        a, b = indptr[row], indptr[row + 1]
        if ordered:
            found = np.searchsorted(indices[a:b], start)
            b = a + np.searchsorted(indices[a:b], stop)
            a += found
        for j in range(a, b):
            column = indices[j]
            if column < start or column >= stop or data[j] == 0:
                continue
            at = position[column - start]
            values[at] = data[j]
            codes[at] = code
            position[column - start] = at + 1


@numba.njit(nogil=True, cache=True)
def _insertion_sort(values, codes):
    for i in range(1, values.size):
        value, code = values[i], codes[i]
        j = i - 1
        while j >= 0 and values[j] > value:
            values[j + 1], codes[j + 1] = values[j], codes[j]
            j -= 1
        values[j + 1], codes[j + 1] = value, code


@numba.njit(nogil=True, cache=True)
def _radix_sort(keys, codes, other_keys, other_codes, n_digits, histogram):
    """Sort unsigned `keys` with their codes by digits of 11 bits, least first; True if the result lies in `other`."""
    n = keys.size
    histogram[:n_digits] = 0
    for i in range(n):
        key = np.uint64(keys[i])
        for digit in range(n_digits):
            histogram[digit, (key >> np.uint64(11 * digit)) & np.uint64(2047)] += 1
    swapped = False
    for digit in range(n_digits):
        shift = np.uint64(11 * digit)
        own = histogram[digit]
        if own[(np.uint64(keys[0]) >> shift) & np.uint64(2047)] == n:
            continue  # every key has the same digit
        total = 0
        for k in range(2048):
            count = own[k]
            own[k] = total
            total += count
        for i in range(n):
            k = (np.uint64(keys[i]) >> shift) & np.uint64(2047)
            other_keys[own[k]] = keys[i]
            other_codes[own[k]] = codes[i]
            own[k] += 1
        keys, other_keys = other_keys, keys
        codes, other_codes = other_codes, codes
        swapped = not swapped
    return swapped


@numba.njit(nogil=True, cache=True)
def sort_column(values, codes, bits, sign, scratch, scratch_codes, histogram):
    """Sort one column in place with its codes.

    Args:
        values: Non-zero values.
        codes: Their groups.
        bits: The same memory as `values`, as unsigned integers.
        sign: The sign bit of that integer type.
        scratch: Unsigned integers, at least as long.
        scratch_codes: Codes, at least as long.
        histogram: `[6, 2048]` whole numbers.
    """
    n = values.size
    if n < SMALL:
        _insertion_sort(values, codes)
        return
    negative = False
    for i in range(n):
        if values[i] < 0:
            negative = True
            break
    if negative:
        for i in range(n):
            bits[i] = ~bits[i] if bits[i] & sign else bits[i] | sign
    n_digits = 3 if bits.itemsize == 4 else 6
    if _radix_sort(bits, codes, scratch[:n], scratch_codes[:n], n_digits, histogram):
        bits[:] = scratch[:n]
        codes[:] = scratch_codes[:n]
    if negative:
        for i in range(n):
            bits[i] = bits[i] ^ sign if bits[i] & sign else ~bits[i]


@numba.njit(nogil=True, cache=True)
def _sweep_gene(values, codes, sizes, log_sums, twice_u, ties, sums, sums_log, stored, in_block):
    """Rank every group of one gene against the controls; arguments as `sweep_genes`, values sorted, outputs of this gene."""
    control = sizes.size - 1
    n = values.size
    stored[:] = 0
    for i in range(n):
        q = codes[i]
        stored[q] += 1
        sums[q] += float(values[i])
    if log_sums:
        for i in range(n):
            sums_log[codes[i]] += np.log1p(float(values[i]))
    zeros_control = float(sizes[control] - stored[control])
    below = 0.0
    control_ties = 0.0
    zeros_done = False
    i = 0
    while i <= n:
        if not zeros_done and (i == n or values[i] > 0):
            for q in range(control):
                zeros = float(sizes[q] - stored[q])
                twice_u[q] += zeros * (2.0 * below + zeros_control)
                both = zeros + zeros_control
                ties[q] += both * both * both - both - (zeros_control * zeros_control * zeros_control - zeros_control)
            control_ties += zeros_control * zeros_control * zeros_control - zeros_control
            below += zeros_control
            zeros_done = True
        if i == n:
            break
        j = i + 1
        while j < n and values[j] == values[i]:
            j += 1
        if j == i + 1:
            if codes[i] == control:
                below += 1.0
            else:
                twice_u[codes[i]] += 2.0 * below
            i = j
            continue
        for k in range(i, j):
            in_block[codes[k]] += 1
        equal = float(in_block[control])
        in_block[control] = 0
        alone = equal * equal * equal - equal
        for k in range(i, j):
            q = codes[k]
            if in_block[q] > 0:
                m = float(in_block[q])
                in_block[q] = 0
                twice_u[q] += m * (2.0 * below + equal)
                both = equal + m
                ties[q] += both * both * both - both - alone
        control_ties += alone
        below += equal
        i = j
    for q in range(control):
        ties[q] += control_ties


@numba.njit(nogil=True, cache=True)
def sweep_genes(values, codes, bits, sign, offsets, sizes, first, last, log_sums, twice_u, ties, sums, sums_log):
    """Rank every group against the controls, gene by gene.

    With three subsets (all cells and two halves of them) each value's code is 3 * group + half, where half 2 belongs to
    all cells only; a gene is sorted once for the three.

    Args:
        values: Non-zero values of a window of genes, gene after gene; sorted in place.
        codes: Code of each value; the last group is the control.
        bits: The memory of `values` as unsigned integers.
        sign: The sign bit of that integer type.
        offsets: `[w + 1]` where each gene of the window starts.
        sizes: `[s, p + 1]` cells per subset and group, zeros included, controls last.
        first: First gene of the range to do, within the window.
        last: Gene after the last one.
        log_sums: Also fill `sums_log`.
        twice_u: `[s, w, p]` receives 2U of each group against the control.
        ties: `[s, w, p]` receives the sum of t^3 - t over tied blocks of group and control together.
        sums: `[s, w, p + 1]` receives the sum of values.
        sums_log: `[s, w, p + 1]` receives the sum of log1p of values, or is left.
    """
    n_subsets = sizes.shape[0]
    longest = 0
    for gene in range(first, last):
        longest = max(longest, offsets[gene + 1] - offsets[gene])
    scratch = np.empty(longest, bits.dtype)
    scratch_codes = np.empty(longest, codes.dtype)
    some_values = np.empty(longest if n_subsets > 1 else 0, values.dtype)
    histogram = np.empty((6, 2048), np.int32)
    stored = np.empty(sizes.shape[1], np.int64)
    in_block = np.zeros(sizes.shape[1], np.int64)
    for gene in range(first, last):
        a, b = offsets[gene], offsets[gene + 1]
        sort_column(values[a:b], codes[a:b], bits[a:b], sign, scratch, scratch_codes, histogram)
        at = gene if log_sums else 0
        if n_subsets == 1:
            _sweep_gene(
                values[a:b], codes[a:b], sizes[0], log_sums, twice_u[0, gene], ties[0, gene], sums[0, gene],
                sums_log[0, at], stored, in_block,
            )  # fmt: skip
            continue
        for subset in range(n_subsets):
            n = 0
            for i in range(a, b):
                group = codes[i] // 3
                if subset == 0 or codes[i] - 3 * group == subset - 1:
                    some_values[n] = values[i]
                    scratch_codes[n] = group
                    n += 1
            _sweep_gene(
                some_values[:n], scratch_codes[:n], sizes[subset], log_sums, twice_u[subset, gene], ties[subset, gene],
                sums[subset, gene], sums_log[subset, at], stored, in_block,
            )  # fmt: skip


@numba.njit(nogil=True, cache=True)
def place_profile(values, codes, offsets, control, divisor, n_control, profile, first, last, placed):
    """Where one value per gene would stand among the controls.

    Args:
        values: Sorted non-zero values, none below zero, gene after gene.
        codes: Code of each value.
        offsets: `[w + 1]` where each gene starts.
        control: Group of the controls, which is a code over `divisor`.
        divisor: 1, or 3 where codes tell halves apart.
        n_control: Control cells, zeros included.
        profile: `[w]` the values.
        first: First gene of the range to do, within the window.
        last: Gene after the last one.
        placed: `[w, 3]` receives the controls below, those equal, and the sum of t^3 - t of the controls alone.
    """
    for gene in range(first, last):
        value = float(profile[gene])
        stored = below = equal = 0.0
        ties = 0.0
        run = 0.0
        last = 0.0
        for i in range(offsets[gene], offsets[gene + 1]):
            if codes[i] // divisor != control:
                continue
            here = float(values[i])
            stored += 1.0
            below += here < value
            equal += here == value
            if run > 0 and here == last:
                run += 1.0
            else:
                ties += run * run * run - run
                run, last = 1.0, here
        ties += run * run * run - run
        zeros = n_control - stored
        placed[gene, 0] = below + (zeros if value > 0 else 0.0)
        placed[gene, 1] = equal + (zeros if value == 0 else 0.0)
        placed[gene, 2] = ties + zeros * zeros * zeros - zeros


@numba.njit(nogil=True, cache=True)
def two_sided_p(twice_u, ties, sizes, n_control, p_values):
    """Fill `p_values [p, g]` from 2U and tie sums: normal approximation, tie- and continuity-corrected.

    The normal tail is libm's erfc, which numba-mwu also calls, so that p values agree to the last bit.
    """
    n = float(n_control)
    for q in range(twice_u.shape[0]):
        m = float(sizes[q])
        total = m + n
        mean = m * n / 2.0
        for gene in range(twice_u.shape[1]):
            inner = (total + 1.0) - ties[q, gene] / (total * (total - 1.0))
            variance = m * n / 12.0 * inner
            if not variance > 0.0:
                p_values[q, gene] = 1.0
                continue
            u = twice_u[q, gene] / 2.0
            z = (max(u, m * n - u) - mean - 0.5) / math.sqrt(variance)
            p_values[q, gene] = min(1.0, 0.5 * math.erfc(z / math.sqrt(2.0)) * 2.0)


def rank(
    values: np.ndarray, owners: np.ndarray, offsets: np.ndarray, sizes: np.ndarray, twice_u: np.ndarray,
    ties: np.ndarray, sums: np.ndarray, sums_log: np.ndarray | None = None, *, n_threads: int | None = None,
) -> None:  # fmt: skip
    """`sweep_genes` over all genes of a window, on threads; `values` and `owners` are sorted in place.

    Without the axis of subsets in `sizes` and the outputs there is one, all cells.
    """
    bits = values.view(np.uint32 if values.itemsize == 4 else np.uint64)
    sign = bits.dtype.type(1 << (8 * values.itemsize - 1))
    log_sums = sums_log is not None
    if sizes.ndim == 1:
        sizes, twice_u, ties, sums = sizes[None], twice_u[None], ties[None], sums[None]
        sums_log = sums_log[None] if log_sums else None
    logs = sums_log if log_sums else np.zeros((len(sizes), 1, sizes.shape[1]))

    def task(first: int, last: int) -> None:
        sweep_genes(values, owners, bits, sign, offsets, sizes, first, last, log_sums, twice_u, ties, sums, logs)

    kernels.run_blocks(task, offsets.size - 1, n_threads)


def place(
    values: np.ndarray, owners: np.ndarray, offsets: np.ndarray, control: int, divisor: int, n_control: int,
    profile_w: np.ndarray, placed: np.ndarray, *, n_threads: int | None = None,
) -> None:  # fmt: skip
    """`place_profile` over all genes of a window, on threads."""

    def task(first: int, last: int) -> None:
        place_profile(values, owners, offsets, control, divisor, float(n_control), profile_w, first, last, placed)

    kernels.run_blocks(task, offsets.size - 1, n_threads)


def windows(counts: np.ndarray, bytes_each: int, memory_mb: int) -> list[tuple[int, int]]:
    """Ranges of columns whose values fit in the memory allowed; at least one column each.

    Args:
        counts: `[g]` stored values of each column.
        bytes_each: Bytes of a value with its code.
        memory_mb: The memory.
    """
    ends = np.cumsum(counts) * bytes_each
    ranges, start = [], 0
    while start < counts.size:
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + memory_mb * 2**20, side="right")))
        ranges.append((start, stop))
        start = stop
    return ranges
