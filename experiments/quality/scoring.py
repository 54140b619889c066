"""Every metric of one prediction, one row per held-out condition."""

import numpy as np
import pandas as pd
from vc_eval.metrics import calibration, expression
from vc_eval.split.evaluate import profile_scores
from vc_eval.split.prediction import Predicted
from vc_model.table.effects import Conditions

METRICS = {
    "pearson_delta": ("Pearson delta", 1),
    "mse_delta": ("MSE delta x 1000", 1000),
    "r2_top50_delta": ("R2 top 50", 1),
    "centroid_accuracy": ("centroid acc.", 1),
    "vcc2025/pds": ("PDS", 1),
    "vcc2025/mae": ("MAE x 1000", 1000),
}


def score(prediction, conditions: Conditions, genes: tuple[str, ...], truths) -> pd.DataFrame:
    """Every metric of one prediction, one row per condition."""
    frames = []
    row_of = {key: row for row, key in enumerate(zip(conditions.cell_line, conditions.perturbation, strict=True))}
    column_of = {gene: column for column, gene in enumerate(genes)}
    for truth in truths:
        rows = np.array([row_of[truth.cell_line, name] for name in truth.perturbations])
        at = np.ix_(rows, np.array([column_of[gene] for gene in truth.genes]))
        mean_pg, base_pg = (part[at].astype(np.float64) for part in (prediction.mean_pg, prediction.base_pg))
        predicted = Predicted(profile_pg=mean_pg, control_g=base_pg[0], delta_pg=mean_pg - base_pg, sd_pg=None)
        values = scores_of(predicted, truth, conditions.sizes[rows])
        sd_pg, keep_pg = np.sqrt(prediction.var_pg[at]), ~truth.excluded_pg
        widths = [prediction.conformal.width(prediction.table_p[rows], level) for level in calibration.LEVELS]
        inside = calibration.coverage(
            predicted.delta_pg, sd_pg, truth.effects.delta_pg, truth.noise_var_pg, keep_pg, np.stack(widths, axis=1)
        )
        values |= {f"coverage_{level}": inside[:, level] for level in range(inside.shape[1])}
        planned_pg = planned_noise(prediction, at, truth)
        # A gene that no cell and no control shows says nothing about either kind of interval.
        shown_pg = keep_pg & ~((truth.noise_var_pg == 0) & (truth.effects.delta_pg == 0))
        inside = calibration.coverage(
            predicted.delta_pg, sd_pg, truth.effects.delta_pg, planned_pg, shown_pg, np.stack(widths, axis=1)
        )
        values |= {f"planned_coverage_{level}": inside[:, level] for level in range(inside.shape[1])}
        values["predicted_error"] = calibration.predicted_error(sd_pg, keep_pg)
        values["noise"] = calibration.predicted_error(np.sqrt(truth.noise_var_pg), keep_pg) ** 2
        values["planned_noise"] = calibration.predicted_error(np.sqrt(planned_pg), keep_pg) ** 2
        frames.append(pd.DataFrame({"cell_line": truth.cell_line, "perturbation": truth.perturbations, **values}))
    return pd.concat(frames)


def scores_of(predicted: Predicted, truth, size_p: np.ndarray) -> dict[str, np.ndarray]:
    """Every metric per condition, and the correlation with what was predicted for others of the same number of targets."""
    values = {name: value for name, value in profile_scores(predicted, truth).items() if name in METRICS}
    keep_pg = ~truth.excluded_pg
    sum_p, n_p = np.zeros(len(size_p)), np.zeros(len(size_p))
    for shift in range(1, len(size_p)):
        other_p = np.roll(np.arange(len(size_p)), shift)
        r_p = expression.pearson(predicted.delta_pg[other_p], truth.effects.delta_pg, keep_pg)
        use_p = (size_p == size_p[other_p]) & np.isfinite(r_p)
        sum_p += np.where(use_p, r_p, 0)
        n_p += use_p
    values["pearson_other"] = np.divide(sum_p, n_p, out=np.full(len(n_p), np.nan), where=n_p > 0)
    return values


def planned_noise(prediction, at: tuple[np.ndarray, np.ndarray], truth) -> np.ndarray:
    """[p, g] variance that measuring adds, from the numbers of cells and the variance over the line's controls alone.

    What a user can give to `Prediction.interval` before the experiment; the scorer's own noise is of the held-out cells.
    """
    if not hasattr(truth, "cells"):
        return truth.noise_var_pg  # of wells, known in the same way
    n_cells = np.ones(len(prediction.line_p))
    n_cells[at[0].ravel()] = truth.sizes
    return prediction.noise(n_cells, truth.evaluation.shape[0])[at].astype(np.float64)
