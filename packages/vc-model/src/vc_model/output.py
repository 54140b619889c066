"""From predictions to a predictions-v1 file: predicted profiles beside the unperturbed profile of every line."""

import numpy as np

from vc_model.contracts import PredictionFile
from vc_model.contracts.screen import CONTROL
from vc_model.predictor import Fitted
from vc_model.table import Conditions


def make_prediction_file(fitted: Fitted, conditions: Conditions) -> PredictionFile:
    """Predict conditions and put them beside one control row per cell line (the model's base profile).

    Args:
        fitted: A fitted model.
        conditions: What to predict; each (cell line, perturbation) once.
    """
    prediction = fitted.predict(conditions)
    lines, first = np.unique(conditions.cell_line, return_index=True)
    control_lg = prediction.base_pg[first]
    return PredictionFile(
        model=fitted.name,
        space="log1p_cp10k",
        unit="profile",
        genes=conditions.contexts_or(fitted.contexts).genes,
        perturbation=np.array([CONTROL] * len(lines) + list(conditions.perturbation)),
        cell_line=np.concatenate([lines, conditions.cell_line]),
        is_control=np.arange(len(lines) + len(conditions)) < len(lines),
        mean_ng=np.concatenate([control_lg, prediction.mean_pg]),
        sd_ng=np.concatenate([np.zeros_like(control_lg), np.sqrt(prediction.var_pg)]),
    )
