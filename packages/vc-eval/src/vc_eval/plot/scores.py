"""Figures of scores-v1 and predictions-v1."""

from typing import TYPE_CHECKING, Any

import numpy as np

from vc_eval.errors import VcEvalError
from vc_eval.metrics import get_metric
from vc_eval.metrics.uncertainty import LEVELS
from vc_eval.plot.figures import BASE, MODEL, new_axes
from vc_eval.stats.bootstrap import cluster_means, cluster_weights, interval

if TYPE_CHECKING:
    import anndata
    import pandas as pd
    from matplotlib.axes import Axes

CONDITION = "condition:"


def gain_over_baselines(
    scores: "pd.DataFrame", *, model: str, metric: str = "pearson_delta", baselines: list[str] | None = None,
    seed: int = 0, n_boot: int = 2000, axes: "Axes | None" = None,
) -> "Axes":  # fmt: skip
    """Mean difference of a model to each other row over the same conditions, with 95 % intervals over perturbations.

    Args:
        scores: scores-v1 table.
        model: The model.
        metric: Its metric; differences are turned so that right is better.
        baselines: Rows to compare with; default every other model of the table.
        seed: Of the bootstrap.
        n_boot: Resamples.
        axes: Where to draw; default a new figure.

    Raises:
        VcEvalError: If the model or metric has no conditions.
    """
    own = scores[(scores["metric"] == metric) & scores["group"].str.startswith(CONDITION)]
    wide = own.pivot_table(index=["dataset", "split", "group"], columns="model", values="value")
    if model not in wide.columns:
        raise VcEvalError(f"plot: no values of {metric!r} for {model!r}; scored were {sorted(set(scores['model']))!r}.")
    names = [n for n in (baselines or wide.columns) if n != model and n in wide.columns]
    gain = get_metric(metric).gain
    difference_nm = np.stack([gain(wide[model].to_numpy()) - gain(wide[n].to_numpy()) for n in names], axis=1)
    cluster = wide.index.get_level_values("group").str.split("|", n=1).str[-1]
    codes = np.unique(cluster.to_numpy(str), return_inverse=True)[1]
    means = cluster_means(difference_nm, codes, cluster_weights(int(codes.max()) + 1, n_boot, seed))
    lower, upper = interval(means.point, means.draws, int(codes.max()) + 1)
    order = np.argsort(means.point, kind="stable")
    axes = new_axes(axes, height=1.2 + 0.3 * len(names))
    error = np.stack([means.point - lower, upper - means.point])[:, order]
    axes.errorbar(means.point[order], range(len(names)), xerr=error, fmt="o", color=MODEL, markersize=4, elinewidth=1.2)
    axes.axvline(0, color=BASE, linewidth=0.8)
    axes.set_yticks(range(len(names)), [names[k] for k in order])
    axes.set(
        xlabel=f"{get_metric(metric).title}: {model} minus the other (right is better)", title=f"{len(wide)} conditions"
    )
    return axes


def coverage_curves(scores: "pd.DataFrame") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Model -> (levels, share inside) over all conditions of a scores-v1 table, for `calibration`."""
    every = scores[scores["group"] == "all"]
    curves = {}
    for model, part in every.groupby("model"):
        value = part.set_index("metric")["value"]
        names = [f"calibration/coverage_{level}" for level in LEVELS]
        if set(names) <= set(value.index):
            curves[str(model)] = (np.array(LEVELS), value[names].to_numpy(np.float64))
    return curves


def predicted_changes(
    predictions: "anndata.AnnData",
) -> "tuple[list[str], np.ndarray, np.ndarray, np.ndarray | None]":
    """(conditions, genes, changes `[p, g]`, sd `[p, g]` or None) of a predictions-v1 file of profiles.

    Raises:
        VcEvalError: If the file holds cells or counts.
    """
    if str(predictions.uns["unit"]) != "profile" or str(predictions.uns["space"]) != "log1p_cp10k":
        raise VcEvalError("plot: expected profiles in log1p_cp10k; predict without cells.")
    x = np.asarray(predictions.X.toarray() if hasattr(predictions.X, "toarray") else predictions.X, np.float64)
    line = predictions.obs["cell_line"].astype(str).to_numpy(str)
    control = predictions.obs["is_control"].to_numpy(bool)
    start = {name: x[control & (line == name)].mean(axis=0) for name in np.unique(line)}
    rows = np.flatnonzero(~control)
    label = predictions.obs["perturbation"].astype(str).to_numpy(str)
    many = len(start) > 1
    names = [f"{line[r]} | {label[r]}" if many else str(label[r]) for r in rows]
    sd: Any = predictions.layers["sd"][rows] if "sd" in predictions.layers else None
    sd_pg = None if sd is None else np.asarray(sd.toarray() if hasattr(sd, "toarray") else sd, np.float64)
    return names, predictions.var_names.to_numpy(str), np.stack([x[r] - start[line[r]] for r in rows]), sd_pg
