"""The cells that a condition's cells are made from, one gene after the other in memory, and what can be done with them."""

from dataclasses import dataclass, replace

import numpy as np

from vc_model.emit.kernels import log_means, mend_genes, redraw_genes, run_blocks, scale_genes
from vc_model.table.pseudobulk import TARGET_SUM


@dataclass(frozen=True, eq=False)
class Drawn:
    """Control cells that a condition's cells are made from, one gene after the other in memory.

    Attributes:
        count_gm: [g, m] int32.
        total_m: [m] float64.
        shape_g: [g] 1 / dispersion of the rates.
        share_g: [g] mean share of the depth.
    """

    count_gm: np.ndarray
    total_m: np.ndarray
    shape_g: np.ndarray
    share_g: np.ndarray

    def only(self, row_m: np.ndarray) -> "Drawn":
        """Some of the cells."""
        return replace(self, count_gm=np.ascontiguousarray(self.count_gm[:, row_m]), total_m=self.total_m[row_m])

    def redrawn(self, dispersion: float, seed: np.uint64) -> "Drawn":
        """The same cells counted anew at their own rates."""
        new_gm = np.empty_like(self.count_gm)
        mine = (self.count_gm, self.total_m, self.shape_g, self.share_g)
        run_blocks(lambda start, stop: redraw_genes(*mine, float(dispersion), seed, start, stop, new_gm), len(new_gm))
        shape_g = np.minimum(self.shape_g / max(dispersion, 1e-8), 1e8) if dispersion != 1 else self.shape_g
        return replace(self, count_gm=new_gm, total_m=self.new_total(new_gm), shape_g=shape_g)

    def scaled(self, factor_g: np.ndarray, seed: np.uint64) -> np.ndarray:
        """[g, m] counts of factor times the mean."""
        new_gm = np.empty_like(self.count_gm)
        mine = (self.count_gm, self.total_m, self.shape_g, self.share_g)
        run_blocks(lambda start, stop: scale_genes(*mine, factor_g, seed, start, stop, new_gm), len(new_gm))
        return new_gm

    def new_total(self, new_gm: np.ndarray) -> np.ndarray:
        """[m] totals after the counts of these genes became others."""
        return np.maximum(self.total_m + (new_gm - self.count_gm).sum(axis=0), 1)

    def log_means(self, new_gm: np.ndarray) -> np.ndarray:
        """[g] mean log1p CP10k."""
        mean_g, per_count_m = np.empty(len(new_gm)), TARGET_SUM / self.new_total(new_gm)
        run_blocks(lambda start, stop: log_means(new_gm, per_count_m, start, stop, mean_g), len(new_gm))
        return mean_g

    def mend(self, new_gm: np.ndarray, goal_g: np.ndarray, seed: np.uint64) -> None:
        """Single counts, in place, towards the goal."""
        per_count_m = TARGET_SUM / self.new_total(new_gm)
        mine = (self.count_gm, self.total_m, self.shape_g, self.share_g)
        run_blocks(lambda start, stop: mend_genes(new_gm, per_count_m, *mine, goal_g, seed, start, stop), len(new_gm))
