"""From predictions to a predictions-v1 file: predicted profiles beside the unperturbed profile of every line."""

import numpy as np

from vc_model.contracts import PredictionFile
from vc_model.contracts.screen import CONTROL
from vc_model.predictor import Fitted
from vc_model.table import Conditions


def make_prediction_file(fitted: Fitted, conditions: Conditions) -> PredictionFile:
    """Predict conditions and put them beside one control row per cell line (its base profile, see `Contexts`).

    Args:
        fitted: A fitted model.
        conditions: What to predict; each (cell line, perturbation) once.
    """
    prediction = fitted.predict(conditions)
    contexts = conditions.contexts_or(fitted.contexts)
    lines = np.array(sorted(set(conditions.cell_line.tolist())))
    control_lg = contexts.base_cg[contexts.positions(lines)]
    return PredictionFile(
        model=fitted.name,
        space="log1p_cp10k",
        unit="profile",
        genes=contexts.genes,
        perturbation=np.array([CONTROL] * len(lines) + list(conditions.perturbation)),
        cell_line=np.concatenate([lines, conditions.cell_line]),
        is_control=np.arange(len(lines) + len(conditions)) < len(lines),
        mean_ng=np.concatenate([control_lg, prediction.mean_pg]),
        sd_ng=np.concatenate([np.zeros_like(control_lg), np.sqrt(prediction.var_pg)]),
    )
