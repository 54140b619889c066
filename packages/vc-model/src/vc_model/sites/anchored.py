"""What `anchored` knows of a condition: its predicted effect in the main components of all of them, and its kernels.

| site | activations | decodes by |
|---|---|---|
| `effect/components` | coordinates of the predicted effect in the main components of the training predictions | the components |
| `gp/kernel` | prior covariances of the condition with every training condition (Gaussian process) | training effects solved for |

Both decode linearly, so the gradient is exact. What is left out of the components is added back when a row is decoded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np

from vc_model.anchored.gp import GaussianProcess
from vc_model.anchored.kernels import make_rows, weighted_sum
from vc_model.anchored.model import FittedAnchored
from vc_model.errors import TableError
from vc_model.predictor import Prediction
from vc_model.sites.site import Block, OfModel
from vc_model.table.components import top_eigen
from vc_model.table.effects import Conditions

ANCHORED_SITES = ("effect/components", "gp/kernel")
MOST_COMPONENTS = 64
ROWS_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class ConditionSite(OfModel[FittedAnchored]):
    """One of `ANCHORED_SITES`, a row for each condition.

    Attributes:
        fitted: The model.
        conditions: The conditions.
        name: The site.
    """

    fitted: FittedAnchored
    conditions: Conditions
    name: str
    kind: str = "condition"

    @property
    def width(self) -> int:
        """Components, or training conditions."""
        return self.basis_dg.shape[0]

    @property
    def gp(self) -> GaussianProcess:
        """The model's Gaussian process."""
        return self.fitted.gp

    @cached_property
    def basis_dg(self) -> np.ndarray:
        """[d, g] what an activation of 1 adds to expression."""
        if self.name == "gp/kernel":
            return self.gp.basis_pg
        delta_qg = self.delta_qg.astype(np.float64)
        value_k, vector_qk = top_eigen(delta_qg @ delta_qg.T, MOST_COMPONENTS)
        if not len(value_k):
            raise TableError(f"{self.model}: effect/components: expected effects that are not all zero, found none.")
        return ((vector_qk / np.sqrt(value_k)).T @ delta_qg).astype(np.float32)

    @cached_property
    def said(self) -> Prediction:
        """What the model predicts."""
        return self.fitted.predict(self.conditions)

    @property
    def delta_qg(self) -> np.ndarray:
        """[q, g] predicted effects."""
        return self.said.delta_pg

    def blocks(self) -> Iterator[Block]:
        """At most 512 conditions a block."""
        for start in range(0, len(self.conditions), ROWS_AT_ONCE):
            some = self.conditions.subset(slice(start, start + ROWS_AT_ONCE))
            lines = tuple(str(line) for line in some.cell_line)
            yield Block(self._values(some, start), some.labels, lines, some.perturbation)

    def decode(self, values_nd: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """[n, g] unperturbed profile plus the effect; what the site does not hold stays as it is."""
        own_nd = np.concatenate([block.values_nd for block in self.blocks()])[rows]
        return self.said.base_pg[rows] + self.delta_qg[rows] + (values_nd - own_nd) @ self.basis_dg

    def gradient(self) -> np.ndarray:
        """[g, d], exact."""
        return np.ascontiguousarray(self.basis_dg.T)

    def _values(self, conditions: Conditions, start: int) -> np.ndarray:
        if self.name == "effect/components":
            return self.delta_qg[start : start + len(conditions)] @ self.basis_dg.T
        weights = dict(zip(self.gp.kernels, self.gp.weight_k.tolist(), strict=True))
        made = weighted_sum(make_rows(conditions, self.gp.features), self.gp.rows, self.gp.width_b, weights)
        return cast("np.ndarray", made).astype(np.float32)
