"""The byte code of a row of counts, and the compiled passes that read it.

A row is a run of entries, two bytes each, in two planes: `gaps` (distance to the previous gene) and `counts`.

- `(gap, count)` with `1 <= gap <= 255`, `1 <= count <= 254`: step `gap` genes on; that gene has `count`.
- `(255, 0)`: step 255 genes on; nothing there. It bridges gaps above 255.
- `(gap, 255)` followed by entries `(0, digit)`: the count is 255 or more; its base-256 digits follow, lowest first.

The first gap of a row counts from gene -1. Nearly every entry of single-cell counts is of the first kind, so the loops
below have one predictable branch. All passes release the GIL.

Arguments shared by the passes: `gaps`, `counts` [m] uint8, entries of many rows; `starts`, `stops` [r], where each row
begins and ends in them; `scales` [r] float32, 10,000 / library size of the row.
"""

import numpy as np
from numba import njit

TARGET_SUM = 10_000
"""Counts per cell after scaling, the CP10k convention."""
_TABLE = 32
"""Counts below this are looked up; UMI counts seldom reach it."""
_ESCAPE = 255
_BITS_PER_DIGIT = 8


@njit(cache=True, nogil=True)
def encode_rows(indptr, indices, values, gaps, counts, lengths):
    """Encode a CSR block.

    Args:
        indptr: [r + 1] int64, starting at 0.
        indices: [z] Gene of each stored count, ascending within a row.
        values: [z] int64 counts, 1 or more.
        gaps: [m] uint8, filled; large enough for all entries (see `count_entries`).
        counts: [m] uint8, filled.
        lengths: [r] int64, filled with the number of entries of each row.
    """
    k = 0
    for row in range(len(indptr) - 1):
        begin, gene = k, -1
        for j in range(indptr[row], indptr[row + 1]):
            gap = indices[j] - gene
            gene = indices[j]
            while gap > 255:
                gaps[k], counts[k] = 255, 0
                gap -= 255
                k += 1
            gaps[k] = gap
            value = values[j]
            if value < _ESCAPE:
                counts[k] = value
                k += 1
                continue
            counts[k] = _ESCAPE
            k += 1
            while value > 0:
                gaps[k], counts[k] = 0, value & 255
                value >>= _BITS_PER_DIGIT
                k += 1
        lengths[row] = k - begin


@njit(cache=True, nogil=True)
def count_entries(indptr, indices, values):
    """Number of entries that `encode_rows` writes for a CSR block (same arguments)."""
    n = 0
    for row in range(len(indptr) - 1):
        gene = -1
        for j in range(indptr[row], indptr[row + 1]):
            n += 1 + (indices[j] - gene - 1) // 255
            gene = indices[j]
            value = values[j]
            if value >= _ESCAPE:
                while value > 0:
                    value >>= _BITS_PER_DIGIT
                    n += 1
    return n


@njit(cache=True, nogil=True)
def gather_rows(gaps, counts, starts, stops, out_gaps, out_counts):
    """Copy rows, in the order given, one after the other into `out_gaps` and `out_counts`."""
    k = 0
    for row in range(len(starts)):
        n = stops[row] - starts[row]
        out_gaps[k : k + n] = gaps[starts[row] : stops[row]]
        out_counts[k : k + n] = counts[starts[row] : stops[row]]
        k += n


@njit(cache=True, nogil=True)
def fill_dense(out_ng, places, gaps, counts, starts, stops, scales):
    """Write rows as dense log1p CP10k.

    Args:
        out_ng: [n, g] float32; only the rows in `places` are written, wholly.
        places: [r] Row of `out_ng` for each row.
        gaps: See the module, as for the arguments after it.
        counts: "
        starts: "
        stops: "
        scales: "
    """
    table = np.zeros(_TABLE, np.float32)
    for row in range(len(starts)):
        scale = scales[row]
        for count in range(1, _TABLE):
            table[count] = np.log1p(np.float32(count) * scale)
        out = out_ng[places[row]]
        out[:] = 0
        gene, k, stop = -1, starts[row], stops[row]
        while k < stop:
            gene += gaps[k]
            count = np.int64(counts[k])
            k += 1
            if count < _TABLE:
                out[gene] = table[count]
                continue
            if count == _ESCAPE:
                count, shift = 0, 0
                while k < stop and gaps[k] == 0:
                    count |= np.int64(counts[k]) << shift
                    shift += _BITS_PER_DIGIT
                    k += 1
            out[gene] = np.log1p(np.float32(count) * scale)


@njit(cache=True, nogil=True)
def fill_padded(genes_nk, values_nk, n_genes, places, gaps, counts, starts, stops, scales):
    """Write rows as padded sparse log1p CP10k: genes ascending, then padding `(n_genes, 0)`.

    Args:
        genes_nk: [n, k] int32; only the rows in `places` are written, wholly.
        values_nk: [n, k] float32, likewise.
        n_genes: Width of the gene axis.
        places: As in `fill_dense`, and so on.
        gaps: "
        counts: "
        starts: "
        stops: "
        scales: "
    """
    for row in range(len(starts)):
        genes, values, scale = genes_nk[places[row]], values_nk[places[row]], scales[row]
        gene, k, stop, filled = -1, starts[row], stops[row], 0
        while k < stop:
            gene += gaps[k]
            count = np.int64(counts[k])
            k += 1
            if count == 0:
                continue
            if count == _ESCAPE:
                count, shift = 0, 0
                while k < stop and gaps[k] == 0:
                    count |= np.int64(counts[k]) << shift
                    shift += _BITS_PER_DIGIT
                    k += 1
            genes[filled] = gene
            values[filled] = np.log1p(np.float32(count) * scale)
            filled += 1
        genes[filled:] = n_genes
        values[filled:] = 0


@njit(cache=True, nogil=True)
def add_profile(sum_g, gaps, counts, starts, stops, scales):
    """Add the log1p CP10k of every row to `sum_g` [g] float64."""
    for row in range(len(starts)):
        gene, k, stop, scale = -1, starts[row], stops[row], scales[row]
        while k < stop:
            gene += gaps[k]
            count = np.int64(counts[k])
            k += 1
            if count == _ESCAPE:
                count, shift = 0, 0
                while k < stop and gaps[k] == 0:
                    count |= np.int64(counts[k]) << shift
                    shift += _BITS_PER_DIGIT
                    k += 1
            sum_g[gene] += np.log1p(np.float32(count) * scale)
