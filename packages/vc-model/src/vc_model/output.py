"""From predictions to a predictions-v1 file: predicted profiles beside the unperturbed profile of every line."""

import numpy as np

from vc_model.contracts import PredictionFile
from vc_model.contracts.screen import CONTROL
from vc_model.predictor import Fitted
from vc_model.table import Conditions

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # of the intervals that are written


def make_prediction_file(fitted: Fitted, conditions: Conditions) -> PredictionFile:
    """Predict conditions and put them beside one control row per cell line (the model's base profile).

    Args:
        fitted: A fitted model.
        conditions: What to predict; each (cell line, perturbation) once.
    """
    prediction = fitted.predict(conditions)
    lines, first = np.unique(conditions.cell_line, return_index=True)
    control_lg = prediction.base_pg[first]
    nothing_lg = np.zeros_like(control_lg)
    width_pl = np.stack([prediction.conformal.width(prediction.table_p, level) for level in LEVELS], axis=1)
    return PredictionFile(
        model=fitted.name,
        space="log1p_cp10k",
        unit="profile",
        genes=conditions.contexts_or(fitted.contexts).genes,
        perturbation=np.array([CONTROL] * len(lines) + list(conditions.perturbation)),
        cell_line=np.concatenate([lines, conditions.cell_line]),
        is_control=np.arange(len(lines) + len(conditions)) < len(lines),
        mean_ng=np.concatenate([control_lg, prediction.mean_pg]),
        sd_ng=np.concatenate([nothing_lg, np.sqrt(prediction.var_pg)]),
        sd_epistemic_ng=np.concatenate([nothing_lg, np.sqrt(prediction.epistemic_pg)]),
        levels=LEVELS,
        width_nl=np.concatenate([np.zeros((len(lines), len(LEVELS)), dtype=np.float32), width_pl]),
        supported_n=np.concatenate([np.ones(len(lines), dtype=bool), prediction.supported_p]),
        basis_n=np.array(["control"] * len(lines) + prediction.basis_p),
    )
