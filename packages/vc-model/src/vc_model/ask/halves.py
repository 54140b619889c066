"""A screen seen twice: random halves of the cells of every group, each a screen of its own, read from the same file.

What a model says of conditions it was trained on can only be judged on cells that it has not seen. So half of the cells
is put aside before anything is fitted.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vc_model.contracts.screen import Screen

if TYPE_CHECKING:
    import scipy.sparse as sp


@dataclass(frozen=True)
class SomeCells(Screen):
    """Some cells of a screen; groups stay contiguous and counts stay where they are.

    Attributes:
        source: The whole screen.
        row_n: [n] rows of the source, rising.
    """

    source: Screen
    row_n: np.ndarray

    def rows(self, start: int, stop: int) -> "sp.csr_matrix":
        """Raw counts of the cells `start:stop`, [stop - start, g] CSR float32."""
        own_n = self.row_n[start:stop]
        if len(own_n) == 0:
            return self.source.rows(0, 0)
        first = int(own_n[0])
        counts: Any = self.source.rows(first, int(own_n[-1]) + 1)
        return counts[own_n - first]


def some_cells(screen: Screen, keep_n: np.ndarray) -> SomeCells:
    """The cells of a mask.

    Args:
        screen: An open screen-v1.
        keep_n: [n] bool.
    """
    row_n = np.flatnonzero(keep_n)
    groups = screen.groups.copy()
    before_n = np.concatenate([[0], np.cumsum(keep_n)])
    for side in ("start", "stop"):
        groups[side] = before_n[groups[side].to_numpy()]
    groups = groups[groups["stop"] > groups["start"]].reset_index(drop=True)
    indptr_n = np.concatenate([[0], np.cumsum(np.diff(screen.indptr_n)[row_n])])
    obs = screen.obs.iloc[row_n]
    return SomeCells(screen.path, screen.header, obs, screen.var, groups, indptr_n, screen, row_n,
                     target_genes=screen.target_genes)  # fmt: skip


def halves(screen: Screen, seed: int = 0) -> tuple[SomeCells, SomeCells]:
    """Two random halves of the cells of every (cell line, perturbation, batch); an odd cell goes to either.

    Args:
        screen: An open screen-v1.
        seed: Deals the cells.
    """
    rng = np.random.default_rng([seed, 7])
    first_n = np.zeros(len(screen.obs), dtype=bool)
    for start, stop in zip(screen.groups["start"].tolist(), screen.groups["stop"].tolist(), strict=True):
        order = rng.permutation(np.arange(start, stop))
        first_n[order[: (len(order) + rng.integers(2)) // 2]] = True
    return some_cells(screen, first_n), some_cells(screen, ~first_n)
