"""Cells from means: what a predicted profile looks like as single cells, with counts.

Control cells of the line are drawn again. Their counts are taken for gamma-Poisson draws: each gene has a mean share of
the depth and a dispersion. Scaling a gene by f < 1 thins its counts binomially; scaling by f > 1 adds Poisson counts at
(f - 1) times the cell's own rate, drawn from what its count says about it. Either way the new counts are gamma-Poisson
draws of f times the mean with the same dispersion, so zeros, depth and the dependence of variance on mean are those of
real cells. f is sought such that the mean of log1p CP10k is the prediction; last, single counts are added or removed.
The loops over cells and genes are in `vc_model.emit.drawn` and `vc_model.emit.kernels`.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from vc_model.errors import TableError
from vc_model.table.pseudobulk import TARGET_SUM, ControlCells

if TYPE_CHECKING:
    from vc_model.emit.drawn import Drawn

PRIOR_SIZE = 10.0  # sum of squared expected counts that the common dispersion is worth against a gene's own
LEAST_DISPERSION, MOST_DISPERSION = 1e-3, 20.0
MOST_FACTOR = 1e4
ROUNDS = 6  # of the search for the factors
PASSES = 3  # of single counts


@dataclass(frozen=True, eq=False)
class CellSource:
    """Control cells of one line, as counts.

    Attributes:
        count_ng: [n, g] int32.
        total_n: [n] float64, total counts of each cell, genes outside the table included.
        share_g: [g] mean share of the depth, > 0.
        dispersion_g: [g] variance of a gene's rate between cells, relative to the squared mean.
    """

    count_ng: np.ndarray
    total_n: np.ndarray
    share_g: np.ndarray
    dispersion_g: np.ndarray

    @cached_property
    def count_gn(self) -> np.ndarray:
        """[g, n] int32, the same counts with a gene's side by side."""
        return np.ascontiguousarray(self.count_ng.T)

    @cached_property
    def mean_g(self) -> np.ndarray:
        """[g] float64, mean log1p CP10k of these cells, from which an effect's amplitude is counted."""
        sum_g, n = np.zeros(self.count_ng.shape[1]), len(self.count_ng)
        for start in range(0, n, 256):  # all cells at once in float64 would be the largest array of all
            sum_g += _log(self.count_ng[start : start + 256], self.total_n[start : start + 256]).sum(axis=0)
        return sum_g / n


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """What a challenge's score can depend on beyond the predicted means; the defaults change nothing."""

    amplitude: float = 1.0
    """The effect is multiplied by this; 0 gives control cells, 1 what was predicted."""
    dispersion: float = 1.0
    """Variance of a gene's rate between cells, relative to the controls'; 0 leaves counting noise alone."""

    def __post_init__(self) -> None:
        """Refuse negative numbers.

        Raises:
            TableError: If one is negative or not finite.
        """
        for name in ("amplitude", "dispersion"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise TableError(f"{name}: expected a finite number of 0 or more, found {value}.")


PLAIN = Knobs()


def make_source(count_ng: np.ndarray, total_n: np.ndarray) -> CellSource:
    """Estimate shares and dispersions by moments, the dispersion shrunk to its mean over genes.

    Args:
        count_ng: [n, g] counts of control cells.
        total_n: [n] their total counts.

    Raises:
        TableError: If there is no cell, a negative or fractional count, or a total below the sum of counts.
    """
    count_ng, total_n = np.asarray(count_ng), np.asarray(total_n, dtype=np.float64)
    if len(count_ng) == 0 or (count_ng < 0).any() or (count_ng != np.rint(count_ng)).any():
        raise TableError("Control cells: expected at least one cell with counts that are whole and >= 0.")
    if (total_n < count_ng.sum(axis=1)).any() or (total_n <= 0).any():
        raise TableError("Control cells: expected totals > 0 that are no less than the sum of a cell's counts.")
    share_g = np.maximum(count_ng.sum(axis=0), 0.5) / total_n.sum()
    expected_ng = total_n[:, None] * share_g
    excess_g = ((count_ng - expected_ng) ** 2 - expected_ng).sum(axis=0)
    size_g = (expected_ng**2).sum(axis=0)
    common = np.clip(np.maximum(excess_g, 0).sum() / size_g.sum(), LEAST_DISPERSION, MOST_DISPERSION)
    dispersion_g = (excess_g + PRIOR_SIZE * common) / (size_g + PRIOR_SIZE)
    return CellSource(
        count_ng.astype(np.int32), total_n, share_g, np.clip(dispersion_g, LEAST_DISPERSION, MOST_DISPERSION)
    )


def source_of(cells: ControlCells, line: str) -> CellSource:
    """The control cells of one line, their counts found again from log1p CP10k and totals."""
    x_ng, log_total_n = cells.of(line)
    total_n = np.expm1(log_total_n.astype(np.float64))
    return make_source(np.rint(np.expm1(x_ng.astype(np.float64)) * total_n[:, None] / TARGET_SUM), np.rint(total_n))


def draw_cells(
    source: CellSource, profile_g: np.ndarray, n_cells: int, rng: np.random.Generator, knobs: Knobs = PLAIN
) -> tuple[np.ndarray, np.ndarray]:
    """Cells whose mean log1p CP10k is a profile; no two are equal as long as chance allows.

    Args:
        source: Control cells of the line.
        profile_g: [g] mean of log1p CP10k >= 0.
        n_cells: How many cells.
        rng: Draws everything.
        knobs: Amplitude of the effect and dispersion of the cells.

    Returns:
        count_mg: [m, g] int32 >= 0.
        total_m: [m] float64, the new totals.
    """
    goal_g = np.asarray(profile_g, dtype=np.float64)
    if knobs.amplitude != 1:
        goal_g = source.mean_g + knobs.amplitude * (goal_g - source.mean_g)
    goal_g = np.maximum(goal_g, 0)
    base = _draw_controls(source, n_cells, rng, knobs.dispersion)
    seed = _seed(rng)
    factor_g, new_gm = np.ones(len(goal_g)), base.count_gm
    for _ in range(ROUNDS):
        # The same seed every time, so that rounds differ by the factors and hardly by chance.
        new_gm = base.scaled(factor_g, seed)
        step_g = (np.expm1(goal_g) + 1e-3) / (np.expm1(base.log_means(new_gm)) + 1e-3)
        factor_g = np.minimum(np.where(goal_g > 0, factor_g * step_g, 0), MOST_FACTOR)
    new_gm = base.scaled(factor_g, seed)
    for _ in range(PASSES):
        again = repeated_rows(new_gm.T)
        if len(again):
            other = base.only(again).redrawn(1.0, _seed(rng))
            new_gm[:, again] = other.scaled(factor_g, _seed(rng))
        base.mend(new_gm, goal_g, _seed(rng))
    return new_gm.T, base.new_total(new_gm)


def _seed(rng: np.random.Generator) -> np.uint64:
    return np.uint64(rng.integers(2**63))


def _draw_controls(source: CellSource, n_cells: int, rng: np.random.Generator, dispersion: float) -> "Drawn":
    """Control cells, used again only where there are too few, and then counted anew; all of them at another dispersion."""
    from vc_model.emit.drawn import Drawn  # numba, which only those who draw cells need

    n = len(source.count_ng)
    row_m = np.concatenate([rng.permutation(n) for _ in range(-(-n_cells // n))])[:n_cells]
    drawn = Drawn(source.count_gn[:, row_m], source.total_n[row_m], 1 / source.dispersion_g, source.share_g)
    if dispersion != 1:
        return drawn.redrawn(dispersion, _seed(rng))
    if n_cells > n:
        other = drawn.only(np.arange(n, n_cells)).redrawn(1.0, _seed(rng))
        drawn.count_gm[:, n:], drawn.total_m[n:] = other.count_gm, other.total_m
    return drawn


def repeated_rows(count_mg: np.ndarray) -> np.ndarray:
    """Rows that equal an earlier one."""
    seen: set[bytes] = set()
    again = []
    for row, counts in enumerate(count_mg):
        content = hashlib.blake2b(np.ascontiguousarray(counts), digest_size=16).digest()
        if content in seen:
            again.append(row)
        seen.add(content)
    return np.array(again, dtype=int)


def _log(count_mg: np.ndarray, total_m: np.ndarray) -> np.ndarray:
    return np.log1p(count_mg * (TARGET_SUM / total_m)[:, None])
