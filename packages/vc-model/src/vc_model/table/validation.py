"""Scores on training conditions, each predicted by a model that has not seen it."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from vc_model.table.effect import Effect
from vc_model.table.effects import Conditions, EffectTable
from vc_model.table.folds import all_folds, known_actions, out_of_fold

if TYPE_CHECKING:
    import pandas as pd


def out_of_fold_scores(
    train: EffectTable, conditions: Conditions, effects: Mapping[str, Callable[[EffectTable], Effect]]
) -> "pd.DataFrame":
    """Out-of-fold scores of point predictions on training conditions, in the mix of kinds that will be asked.

    Args:
        train: Training effects.
        conditions: What will be asked; nothing of them is used but their names.
        effects: Name -> function that fits a point prediction on a table.

    Returns:
        One row per name with `mse_delta` and `pearson_delta`.
    """
    import pandas as pd

    oof = out_of_fold(effects, train, all_folds(train))
    asked = np.bincount(known_actions(train).bins(conditions), minlength=10)
    truth_mg = train.check_pg[oof.row_m]
    size_m = asked[oof.bin_m] / np.maximum(np.bincount(oof.bin_m, minlength=10)[oof.bin_m], 1)
    if size_m.sum() == 0:
        size_m = np.ones(len(truth_mg))
    rows = {}
    for name, delta_mg in oof.delta_mg.items():
        a, b = (part - part.mean(axis=1, keepdims=True) for part in (delta_mg, truth_mg))
        norm_m = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
        r_m = np.divide((a * b).sum(axis=1), norm_m, out=np.zeros(len(a)), where=norm_m > 1e-12)
        error_m = ((delta_mg - truth_mg) ** 2).mean(axis=1)
        rows[name] = {
            "mse_delta": np.average(error_m, weights=size_m),
            "pearson_delta": np.average(r_m, weights=size_m),
        }
    return pd.DataFrame.from_dict(rows, orient="index")
