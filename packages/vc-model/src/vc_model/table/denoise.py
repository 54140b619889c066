"""Measured effects with their noise taken out: empirical Bayes, gene by gene.

All effects of a line are measured against the same few controls, so the controls' sampling error is in every one of
them. The line's mean effect is the sum of a true mean and that error, whose size is known; its posterior mean moves the
reference to where perturbed and control cells together say it is. Then each effect's own deviation from the mean is
shrunk the same way. The prior of an effect is a mixture of normals around zero on the scale of its standard error
(adaptive shrinkage, Stephens, Biostatistics 2017), one mixture per effect vector, so that a vector of pure noise is
shrunk to nothing and a strong one is left alone.
"""

from dataclasses import dataclass

import numpy as np

from vc_model.table.effect import line_weights
from vc_model.table.effects import Contexts, EffectTable

SCALES = np.array([0.0, *np.geomspace(0.25, 32, 15)])  # prior standard deviations, in standard errors
LARGEST_Z = 40.0  # beyond it nothing is shrunk any more
BINS_PER_UNIT = 10  # resolution of |z|; the mixture is fitted on the histogram
STEPS = 60  # of expectation maximisation


@dataclass(frozen=True, eq=False)
class Denoised:
    """A table without (most of) its noise.

    Attributes:
        table: The table with posterior means for `delta_pg`.
        shift_cg: [c, g] float32, where the reference of each line of the contexts belongs, relative to `base_cg`;
            `base_cg + shift_cg + delta` is the expected profile.
    """

    table: EffectTable
    shift_cg: np.ndarray


def denoise(table: EffectTable) -> Denoised:
    """Posterior means of a table's effects, made once per table."""
    return table.once("denoised", lambda: _denoise(table))


def _denoise(table: EffectTable) -> Denoised:
    contexts, delta_pg = table.contexts, table.delta_pg
    mean_lp = line_weights(table, np.ones(len(table), dtype=bool), "conditions")[:-1]
    mean_lg = mean_lp @ delta_pg
    sigma2_lg = contexts.sigma2_cg[contexts.positions(table.trained_lines)]
    # One draw of controls is behind all effects of a line; cells are independent between its conditions.
    own_l = (mean_lp**2) @ (1 / table.n_cells_p)
    shared_l = mean_lp @ (1 / table.n_controls_p)
    kept_lg = shrink(mean_lg / np.sqrt(sigma2_lg * (own_l + shared_l)[:, None]))
    result_pg = np.empty_like(delta_pg)
    for line in range(len(table.trained_lines)):
        rows = np.flatnonzero(table.line_p == line)
        deviation_pg = delta_pg[rows] - mean_lg[line]
        if len(rows) > 1:
            # The mean took 1 / n of each row with it.
            left_p1 = ((1 - 2 / len(rows)) / table.n_cells_p[rows] + own_l[line])[:, None]
            deviation_pg = deviation_pg * shrink(deviation_pg / np.sqrt(sigma2_lg[line] * left_p1))
        result_pg[rows] = kept_lg[line] * mean_lg[line] + deviation_pg
    shift_cg = np.zeros_like(contexts.base_cg)
    shift_cg[contexts.positions(table.trained_lines)] += (1 - kept_lg) * mean_lg
    return Denoised(table.with_effects(result_pg.astype(np.float32)), shift_cg.astype(np.float32))


def shift_of(contexts: Contexts, fitted: Contexts, shift_cg: np.ndarray) -> np.ndarray:
    """[c, g] the reference shift of each line of `contexts`; zero for lines the model was not fitted with."""
    if contexts is fitted:
        return shift_cg
    at = {name: row for row, name in enumerate(fitted.cell_lines)}
    shift = np.zeros_like(contexts.base_cg)
    for row, name in enumerate(contexts.cell_lines):
        # Other control cells have other sampling errors; only the very same reference is known to be off.
        if name in at and np.array_equal(contexts.base_cg[row], fitted.base_cg[at[name]]):
            shift[row] = shift_cg[at[name]]
    return shift


def shrink(z_pg: np.ndarray) -> np.ndarray:
    """Posterior mean over estimate, per row's own prior.

    Args:
        z_pg: [p, g] estimates in standard errors.

    Returns:
        [p, g] float32 factors in [0, 1], increasing in |z| within a row.
    """
    n_bins = int(LARGEST_Z * BINS_PER_UNIT)
    size_pg = np.minimum(np.abs(z_pg), LARGEST_Z * (1 - 1e-6))
    centre_h = (np.arange(n_bins) + 0.5) / BINS_PER_UNIT
    total_k = 1 + SCALES**2
    like_hk = np.exp(-0.5 * centre_h[:, None] ** 2 / total_k) / np.sqrt(total_k)
    factor_k = SCALES**2 / total_k
    bin_pg = (size_pg * BINS_PER_UNIT).astype(np.int32)
    count_ph = np.stack([np.bincount(row, minlength=n_bins) for row in bin_pg]).astype(np.float64)
    prior_pk = np.full((len(z_pg), len(SCALES)), 1 / len(SCALES))
    for _ in range(STEPS):
        odds_ph = count_ph / np.maximum(prior_pk @ like_hk.T, 1e-300)
        prior_pk = prior_pk * (odds_ph @ like_hk)
        # One pseudo-observation of no effect: where the data cannot tell, there is none.
        prior_pk[:, 0] += 1
        prior_pk /= prior_pk.sum(axis=1, keepdims=True)
    kept_ph = (prior_pk * factor_k) @ like_hk.T / np.maximum(prior_pk @ like_hk.T, 1e-300)
    return np.take_along_axis(kept_ph.astype(np.float32), bin_pg, axis=1)
