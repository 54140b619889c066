"""Fit of a predicted profile or change in forms beside the headline ones, and as the BioJEPA suite computes them.

The suite's own forms carry `_biojepa` in their name. They work on absolute expression or on single cells paired with one
random control cell; both let the control do most of the work, so each stands beside a form on deltas (docs/metrics.md#profile-suite to
D4, D8).
"""

import numpy as np

from vc_eval.metrics import expression
from vc_eval.metrics.ranks import top_k
from vc_eval.metrics.registry import family

FLAT_BIOJEPA = 1e-9  # standard deviation below which the suite calls a list constant
DELTA, ABSOLUTE, CELLS = "log1p_cp10k delta", "log1p_cp10k", "log1p_cp10k, one control cell per case cell"


_metric = family(direction="higher", best=1.0, unit="share of variance", space=DELTA)

METRICS = (
    _metric("mse_cells_biojepa", "Squared error of change, cells", "Mean over cells and genes of (predicted - real)^2 of "
            "changes against one random control cell; mostly control noise.", "as no_change", "D1", direction="lower",
            best=0.0, unit="(log1p_cp10k)^2", space=CELLS, aggregate="derived"),
    _metric("mse_over_no_change", "Squared error over that of no change", "Sum of (predicted - real)^2 over sum of "
            "real^2 of the delta.", "1 for no change", "D1", direction="lower", best=0.0, unit="ratio",
            excludes_target=True, undefined="no real change"),
    _metric("pearson_top20", "Pearson of change, top 20 genes", "Pearson over the 20 genes with the largest real |delta|.",
            "not 0: compare with mean_effect", "D2", unit="correlation", excludes_target=True, correlation=True,
            undefined="constant"),
    _metric("pearson_top20_test", "Pearson of change, top 20 genes by test", "Pearson over the 20 genes with the "
            "smallest adjusted p value, then the largest |delta|.", "not 0: compare with mean_effect", "D2",
            unit="correlation", excludes_target=True, correlation=True, undefined="constant"),
    _metric("pearson_top20_biojepa", "Pearson of change, top 20 genes of each cell", "Mean over cells of the Pearson over "
            "the 20 genes with the largest real |delta| of that very cell; constant counts as 0.",
            "high: the genes are chosen by control noise", "D2", unit="correlation", space=CELLS, aggregate="derived"),
    _metric("r2_all_biojepa", "R2 of expression, all genes", "R2 over all genes of absolute mean expression.",
            "about 0.95 for the control itself", "D3", space=ABSOLUTE, undefined="constant truth"),
    _metric("r2_delta", "R2 of change", "1 - sum (predicted - real)^2 / sum (real - its mean)^2 over genes of the delta.",
            "0 or less", "D3", excludes_target=True, undefined="constant truth"),
    _metric("r2_delta_zero", "R2 of change against no change", "1 - sum (predicted - real)^2 / sum real^2 of the delta.",
            "0 for no change", "D3", excludes_target=True, undefined="no real change"),
    _metric("r2_top50_biojepa", "R2 of expression, top 50 genes", "R2 of absolute expression over the 50 genes with the "
            "largest real |delta|, the target among them; the suite's mean and median are those of this value.",
            "the value of no_change, often above 0.9", "D4", space=ABSOLUTE, undefined="constant truth"),
    _metric("beat_no_change_biojepa", "Beats no change on expression", "1 where Pearson of absolute expression is above "
            "that of the control profile; ties are losses.", "0.5", "D8", unit="share of conditions", space=ABSOLUTE),
)  # fmt: skip


def mse_over_no_change(predicted_pg: np.ndarray, real_pg: np.ndarray, keep_pg: np.ndarray) -> np.ndarray:
    """`[p]` squared error of the delta over that of predicting none; NaN where there is no change at all."""
    error = expression.mean_squared_error(predicted_pg, real_pg, keep_pg)
    size = expression.mean_squared_error(np.zeros_like(real_pg), real_pg, keep_pg)
    return np.divide(error, size, out=np.full(len(error), np.nan), where=size > 0)


def r2_delta(predicted_pg: np.ndarray, real_pg: np.ndarray, keep_pg: np.ndarray, *, centred: bool = True) -> np.ndarray:
    """`[p]` R2 of each row over the kept genes.

    Args:
        predicted_pg: `[p, g]` deltas.
        real_pg: `[p, g]` deltas.
        keep_pg: `[p, g]` bool.
        centred: Compare with the mean over genes; without, with no change, so that 0 is exactly no change.
    """
    if not centred:
        return 1 - mse_over_no_change(predicted_pg, real_pg, keep_pg)
    n = keep_pg.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_p = np.where(keep_pg, real_pg, 0).sum(axis=1) / n
        spread = expression.mean_squared_error(np.repeat(mean_p[:, None], real_pg.shape[1], axis=1), real_pg, keep_pg)
        value = 1 - expression.mean_squared_error(predicted_pg, real_pg, keep_pg) / spread
    return np.where(spread > expression.CONSTANT**2, value, np.nan)


def pearson_top(
    predicted_pg: np.ndarray,
    real_pg: np.ndarray,
    keep_pg: np.ndarray,
    k: int = 20,
    q_value_pg: np.ndarray | None = None,
) -> np.ndarray:
    """`[p]` Pearson over the k genes with the largest real |delta|, or with the smallest adjusted p value.

    Args:
        predicted_pg: `[p, g]` deltas.
        real_pg: `[p, g]` deltas.
        keep_pg: `[p, g]` bool; genes that may be chosen.
        k: Number of genes.
        q_value_pg: `[p, g]` adjusted p values to choose by; ties go to the larger |delta|.
    """
    if q_value_pg is None:
        genes_pk = top_k(np.where(keep_pg, np.abs(real_pg), -np.inf), k)
    else:
        genes_pk = np.lexsort((-np.abs(real_pg), q_value_pg, ~keep_pg), axis=1)[:, :k]
    chosen = np.take_along_axis(keep_pg, genes_pk, axis=1)
    a, b = (np.take_along_axis(x, genes_pk, axis=1) for x in (predicted_pg, real_pg))
    return expression.pearson(a, b, chosen)


def mse_cells_biojepa(predicted_ng: np.ndarray, real_ng: np.ndarray) -> float:
    """Mean over cells and genes of the squared error of paired single-cell changes."""
    return float(((predicted_ng - real_ng) ** 2).mean())


def pearson_top20_biojepa(predicted_ng: np.ndarray, real_ng: np.ndarray) -> float:
    """Mean over cells of the Pearson over the 20 genes with the largest real |change| of the cell; constant is 0."""
    genes_nk = top_k(np.abs(real_ng), 20)
    a, b = (np.take_along_axis(x, genes_nk, axis=1) for x in (predicted_ng, real_ng))
    flat = (a.std(axis=1) < FLAT_BIOJEPA) | (b.std(axis=1) < FLAT_BIOJEPA)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    norm = np.where(flat, 1.0, np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return float(np.where(flat, 0.0, np.einsum("nk,nk->n", a, b) / norm).mean())


def r2_biojepa(predicted_pg: np.ndarray, real_pg: np.ndarray) -> np.ndarray:
    """`[p]` R2 of absolute expression over all given genes; NaN (skipped by the suite) where the truth is constant."""
    spread = ((real_pg - real_pg.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    error = ((predicted_pg - real_pg) ** 2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(real_pg.std(axis=1) >= FLAT_BIOJEPA, 1 - error / spread, np.nan)


def r2_top50_biojepa(
    predicted_pg: np.ndarray, real_pg: np.ndarray, real_delta_pg: np.ndarray, k: int = 50
) -> np.ndarray:
    """`[p]` R2 of absolute expression over the k genes with the largest real |delta|, no gene left out."""
    genes_pk = top_k(np.abs(real_delta_pg), k)
    return r2_biojepa(*(np.take_along_axis(x, genes_pk, axis=1) for x in (predicted_pg, real_pg)))


def beat_no_change_biojepa(predicted_pg: np.ndarray, real_pg: np.ndarray, control_g: np.ndarray) -> np.ndarray:
    """`[p]` 1.0 where absolute expression correlates better with the truth than the control profile does."""
    everything = np.ones(real_pg.shape, bool)
    model = expression.pearson(predicted_pg, real_pg, everything)
    control = expression.pearson(np.broadcast_to(control_g, real_pg.shape), real_pg, everything)
    return (np.nan_to_num(model) > np.nan_to_num(control)).astype(np.float64)
