"""Predictions that anyone can make, by name, so that each is one command away from a file."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from vc_apps.submit.settings import Baseline

if TYPE_CHECKING:
    from vc_model.contracts import PredictionFile

MODEL_OF: dict[Baseline, str] = {
    "control": "no_change",
    "random": "random",
    "mean-expression": "context_mean",
    "mean-effect": "mean_effect",
    "anchored": "anchored",
    "pseudobulk-shift": "anchored",
}
"""Baseline -> model of vc-model. `pseudobulk-shift` gives anchored's means to real control cells by scaling genes."""


def predict_baseline(
    name: Baseline, screen: Path, splits: Path, *, seed: int, features: Path | None = None
) -> "PredictionFile":
    """Fit a baseline on the training conditions of a split and predict the test conditions."""
    from vc_model.emit.output import make_prediction_file
    from vc_model.table.pseudobulk import load_control_cells, load_tables

    train, _, test = load_tables(screen, splits, features)
    if name != "st":
        from vc_model.models import make_model

        return make_prediction_file(make_model(MODEL_OF[name], seed).fit(train), test)
    from vc_model.models import make_model
    from vc_model.st import StTraining, fit_st

    controls = load_control_cells(screen, splits, train.genes, 256)
    anchor = make_model("anchored", seed).fit(train)
    with tempfile.TemporaryDirectory() as folder:
        fitted = fit_st(screen, splits, train, controls, StTraining(seed=seed, steps=500), Path(folder), anchor=anchor)
    return make_prediction_file(fitted, test)
