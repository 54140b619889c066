"""The byte code of a row of counts, and the compiled passes that read it.

A row is a run of bytes. The low three bits of a byte are a count, the other five a step along the genes:

- `step << 3 | count`, `1 <= count <= 6`: step on, 0 to 31 genes; that gene has `count`.
- `step << 3 | 7`: likewise, and the count is 7 or more; count - 7 follows in base 128, lowest digit first, and every digit
  but the last has its high bit set.
- `step << 3`: go `step * 32` genes on; nothing there. It goes before a byte whose step would be above 31.

The first step of a row counts from gene -1. Most counts of single cells take one byte, and only counts of 7 and more
branch. All passes release the GIL.

Arguments shared by the passes: `codes` [m] uint8, bytes of many rows; `starts`, `stops` [r], where each row begins and ends
in them; `scales` [r] float32, 10,000 / library size of the row.
"""

import numpy as np
from numba import njit, uint64

from vc_data.loader.stream import finish_moves, move_row

TARGET_SUM = 10_000
"""Counts per cell after scaling, the CP10k convention."""
_TABLE = 32
"""log1p of counts below this is looked up; UMI counts seldom reach it."""
_LARGE = 7
_COUNT_BITS = 3
_STEPS = np.array([(byte >> 3) * (1 if byte & 7 else 32) for byte in range(256)], np.uint64)
"""What each byte adds to the gene."""


@njit(cache=True, nogil=True)
def encode_rows(indptr, indices, values, codes, lengths):
    """Encode a CSR block.

    Args:
        indptr: [r + 1] int64, starting at 0.
        indices: [z] Gene of each stored count, ascending within a row.
        values: [z] int64 counts, 1 or more.
        codes: [m] uint8, filled; large enough for all bytes (see `count_codes`).
        lengths: [r] int64, filled with the number of bytes of each row.
    """
    k = 0
    for row in range(len(indptr) - 1):
        begin, gene = k, -1
        for j in range(indptr[row], indptr[row + 1]):
            step = indices[j] - gene
            gene = indices[j]
            while step > 31:
                far = min(step >> 5, 31)
                codes[k] = far << _COUNT_BITS
                step -= far << 5
                k += 1
            rest = values[j] - _LARGE
            codes[k] = step << _COUNT_BITS | (_LARGE if rest >= 0 else values[j])
            k += 1
            while rest >= 0:
                more = rest >> 7
                codes[k] = rest & 127 | (128 if more else 0)
                rest = more if more else -1
                k += 1
        lengths[row] = k - begin


@njit(cache=True, nogil=True)
def count_codes(indptr, indices, values):
    """Number of bytes that `encode_rows` writes for a CSR block (same arguments)."""
    n = 0
    for row in range(len(indptr) - 1):
        gene = -1
        for j in range(indptr[row], indptr[row + 1]):
            n += 1 + ((indices[j] - gene >> 5) + 30) // 31
            gene = indices[j]
            rest = values[j] - _LARGE
            while rest >= 0:
                n += 1
                rest = rest >> 7 if rest > 127 else -1
    return n


@njit(cache=True, nogil=True)
def gather_rows(codes, starts, stops, out):
    """Copy rows, in the order given, one after the other into `out`."""
    k = 0
    for row in range(len(starts)):
        n = stops[row] - starts[row]
        out[k : k + n] = codes[starts[row] : stops[row]]
        k += n


@njit(nogil=True)
def _read_large(codes, k):
    """The count whose digits begin at `k`, and where they end."""
    count, shift = uint64(0), uint64(0)
    while True:
        digit = uint64(codes[k])
        k += uint64(1)
        count |= (digit & uint64(127)) << shift
        shift += uint64(7)
        if digit < 128:
            return count + uint64(_LARGE), k


@njit(cache=True, nogil=True)
def fill_dense(out_ng, places, codes, starts, stops, scales):
    """Write rows as dense log1p CP10k.

    A row is built in a scratch row that stays in cache and is then moved. Unsigned positions spare a check for negative ones.

    Args:
        out_ng: [n, g] float32; only the rows in `places` are written, wholly.
        places: [r] Row of `out_ng` for each row.
        codes: See the module, as for the arguments after it.
        starts: "
        stops: "
        scales: "
    """
    steps = _STEPS
    table, scratch = np.zeros(_TABLE, np.float32), np.zeros(out_ng.shape[1], np.float32)
    for row in range(len(starts)):
        scale = scales[row]
        for count in range(1, _TABLE):
            table[count] = np.log1p(np.float32(count) * scale)
        gene, k, stop = uint64(0) - uint64(1), uint64(starts[row]), uint64(stops[row])
        while k < stop:
            byte = uint64(codes[k])
            k += uint64(1)
            gene += steps[byte]
            # A byte without a count writes the zero that is there: cheaper than to branch.
            scratch[gene] = table[byte & uint64(7)]
            if byte & uint64(7) == _LARGE:
                large, k = _read_large(codes, k)
                scratch[gene] = table[large] if large < _TABLE else np.log1p(np.float32(large) * scale)
        move_row(out_ng[places[row]], scratch)
    finish_moves()  # pyrefly: ignore[missing-argument] numba fills in the typing context


@njit(cache=True, nogil=True)
def fill_padded(genes_nk, values_nk, n_genes, places, codes, starts, stops, scales):
    """Write rows as padded sparse log1p CP10k: genes ascending, then padding `(n_genes, 0)`.

    Args:
        genes_nk: [n, k] int32; only the rows in `places` are written, wholly.
        values_nk: [n, k] float32, likewise.
        n_genes: Width of the gene axis.
        places: As in `fill_dense`, and so on.
        codes: "
        starts: "
        stops: "
        scales: "
    """
    steps = _STEPS
    for row in range(len(starts)):
        genes, values, scale = genes_nk[places[row]], values_nk[places[row]], scales[row]
        gene, k, stop, filled = uint64(0) - uint64(1), uint64(starts[row]), uint64(stops[row]), 0
        while k < stop:
            byte = uint64(codes[k])
            k += uint64(1)
            gene += steps[byte]
            count = byte & uint64(7)
            if count == 0:
                continue
            if count == _LARGE:
                count, k = _read_large(codes, k)
            genes[filled] = gene
            values[filled] = np.log1p(np.float32(count) * scale)
            filled += 1
        genes[filled:] = n_genes
        values[filled:] = 0


@njit(cache=True, nogil=True)
def add_profile(sum_g, codes, starts, stops, scales):
    """Add the log1p CP10k of every row to `sum_g` [g] float64."""
    steps = _STEPS
    for row in range(len(starts)):
        gene, k, stop, scale = uint64(0) - uint64(1), uint64(starts[row]), uint64(stops[row]), scales[row]
        while k < stop:
            byte = uint64(codes[k])
            k += uint64(1)
            gene += steps[byte]
            count = byte & uint64(7)
            if count == 0:
                continue
            if count == _LARGE:
                count, k = _read_large(codes, k)
            sum_g[gene] += np.log1p(np.float32(count) * scale)
