"""The noise of measuring genes that control cells hardly tell.

The variance over cells of a gene is taken from control cells. Of a gene that two of a hundred controls show it is badly
known, and where none shows it, it is 0, although a perturbed cell may. Such counts are rare and about Poisson, so that the
variance over cells is the mean times what one count is worth (in log1p CP10k, the same for all rare genes of a line). The mean is
known from all cells, perturbed ones included.

Of a handful of controls no gene is rare, and two cells may agree, or both miss a gene that every perturbed cell shows. A variance
from n cells is therefore at least what genes of that mean have, in the share k / (n + k) that a prior of k cells keeps.
"""

import numpy as np

from vc_model.table.effects import EffectTable

RARE = 0.1  # of the control cells show a gene, at most, for its counts to be rare
MIN_GENES = 10  # rare genes that controls do show, to tell what a count is worth
PRIOR_CELLS = 10  # that the variance of genes of the same mean counts as, as a line's variance borrows from all lines
ALIKE = 20  # genes of about the same mean, whose variances are taken together


def cell_floor(table: EffectTable) -> np.ndarray:
    """[g] float32, least variance of log1p CP10k over cells that a gene has; 0 where there are no profiles."""
    contexts = table.contexts
    if not contexts.has_profiles:
        return np.zeros(len(table.genes), dtype=np.float32)
    line_c = contexts.positions(table.trained_lines)
    detected_g, sigma2_g, base_g = (
        x[line_c].mean(axis=0) for x in (contexts.detected_cg, contexts.sigma2_cg, contexts.base_cg)
    )
    mean_pg = np.maximum(contexts.base_cg[contexts.positions(table.conditions.cell_line)] + table.delta_pg, 0)
    mean_g = np.average(mean_pg, axis=0, weights=table.n_cells_p)
    share = PRIOR_CELLS / (PRIOR_CELLS + float(np.median(table.n_controls_p)))
    floor_g = share * _usual_variance(mean_g, sigma2_g, (detected_g > 0) & (mean_g > 0))
    rare_g = detected_g < RARE
    told_g = rare_g & (detected_g > 0) & (base_g > 0)
    if told_g.sum() >= MIN_GENES:
        worth = float(sigma2_g[told_g].sum() / base_g[told_g].sum())
        floor_g[rare_g] = worth * mean_g[rare_g]
    return floor_g.astype(np.float32)


def _usual_variance(mean_g: np.ndarray, sigma2_g: np.ndarray, told_g: np.ndarray) -> np.ndarray:
    """[g] float64, the mean times the ratio of variance to mean that genes of about this mean have, of those that are told."""
    told = np.flatnonzero(told_g)
    if not len(told):
        return np.zeros(len(mean_g))
    groups = np.array_split(told[np.argsort(mean_g[told], kind="stable")], max(1, len(told) // ALIKE))
    ratios = [sigma2_g[alike].sum() / mean_g[alike].sum() for alike in groups]
    return mean_g * np.interp(mean_g, [mean_g[alike].mean() for alike in groups], ratios)


def measured_noise(table: EffectTable, least_g: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
    """[rows, g] float32 variance of measurement of `table.check_pg`, with at least these variances over cells."""
    share_p = 1 / table.n_cells_p[rows] + 1 / table.n_check_p[rows]
    return _cell_variance(table, least_g, rows) * share_p[:, None].astype(np.float32)


def control_noise(table: EffectTable, least_g: np.ndarray, rows: np.ndarray, n_controls_p: np.ndarray) -> np.ndarray:
    """[rows, g] float32 variance that so many controls add, the same error in all rows of a line.

    Args:
        table: Measured effects.
        least_g: [g] from `cell_floor`.
        rows: Its rows.
        n_controls_p: [p] effective number of controls behind every row.
    """
    return _cell_variance(table, least_g, rows) * (1 / n_controls_p[rows])[:, None].astype(np.float32)


def carried_noise(table: EffectTable, least_g: np.ndarray, *, half: bool) -> np.ndarray:
    """[2, g] float32, what predictions carry of the noise of the controls that training effects were measured against.

    A prediction is made of training effects, and what is wrong with all of them is wrong with it in proportion. The rows are
    the share of this noise in the mean squared effect of a gene, and its variance, which is the most that can be carried.

    Args:
        table: Training effects.
        least_g: [g] from `cell_floor`.
        half: Whether of effects against `reference` controls alone, as out of fold, or against all.
    """
    effect_pg, n_p = (table.half_pg, table.n_half_p) if half else (table.delta_pg, table.n_controls_p)
    every = np.arange(len(table))
    control_g = control_noise(table, least_g, every, n_p).mean(axis=0)
    beyond_g = (effect_pg**2).mean(axis=0) - control_noise(table, least_g, every, table.n_cells_p).mean(axis=0)
    share_g = np.divide(control_g, beyond_g, out=np.ones_like(control_g), where=beyond_g > control_g)
    return np.stack([np.where(control_g > 0, share_g, 0), control_g]).astype(np.float32)


def _cell_variance(table: EffectTable, least_g: np.ndarray, rows: np.ndarray | slice) -> np.ndarray:
    contexts = table.contexts
    sigma2_pg = contexts.sigma2_cg[contexts.positions(table.conditions.cell_line[rows])]
    return np.maximum(sigma2_pg, least_g) if len(least_g) else sigma2_pg
