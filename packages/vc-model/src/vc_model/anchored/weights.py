"""How much each loss of the residual counts, and how much each gene: what needs no JAX.

The DE weights of a condition (Mejia et al., arXiv 2506.22641) say which genes it moves unlike other perturbations do.
They are made from training conditions alone.
"""

from dataclasses import dataclass

import numpy as np

from vc_model.table.effects import EffectTable


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """How much each loss counts; 0 leaves it out."""

    mse: float = 1.0
    """Squared error of pseudobulks; conditions weigh as their number of cells allows."""
    wmse: float = 0.0
    """Squared error in which genes weigh as they are differentially expressed. Costs conditions x genes a step."""
    cosine: float = 0.0
    """One minus the cosine of predicted and measured effect."""
    contrastive: float = 0.0
    """How badly a prediction picks its own condition out of all conditions of the same cell line."""
    temperature: float = 0.1
    """Of the contrastive loss, relative to the mean squared length of effects."""


def de_weights(table: EffectTable) -> np.ndarray:
    """Weights of genes per condition: t against all other conditions of the line, squared after scaling to [0, 1].

    t is the difference from the mean of the others over its standard error; a condition alone in its line is compared
    with no change. Weights of a condition sum to 1; they are equal where all |t| are.

    Args:
        table: Training effects; nothing else enters.

    Returns:
        [p, g] float32 >= 0.
    """
    weight_pg = np.empty_like(table.delta_pg)
    sigma2_lg = table.contexts.sigma2_cg[table.contexts.positions(table.trained_lines)]
    for line in range(len(table.trained_lines)):
        rows = np.flatnonzero(table.line_p == line)
        n_others = len(rows) - 1
        own_pg, cells_p = table.delta_pg[rows], 1 / table.n_cells_p[rows]
        if n_others == 0:
            other_pg, noise_p = np.zeros_like(own_pg), cells_p + 1 / table.n_controls_p[rows]
        else:
            other_pg = (own_pg.sum(axis=0) - own_pg) / n_others
            # Conditions of a line share the noise of its controls, which the difference is free of.
            noise_p = cells_p + (cells_p.sum() - cells_p) / n_others**2
        size_pg = np.abs(own_pg - other_pg) / np.sqrt(sigma2_lg[line] * noise_p[:, None])
        low_p1, high_p1 = size_pg.min(axis=1, keepdims=True), size_pg.max(axis=1, keepdims=True)
        flat_p1 = high_p1 - low_p1 < 1e-12
        scaled_pg = np.where(flat_p1, 1, (size_pg - low_p1) / np.where(flat_p1, 1, high_p1 - low_p1)) ** 2
        weight_pg[rows] = scaled_pg / scaled_pg.sum(axis=1, keepdims=True)
    return weight_pg
