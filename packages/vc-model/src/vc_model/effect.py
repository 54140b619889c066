"""Point predictions that are linear in measured effects.

Every baseline is one: it gives a coefficient per row of a basis, mostly of the training effects themselves. So a stack
of many of them costs one matrix product, and a checkpoint stores the shared basis once.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from vc_model.table import Conditions


class Effect(ABC):
    """A fitted point prediction, delta = sum of weights @ basis over its parts.

    Subclasses are dataclasses of arrays, plain values and other effects, so that checkpoints can hold any of them.
    """

    @abstractmethod
    def parts(self, conditions: Conditions) -> list[tuple[np.ndarray, np.ndarray]]:
        """Weights [q, r] and basis [r, g] of each part; the basis is an array the effect holds, never a copy."""

    def delta(self, conditions: Conditions) -> np.ndarray:
        """[q, g] float32 predicted effects; zero for actions without targets."""
        return combine([(1.0, self.parts(conditions))], conditions)


class BasisEffect(Effect):
    """An effect with one basis."""

    basis_rg: np.ndarray

    @abstractmethod
    def weigh(self, conditions: Conditions) -> np.ndarray:
        """[q, r] weights of the basis rows."""

    def parts(self, conditions: Conditions) -> list[tuple[np.ndarray, np.ndarray]]:
        """The one part."""
        return [(self.weigh(conditions), self.basis_rg)]


def combine(
    terms: Sequence[tuple[float | np.ndarray, list[tuple[np.ndarray, np.ndarray]]]], conditions: Conditions
) -> np.ndarray:
    """Sum of effects, each with a factor per condition; weights of a basis that several share are added first.

    Args:
        terms: (factor or [q] factors, parts) of each effect.
        conditions: The q conditions.

    Returns:
        [q, g] float32; zero for actions without targets.
    """
    total: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    acts_q = conditions.sizes > 0
    for factor, parts in terms:
        factor_q1 = np.where(acts_q, factor, 0).astype(np.float32)[:, None]
        for weight_qr, basis_rg in parts:
            scaled_qr = factor_q1 * weight_qr.astype(np.float32)
            known = total.get(id(basis_rg))
            total[id(basis_rg)] = (scaled_qr if known is None else known[0] + scaled_qr, basis_rg)
    blocks = [weight_qr @ basis_rg for weight_qr, basis_rg in total.values()]
    return blocks[0] if len(blocks) == 1 else np.sum(blocks, axis=0)


def sum_by_owner(weight_rk: np.ndarray, owner_r: np.ndarray, n_owners: int) -> np.ndarray:
    """Add the rows of each owner, [n_owners, k]; how combinations are made of single effects."""
    if len(owner_r) == n_owners and np.array_equal(owner_r, np.arange(n_owners)):
        return weight_rk
    total_qk = np.zeros((n_owners, weight_rk.shape[1]), dtype=weight_rk.dtype)
    np.add.at(total_qk, owner_r, weight_rk)
    return total_qk
