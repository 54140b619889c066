"""Counts of one gene in many cells: thinned, added to, and mended one count at a time.

Every gene has a stream of random numbers of its own (splitmix64), so results depend on neither threads nor blocks, and two calls
with the same seed differ by their factors alone. A control cell's count c says that its rate is Gamma(c + a) times theta, where
a = 1 / dispersion and theta = t / (t + a / share) for a cell of total t (conjugate prior of the Poisson); counts added at q times
that rate are therefore negative binomial, which is drawn without drawing the rate.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

BLOCK = 256  # genes per task
LARGE = 30.0  # from this mean on numba's own samplers are faster than walking up the distribution
ROUNDING = 1e-12
FEW = 12  # cells that are found faster one by one than by sorting


def run_blocks(task: Callable[[int, int], None], n_genes: int) -> None:
    """Run `task(start, stop)` over blocks of genes, on every core that this process may use."""
    starts = range(0, n_genes, BLOCK)
    n_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(n_threads) as pool:
        for done in [pool.submit(task, start, min(start + BLOCK, n_genes)) for start in starts]:
            done.result()


@numba.njit(nogil=True, cache=True, inline="always")
def _uniform(state):
    """The next state of splitmix64 (Steele, Lea, Flood 2014), and a number in [0, 1)."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    z = state
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return state, np.float64(z >> np.uint64(11)) * 1.1102230246251565e-16


@numba.njit(nogil=True, cache=True)
def _start(seed, gene):
    """The first state of a gene's stream; numba's own sampler is seeded for it, too."""
    state = np.uint64(seed) ^ (np.uint64(gene + 1) * np.uint64(0xD1342543DE82EF95))
    state, _ = _uniform(state)
    return state


@numba.njit(nogil=True, cache=True)
def _large(state, seeded):
    """Seed numba's sampler from a gene's stream, once."""
    if not seeded:
        np.random.seed(np.int64(state >> np.uint64(33)))


@numba.njit(nogil=True, cache=True)
def _negative_binomial(shape, scale, u):
    """The count whose upper tail holds u: Poisson at a rate of Gamma(shape) times scale; mean at most `LARGE`."""
    if u >= shape * scale:  # 1 - P(0) is at most the mean
        return 0
    p = np.exp(-shape * np.log1p(scale))
    above, ratio, count = 1.0 - p, scale / (1.0 + scale), 0
    while u < above and p > 0 and count < 1_000_000:
        p *= (shape + count) / (count + 1) * ratio
        count += 1
        above -= p
        if p < ROUNDING * above and above < ROUNDING:
            break
    return count


@numba.njit(nogil=True, cache=True)
def redraw_genes(count_gm, total_m, shape_g, share_g, dispersion, seed, start, stop, out_gm):
    """Count cells anew at their own rates.

    The rate of a cell is Gamma(c + a) * theta. With another dispersion d its distance from the expected rate is multiplied by
    sqrt(d) and its variance by d, by the gamma law of that mean and variance.

    Args:
        count_gm: [g, m] int32 counts of the control cells.
        total_m: [m] float64, their totals.
        shape_g: [g] 1 / dispersion of the controls.
        share_g: [g] mean share of the depth.
        dispersion: d >= 0.
        seed: uint64.
        start: First gene.
        stop: One past the last gene.
        out_gm: [g, m] int32, written for these genes.
    """
    root = np.sqrt(dispersion)
    for gene in range(start, stop):
        state, seeded = _start(seed, gene), False
        a = shape_g[gene]
        for m in range(count_gm.shape[1]):
            theta = total_m[m] / (total_m[m] + a / share_g[gene])
            shape = count_gm[gene, m] + a
            if dispersion != 1.0:
                expected = total_m[m] * share_g[gene]
                mean = max(expected + root * (shape * theta - expected), 1e-3 * expected)
                shape = min(mean * mean / max(dispersion * shape * theta * theta, 1e-300), 1e8)
                theta = mean / shape
            if shape * theta > LARGE:
                _large(state, seeded)
                seeded = True
                out_gm[gene, m] = np.random.poisson(np.random.gamma(shape) * theta)
            else:
                state, u = _uniform(state)
                out_gm[gene, m] = _negative_binomial(shape, theta, u)


@numba.njit(nogil=True, cache=True)
def scale_genes(count_gm, total_m, shape_g, share_g, factor_g, seed, start, stop, out_gm):
    """Counts of factor times the mean, in law: thinned below 1, added to above 1.

    Args:
        count_gm: [g, m] int32.
        total_m: [m] float64, the totals of these cells.
        shape_g: [g] 1 / dispersion.
        share_g: [g] mean share of the depth.
        factor_g: [g] >= 0.
        seed: uint64.
        start: First gene.
        stop: One past the last gene.
        out_gm: [g, m] int32, written for these genes.
    """
    for gene in range(start, stop):
        state, seeded = _start(seed, gene), False
        factor, a = factor_g[gene], shape_g[gene]
        for m in range(count_gm.shape[1]):
            count = count_gm[gene, m]
            if factor < 1.0:
                if count > LARGE:
                    _large(state, seeded)
                    seeded = True
                    out_gm[gene, m] = np.random.binomial(count, factor)
                    continue
                kept = 0
                for _ in range(count):
                    state, u = _uniform(state)
                    kept += u < factor
                out_gm[gene, m] = kept
                continue
            scale = (factor - 1.0) * total_m[m] / (total_m[m] + a / share_g[gene])
            if (count + a) * scale > LARGE:
                _large(state, seeded)
                seeded = True
                out_gm[gene, m] = count + np.random.poisson(np.random.gamma(count + a) * scale)
            else:
                state, u = _uniform(state)
                out_gm[gene, m] = count + _negative_binomial(count + a, scale, u)


@numba.njit(nogil=True, cache=True)
def log_means(count_gm, per_count_m, start, stop, out_g):
    """Mean log1p CP10k of genes; `per_count_m` is 10,000 / total of each cell."""
    n = count_gm.shape[1]
    for gene in range(start, stop):
        total = 0.0
        for m in range(n):
            count = count_gm[gene, m]
            if count > 0:
                total += np.log1p(count * per_count_m[m])
        out_g[gene] = total / n


@numba.njit(nogil=True, cache=True)
def mend_genes(count_gm, per_count_m, base_gm, total_m, shape_g, share_g, goal_g, seed, start, stop):
    """Give or take single counts, in place, until the mean log1p CP10k of each gene is as near its goal as one count allows.

    Cells get a count in proportion to their rate, and lose one in proportion to what they have.

    Args:
        count_gm: [g, m] int32, changed for these genes.
        per_count_m: [m] 10,000 / total.
        base_gm: [g, m] int32 counts of the control cells, from which the rates follow.
        total_m: [m] totals of the control cells.
        shape_g: [g] 1 / dispersion.
        share_g: [g] mean share of the depth.
        goal_g: [g] wanted means.
        seed: uint64.
        start: First gene.
        stop: One past the last gene.
    """
    n = count_gm.shape[1]
    least = np.log1p(per_count_m.min())
    key_m = np.empty(n)
    for gene in range(start, stop):
        left = goal_g[gene] * n
        richest = 0
        for m in range(n):
            count = count_gm[gene, m]
            if count > 0:
                left -= np.log1p(count * per_count_m[m])
                richest = max(richest, count)
        sign = 1 if left > 0 else -1
        left = abs(left)
        if left < 0.5 * least / (1 + richest):  # no step is smaller than twice this
            continue
        state, a = _start(seed, gene), shape_g[gene]
        for m in range(n):
            if sign < 0 and count_gm[gene, m] == 0:
                key_m[m] = np.inf
                continue
            state, u = _uniform(state)
            theta = total_m[m] / (total_m[m] + a / share_g[gene])
            odds = (base_gm[gene, m] + a) * theta if sign > 0 else np.float64(count_gm[gene, m])
            key_m[m] = -np.log1p(-u) / odds
        # The smallest keys come first (Efraimidis and Spirakis 2006): a few by search, many by sorting.
        order_m = np.argsort(key_m) if left > FEW * least else key_m[:0].astype(np.int64)
        for pick in range(n):
            m = order_m[pick] if len(order_m) else np.argmin(key_m)
            if key_m[m] == np.inf:
                break
            key_m[m] = np.inf
            count, each = count_gm[gene, m], per_count_m[m]
            size = abs(np.log1p((count + sign) * each) - np.log1p(count * each))
            left -= size
            if left + 0.5 * size <= 0:
                break
            count_gm[gene, m] += sign
