"""What a matrix of cells holds, counts or log1p values, and how it is brought to log1p.

Found as cell-eval 0.8.2 finds it (docs/metrics.md#scale); bad values are refused here, and what is odd but taken is kept to be said.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import scipy.sparse

from vc_eval.cells.inputs import source_name
from vc_eval.cells.rows import RowMatrix, with_bar
from vc_eval.cells.settings import Settings
from vc_eval.errors import VcEvalError
from vc_eval.rank import sweep

if TYPE_CHECKING:
    import anndata

FRACTION = sweep.FRACTION  # a fractional part beyond it means log1p (docs/metrics.md#scale)
LOG_LIMIT = 15.0  # log1p values stay below it (docs/metrics.md#scale)
LOOKED_AT = 2000  # cells whose totals are looked at


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What one matrix was found to hold, and what was done with it."""

    found: str
    """`log1p` or `counts`."""
    target_sum: float | None
    """Median total counts that every cell was scaled to before log1p; None where values were taken as they are."""
    minimum: float
    maximum: float
    whole_cells: int = 0
    """Cells of whole numbers only in a matrix of fractions: raw counts among log1p values."""
    whole_genes: int = 0
    """Genes of whole numbers only in a matrix of fractions."""
    depth_spread: float = 0.0
    """Standard deviation of the log of cell totals after undoing the log; 0 where nothing was taken for log1p."""


class Scan(NamedTuple):
    """What one pass over a matrix shows."""

    counts: np.ndarray
    """`[g]` non-zero values per column."""
    totals: np.ndarray
    """`[n]` sum of each row."""
    minimum: float
    maximum: float
    fraction: float
    """Largest fractional part."""
    not_finite: int
    whole_cells: int
    whole_genes: int
    depth_spread: float


def scan(matrix: RowMatrix, code_n: np.ndarray, progress: bool) -> Scan:
    """Look at every value before anything is computed.

    Args:
        matrix: The cells.
        code_n: `[n]` group of each cell; -1 leaves it out.
        progress: Show a bar.
    """
    counts, totals = np.zeros(matrix.n_columns, np.int64), np.zeros(matrix.n_rows)
    state = np.array([0.0, 0.0, 0.0, 0.0])
    fractions_n, fractions_g = np.zeros(matrix.n_rows, bool), np.zeros(matrix.n_columns, bool)
    depths: list[np.ndarray] = []
    step = max(1, matrix.n_rows // LOOKED_AT)
    for start, block in with_bar(matrix, "looking", progress):
        # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
        stop = start + block.shape[0]
        sweep.scan(
            block.indptr, block.indices, block.data, code_n[start:stop] >= 0, counts, totals[start:stop], state,
            fractions_n[start:stop], fractions_g,
        )  # fmt: skip
        # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
        kept = np.arange(-start % step, block.shape[0], step)
        depths.append(_linear_totals(block, kept[code_n[start + kept] >= 0]))
    used = (code_n >= 0) & (totals > 0)
    mixed = bool(fractions_n.any())
    return Scan(
        counts, totals, float(state[0]), float(state[1]), float(state[2]), int(state[3]),
        whole_cells=int((used & ~fractions_n).sum()) if mixed else 0,
        whole_genes=int(((counts > 0) & ~fractions_g).sum()) if mixed else 0,
        depth_spread=_spread(np.concatenate(depths)) if mixed and depths else 0.0,
    )  # fmt: skip


def _linear_totals(block: scipy.sparse.csr_array, rows: np.ndarray) -> np.ndarray:
    """Total of some rows after undoing log1p."""
    part = cast("scipy.sparse.csr_array", block[rows])
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(
            scipy.sparse.csr_array(
                (np.expm1(part.data.astype(np.float64)), part.indices, part.indptr), shape=part.shape
            ).sum(axis=1)
        ).ravel()


def _spread(totals: np.ndarray) -> float:
    """Standard deviation of the log of the finite totals above 0."""
    known = totals[np.isfinite(totals) & (totals > 0)]
    return float(np.std(np.log(known))) if known.size > 1 else 0.0


def check_scale(
    matrix: RowMatrix, code_n: np.ndarray, seen: Scan, name: str, adata: "anndata.AnnData", settings: Settings
) -> Scale:
    """What a matrix holds, found as cell-eval 0.8.2 finds it; bad values are refused.

    Args:
        matrix: The cells.
        code_n: `[n]` group of each cell; -1 leaves it out.
        seen: Of `scan`.
        name: `real` or `pred`, for messages.
        adata: What the matrix was opened from, for messages.
        settings: Whether counts are taken as they are.

    Raises:
        VcEvalError: If values are negative, not finite, or of no scale the rule knows.
    """
    minimum, maximum, fraction, bad, totals = seen.minimum, seen.maximum, seen.fraction, seen.not_finite, seen.totals
    where = f"{name} ({source_name(adata)})"
    if bad:
        cell, gene, value = _first(matrix, code_n, lambda data: ~np.isfinite(data), adata)
        raise VcEvalError(
            f"{where}: {int(bad)} values of X are not finite, first {value} at cell {cell!r}, gene {gene!r}; expected "
            "finite expression. Replace them before scoring."
        )
    if minimum < 0:
        cell, gene, value = _first(matrix, code_n, lambda data: data < 0, adata)
        raise VcEvalError(
            f"{where}: X holds negative values, first {value:g} at cell {cell!r}, gene {gene!r}; expected counts or "
            "log1p values of 0 or more. Score expression, not differences."
        )
    if fraction > FRACTION and maximum >= LOG_LIMIT and not settings.allow_counts:
        cell, gene, value = _first(matrix, code_n, lambda data: data >= LOG_LIMIT, adata)
        raise VcEvalError(
            f"{where}: X has fractions and reaches {maximum:g} (cell {cell!r}, gene {gene!r}); expected whole counts, or "
            f"log1p values below {LOG_LIMIT:g}. Take log1p of normalised values, of every cell."
        )
    if settings.allow_counts and fraction > FRACTION and maximum < LOG_LIMIT:
        raise VcEvalError(
            f"{where}: counts were asked for (--allow-counts), but X has fractions and stays below {LOG_LIMIT:g}, as log1p "
            "values do. Pass counts, or leave the option out."
        )
    if fraction > FRACTION or settings.allow_counts:
        found = "counts" if settings.allow_counts else "log1p"
        return Scale(
            found=found, target_sum=None, minimum=minimum, maximum=maximum, whole_cells=seen.whole_cells,
            whole_genes=seen.whole_genes, depth_spread=0.0 if settings.allow_counts else seen.depth_spread,
        )  # fmt: skip
    positive = totals[(code_n >= 0) & (totals > 0)]
    target = float(np.median(positive.astype(matrix.dtype))) if positive.size else None
    return Scale(found="counts", target_sum=target, minimum=minimum, maximum=maximum)


def factors(scale: Scale, totals: np.ndarray, dtype: np.dtype) -> np.ndarray | None:
    """`[n]` what each cell of counts is divided by; None for values taken as they are."""
    if scale.target_sum is None:
        return None
    # Rounded where scanpy's normalize_total rounds: ties between cells hang on it.
    return totals.astype(dtype) / dtype.type(scale.target_sum)


def log1p(block: scipy.sparse.csr_array, factor_n: np.ndarray | None, row: int) -> np.ndarray:
    """Values of a block that starts at `row`, brought to log1p."""
    if factor_n is None:
        return block.data
    with np.errstate(divide="ignore", invalid="ignore"):
        # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
        return np.log1p(block.data / np.repeat(factor_n[row : row + block.shape[0]], np.diff(block.indptr)))


def _first(
    matrix: RowMatrix, code_n: np.ndarray, wrong: Callable[[np.ndarray], np.ndarray], adata: "anndata.AnnData"
) -> tuple[str, str, float]:
    """Cell, gene and value of the first offending entry."""
    for start, block in matrix.blocks():
        # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
        rows = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
        found = np.flatnonzero(wrong(block.data) & (code_n[start + rows] >= 0))
        if found.size:
            at = found[0]
            return (
                str(adata.obs_names[start + rows[at]]),
                str(adata.var_names[block.indices[at]]),
                float(block.data[at]),
            )
    raise AssertionError("no offending entry")
