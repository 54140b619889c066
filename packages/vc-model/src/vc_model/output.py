"""From predictions to a predictions-v1 file: predicted profiles beside the unperturbed profile of every line."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from vc_model.biojepa.fitted import FittedBioJepa
from vc_model.checkpoint import load_checkpoint
from vc_model.contracts import PredictionFile, hash_path, write_predictions
from vc_model.contracts.screen import CONTROL, PARTS
from vc_model.errors import VcModelError
from vc_model.predictor import Fitted
from vc_model.pseudobulk import load_conditions, load_control_cells
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


def predict_checkpoint(checkpoint: Path, screen: Path, splits: Path, out: Path, part: str = "test") -> tuple[str, int]:
    """Predict the conditions of one part of a split with any saved model; only control cells of the screen are read.

    Args:
        checkpoint: A checkpoint-v1 folder.
        screen: screen-v1.
        splits: splits-v1 of that screen.
        out: The predictions-v1 file to write.
        part: `test`, `val` or `train`.

    Returns:
        The model's name, and how many conditions were predicted.

    Raises:
        VcModelError: If the part is unknown or empty, or a file is refused.
    """
    if part not in PARTS[:3]:
        raise VcModelError(f"part: expected train, val or test, found {part!r}.")
    fitted = load_checkpoint(checkpoint)
    conditions = load_conditions(screen, splits, part, fitted.contexts)
    if len(conditions) == 0:
        raise VcModelError(f"{splits}: part {part!r}: expected conditions, found none. Choose another part.")
    if isinstance(fitted, FittedBioJepa):
        per_line = int(np.bincount(fitted.cells.line_n).max())
        fitted = replace(fitted, cells=load_control_cells(screen, splits, fitted.contexts.genes, per_line))
    write_predictions(
        out,
        make_prediction_file(fitted, conditions),
        parents={path.name: hash_path(path) for path in (checkpoint, screen, splits)},
        config={"model": fitted.name, "part": part},
    )
    return fitted.name, len(conditions)
