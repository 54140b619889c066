"""Predicted effects of a table of effects, as effects-v1 in the same space."""

from pathlib import Path

import numpy as np
import pandas as pd

from vc_model.baselines import BASELINES
from vc_model.contracts import hash_path
from vc_model.contracts.effects import write_effects
from vc_model.contracts.header import Config, Parents
from vc_model.errors import VcModelError
from vc_model.predictor import Fitted
from vc_model.table.effects import Conditions
from vc_model.table.measured import load_effect_conditions, ranks_of_weights


def predict_effects(fitted: Fitted, checkpoint: Path, effects: Path, splits: Path, out: Path, part: str) -> int:
    """Predict a part of a split of effects-v1 and write it; returns how many conditions there are.

    Raises:
        VcModelError: If the part is empty, or the model was fitted on another kind of effects.
    """
    conditions = load_effect_conditions(effects, splits, part, fitted.contexts)
    if len(conditions) == 0:
        raise VcModelError(f"{splits}: part {part!r}: expected conditions, found none. Choose another part.")
    parents = {path.name: hash_path(path) for path in (checkpoint, effects, splits)}
    write_predicted(fitted, conditions, out, parents=parents, config={"model": fitted.name, "part": part})
    return len(conditions)


def write_predicted(
    fitted: Fitted, conditions: Conditions, out: Path, *, parents: Parents = None, config: Config = None
) -> None:
    """Predict conditions with a model of effects and write them; ranks are written as ranks, without a deviation.

    Args:
        fitted: A model fitted on a table of effects.
        conditions: Each (cell line, perturbation) once.
        out: The effects-v1 file.
        parents: File name -> sha256 of what the predictions were made from.
        config: How they were made.
    """
    contexts = conditions.contexts_or(fitted.contexts)
    prediction = fitted.predict(conditions)
    is_rank = contexts.space == "rank"
    dose_n = np.array([action.dose for action in conditions.actions], np.float32)
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical(np.array(conditions.perturbation, dtype=object)),
            "target": pd.Categorical(np.array([action.label for action in conditions.actions], dtype=object)),
            "cell_line": pd.Categorical(conditions.cell_line.astype(object)),
            "is_control": False,
            "mode": np.array([action.mode for action in conditions.actions], np.int8),
            "dose": np.where(dose_n > 0, dose_n, np.nan).astype(np.float32),
            "n_cells": np.full(len(conditions), np.nan, np.float32),
            "supported": prediction.supported_p,
        },
        index=pd.Index([str(label) for label in conditions.labels]),
    )
    write_effects(
        out,
        obs,
        contexts.genes,
        ranks_of_weights(prediction.delta_pg) if is_rank else prediction.delta_pg,
        space=contexts.space,
        model=fitted.name,
        role="baseline" if fitted.name in BASELINES else "model",
        sd_ng=None if is_rank else np.sqrt(prediction.var_pg),
        parents=parents,
        config={**(config or {}), **getattr(fitted, "told", {})},
    )
