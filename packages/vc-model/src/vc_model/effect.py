"""Point predictions that are linear in measured effects.

Every baseline is one: it gives a coefficient per row of a basis, mostly of the training effects themselves. So a stack
of many of them costs one matrix product, and a checkpoint stores the shared basis once.
"""

from abc import ABC, abstractmethod

import numpy as np

from vc_model.table import Conditions


class Effect(ABC):
    """A fitted point prediction that is linear in a basis of effects: delta = weigh(conditions) @ basis_rg.

    Subclasses are dataclasses of arrays and plain values, so that checkpoints can hold any of them.
    """

    basis_rg: np.ndarray

    @abstractmethod
    def weigh(self, conditions: Conditions) -> np.ndarray:
        """[q, r] coefficients of the basis rows."""

    def delta(self, conditions: Conditions) -> np.ndarray:
        """[q, g] float32 predicted effects; zero for actions without targets."""
        weight_qr = self.weigh(conditions)
        weight_qr = np.where((conditions.sizes > 0)[:, None], weight_qr, 0)
        return weight_qr.astype(np.float32) @ self.basis_rg


def sum_by_owner(weight_rk: np.ndarray, owner_r: np.ndarray, n_owners: int) -> np.ndarray:
    """Add the rows of each owner, [n_owners, k]; how combinations are made of single effects."""
    if len(owner_r) == n_owners and np.array_equal(owner_r, np.arange(n_owners)):
        return weight_rk
    total_qk = np.zeros((n_owners, weight_rk.shape[1]), dtype=weight_rk.dtype)
    np.add.at(total_qk, owner_r, weight_rk)
    return total_qk
