"""Point predictions that are linear in measured effects.

Every baseline is one: it gives a coefficient per row of a basis: of the training effects, of their main components or of
their means. Bases are shared, so a stack of many baselines costs few products and a checkpoint stores each basis once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, overload

import numpy as np
import scipy.sparse as sp

from vc_model.table.effects import Conditions, EffectTable

SPARSE = 0.02  # share of entries below which a product skips the empty ones


@dataclass(frozen=True, eq=False)
class Effect(ABC):
    """A fitted point prediction, delta = sum of weights @ basis over its parts.

    Subclasses are dataclasses of arrays, plain values and other effects, so that checkpoints can hold any of them.
    """

    @abstractmethod
    def parts(self, conditions: Conditions) -> "Parts":
        """Weights [q, r] and basis [r, g] of each part; the basis is an array the effect holds, never a copy."""

    def delta(self, conditions: Conditions) -> np.ndarray:
        """[q, g] float32 predicted effects; zero for actions without targets."""
        return combine([(1.0, self.parts(conditions))], conditions)


@dataclass(frozen=True, eq=False)
class BasisEffect(Effect):
    """An effect with one basis.

    Attributes:
        basis_rg: [r, g] float32.
    """

    basis_rg: np.ndarray

    @abstractmethod
    def weigh(self, conditions: Conditions) -> "Weights":
        """[q, r] weights of the basis rows."""

    def parts(self, conditions: Conditions) -> "Parts":
        """The one part."""
        return [(self.weigh(conditions), self.basis_rg)]


Weights = np.ndarray | sp.csr_array  # [q, r]; sparse where a condition uses few rows of a basis
Parts = list[tuple[Weights, np.ndarray]]


def combine(terms: Sequence[tuple[float | np.ndarray, Parts]], conditions: Conditions) -> np.ndarray:
    """Sum of effects, each with a factor per condition; weights of a basis that several share are added first.

    Args:
        terms: (factor or [q] factors, parts) of each effect.
        conditions: The q conditions.

    Returns:
        [q, g] float32; zero for actions without targets.
    """
    gathered = gather(terms, conditions)
    few, many = [], []
    for weight_qr, basis_rg in gathered:
        # Weights of measured effects have few entries per row.
        filled = np.count_nonzero(weight_qr) if isinstance(weight_qr, np.ndarray) else weight_qr.count_nonzero()
        n_q, n_r = _shape(weight_qr)
        if filled >= SPARSE * n_q * n_r > 0:
            use_r = np.asarray(abs(weight_qr).sum(axis=0)).ravel() > 0
            many.append((_columns(weight_qr, use_r), basis_rg[use_r]))
        elif filled:
            few.append(sp.csr_array(weight_qr) @ basis_rg)
    result_qg = None
    if many:
        # One product writes the result once.
        weights, bases = zip(*many, strict=True)
        result_qg = np.concatenate(weights, axis=1) @ np.concatenate(bases)
    for block_qg in few:
        result_qg = block_qg if result_qg is None else np.add(result_qg, block_qg, out=result_qg)
    if result_qg is None:
        return np.zeros((len(conditions), gathered[0][1].shape[1]), dtype=np.float32)
    return result_qg


def gather(terms: Sequence[tuple[float | np.ndarray, Parts]], conditions: Conditions) -> Parts:
    """Scaled float32 weights, one part per basis; zero for actions without targets."""
    total: dict[int, tuple[Weights, np.ndarray]] = {}
    acts_q = conditions.sizes > 0
    for factor, parts in terms:
        factor_q = np.where(acts_q, factor, 0).astype(np.float32)
        for weight_qr, basis_rg in parts:
            scaled_qr = scale_rows(weight_qr, factor_q)
            known = total.get(id(basis_rg))
            total[id(basis_rg)] = (scaled_qr if known is None else known[0] + scaled_qr, basis_rg)
    return list(total.values())


def scale_rows(weight_qr: Weights, factor_q: np.ndarray) -> Weights:
    """Weights times a factor per condition, float32."""
    if isinstance(weight_qr, np.ndarray):
        return factor_q[:, None] * weight_qr.astype(np.float32, copy=False)
    data_n = cast("np.ndarray", weight_qr.data)
    factor_n = np.repeat(factor_q.astype(np.float32, copy=False), np.diff(weight_qr.indptr))
    parts = (data_n.astype(np.float32, copy=False) * factor_n, weight_qr.indices, weight_qr.indptr)
    return sp.csr_array(parts, shape=_shape(weight_qr))


def _shape(weight_qr: Weights) -> tuple[int, int]:
    return cast("tuple[int, int]", weight_qr.shape)


def _columns(weight_qr: Weights, use_r: np.ndarray) -> np.ndarray:
    """The masked columns, dense."""
    used: Any = weight_qr[:, use_r]
    return used if isinstance(used, np.ndarray) else used.toarray()


@overload
def sum_by_owner(weight_rk: np.ndarray, owner_r: np.ndarray, n_owners: int) -> np.ndarray: ...
@overload
def sum_by_owner(weight_rk: Weights, owner_r: np.ndarray, n_owners: int) -> Weights: ...


def sum_by_owner(weight_rk: Weights, owner_r: np.ndarray, n_owners: int) -> Weights:
    """Add the rows of each owner, [n_owners, k]; how combinations are made of single effects."""
    if len(owner_r) == n_owners and np.array_equal(owner_r, np.arange(n_owners)):
        return weight_rk
    if isinstance(weight_rk, np.ndarray):
        total_qk = np.zeros((n_owners, weight_rk.shape[1]), dtype=weight_rk.dtype)
        np.add.at(total_qk, owner_r, weight_rk)
        return total_qk
    ones = np.ones(len(owner_r), dtype=weight_rk.dtype)
    return sp.csr_array((ones, (owner_r, np.arange(len(owner_r)))), shape=(n_owners, len(owner_r))) @ weight_rk


def sum_of_components(weigh: Callable[[Conditions], np.ndarray], conditions: Conditions) -> np.ndarray:
    """[q, r] sum over each condition's targets of the weights of the single perturbations."""
    owner_r, singles = conditions.components()
    return sum_by_owner(weigh(singles), owner_r, len(conditions))


def line_rows(lines: tuple[str, ...], conditions: Conditions) -> np.ndarray:
    """[q] position of each condition's line in `lines`, or len(lines) for any other line."""
    order = {name: row for row, name in enumerate(lines)}
    return np.array([order.get(line, len(lines)) for line in conditions.cell_line.tolist()], dtype=np.int64)


def line_weights(table: EffectTable, rows_p: np.ndarray, weighting: Literal["conditions", "cells"]) -> np.ndarray:
    """[l + 1, p] float32 weights that average the masked rows of each line; the last row averages the lines' means."""
    raw_p = np.where(rows_p, table.n_cells_p if weighting == "cells" else 1.0, 0.0)
    weight_lp = (table.line_p == np.arange(len(table.trained_lines))[:, None]) * raw_p
    total_l = weight_lp.sum(axis=1, keepdims=True)
    weight_lp = np.divide(weight_lp, total_l, out=np.zeros_like(weight_lp), where=total_l > 0)
    filled = max(1, int((total_l > 0).sum()))
    # A line without such rows has the average of the others.
    weight_lp = np.where(total_l > 0, weight_lp, weight_lp.sum(axis=0) / filled)
    return np.vstack([weight_lp, weight_lp.mean(axis=0)]).astype(np.float32)
