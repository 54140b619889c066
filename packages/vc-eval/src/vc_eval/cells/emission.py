"""One shared rule that turns a predicted mean profile into cells, so that DES compares means only.

Every model of a condition gets the same drawn input control cells; each gene's linear values are multiplied by one
factor such that the mean log1p over the cells equals the predicted mean. Cell-to-cell spread is that of real controls,
zeros stay zeros and detected stays detected. Factors are capped on both sides: a gene that is zero in every drawn cell
cannot reach a positive mean, and a predicted mean of zero does not switch a gene off in every cell, which the rule would
read as an infinite fold change that outranks all others. What is missed is returned as the residual.
"""

import hashlib
from typing import NamedTuple, cast

import numpy as np
import scipy.sparse

from vc_eval.rank import de, kernels, sweep
from vc_eval.rank.de import DeTable, SortedControl

FACTOR_CAP = 100.0  # no gene of a cell is scaled up or down by more


class Emission(NamedTuple):
    """DE table of emitted cells and what the emission missed of the predicted mean, `[p, g]`."""

    table: DeTable
    residual_pg: np.ndarray


def stream(seed: int, name: str) -> np.random.Generator:
    """Random numbers of their own for every name, the same whatever else is drawn."""
    return np.random.default_rng([seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")])


def draw_cells(n_input: int, n_cells: int, *, seed: int, condition: str) -> np.ndarray:
    """`[n]` rows of the input controls for one condition, the same for every model and whatever else is scored.

    Without replacement while cells last, then again from all, so that no cell is used more often than it must be.

    Args:
        n_input: Number of input control cells, in an order that depends on their names only.
        n_cells: Cells to emit.
        seed: Root seed.
        condition: Name of the condition; each has its own stream.
    """
    rng = stream(seed, condition)
    rounds = -(-n_cells // n_input)
    return np.concatenate([rng.permutation(n_input) for _ in range(rounds)])[:n_cells]


def emit_cells(
    controls: de.Matrix, drawn: np.ndarray, profile_g: np.ndarray, *, cap: float = FACTOR_CAP
) -> scipy.sparse.csr_array:
    """Cells of one condition as a matrix; `emit_table` tests the same cells without storing them.

    Args:
        controls: `[n, g]` log1p_cp10k of the input control cells.
        drawn: `[m]` rows to use, from `draw_cells`.
        profile_g: `[g]` predicted mean log1p_cp10k.
        cap: Largest factor.

    Returns:
        `[m, g]` float32 log1p values.
    """
    cells = cast("scipy.sparse.csr_array", de.as_csr(controls, "input controls")[drawn]).tocsc()
    values = np.expm1(cells.data.astype(np.float64))
    # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
    for gene in range(cells.shape[1]):
        column = slice(cells.indptr[gene], cells.indptr[gene + 1])
        ordered = np.sort(values[column])
        values[column] *= kernels.scale_factor(ordered, ordered.size, len(drawn), float(profile_g[gene]), cap)
    emitted = scipy.sparse.csc_array(
        (np.log1p(values).astype(np.float32), cells.indices, cells.indptr), shape=cells.shape
    )
    emitted.eliminate_zeros()
    return emitted.tocsr()


class InputCells(NamedTuple):
    """Input control cells prepared for emission: CSC of expm1 values, made once per cell line."""

    indptr: np.ndarray
    indices: np.ndarray
    linear: np.ndarray
    n_cells: int


def prepare_input(controls: de.Matrix) -> InputCells:
    """Prepare `[n, g]` log1p_cp10k input control cells for `emit_table`."""
    columns = de.as_csr(controls, "input controls").tocsc()
    # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
    return InputCells(columns.indptr, columns.indices, np.expm1(columns.data.astype(np.float64)), columns.shape[0])


def emit_table(
    cells: InputCells, drawn: list[np.ndarray], profile_pg: np.ndarray, control: SortedControl, *,
    cap: float = FACTOR_CAP, n_threads: int | None = None,
) -> Emission:  # fmt: skip
    """Emit cells for every condition and test them against the controls in one pass over genes, storing no cell.

    Args:
        cells: From `prepare_input`.
        drawn: Per condition the rows to use, from `draw_cells`.
        profile_pg: `[p, g]` predicted mean log1p_cp10k.
        control: Reference of the test, from `de.sort_control`.
        cap: Largest factor.
        n_threads: Threads; default is every core.
    """
    profile_pg = np.ascontiguousarray(profile_pg, np.float64)
    sizes = np.array([len(rows) for rows in drawn])
    rows, ends = np.concatenate(drawn), np.cumsum(sizes)
    means, residual = (np.empty(profile_pg.shape) for _ in range(2))

    def columns(start: int, stop: int) -> de.Block:
        return kernels.emit(
            cells.indptr, cells.indices, cells.linear, cells.n_cells, rows, ends, profile_pg, cap,
            control.values, control.offsets, start, stop, means, residual,
        )  # fmt: skip

    twice_u, ties, _ = de.rank_blocks(columns, sizes, control, n_threads)
    return Emission(de.make_table(twice_u, ties, means, sizes, control), residual)


def tile_table(
    profile_g: np.ndarray, sizes: np.ndarray, control: SortedControl, *, n_threads: int | None = None
) -> DeTable:
    """DE table of identical cells, which is how cell-eval's mean baseline is written (docs/metrics.md#mean-baseline).

    Identical cells have no spread within the group, which inflates significance; use it for that baseline only.

    Args:
        profile_g: `[g]` mean log1p_cp10k, repeated in every cell of every condition as float32.
        sizes: `[p]` cells per condition.
        control: Reference of the test; no value below zero.
        n_threads: Threads; default is every core.
    """
    profile_g = np.asarray(profile_g, np.float32)
    placed = np.empty((control.n_genes, 3))
    codes = np.zeros(control.values.size, np.uint16)
    sweep.place(control.values, codes, control.offsets, 0, 1, control.n_cells, profile_g, placed, n_threads=n_threads)
    twice_u, ties = de.rank_tiles(placed.T, sizes)
    mean_pg = np.repeat(profile_g[None].astype(np.float64), len(sizes), axis=0)
    return de.make_table(twice_u, ties, mean_pg, np.asarray(sizes), control)
