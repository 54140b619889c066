"""Figures of scores-v1 and predictions-v1."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from vc_contracts.header import check_header

from vc_eval.contracts import is_effects, read_effects, read_predictions
from vc_eval.errors import VcEvalError
from vc_eval.metrics import get_metric
from vc_eval.metrics.uncertainty import LEVELS
from vc_eval.plot.figures import BASE, MODEL, UNIT, new_axes, short_name
from vc_eval.split.tables import measured_everywhere, values_of
from vc_eval.stats.bootstrap import cluster_means, cluster_weights, interval

if TYPE_CHECKING:
    from pathlib import Path

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
    axes = new_axes(axes, width=6.0, height=1.4 + 0.28 * len(names))
    error = np.stack([means.point - lower, upper - means.point])[:, order]
    axes.errorbar(means.point[order], range(len(names)), xerr=error, fmt="o", color=MODEL, markersize=4, elinewidth=1.2)
    axes.axvline(0, color=BASE, linewidth=0.8)
    axes.set_yticks(range(len(names)), [short_name(names[k]) for k in order])
    axes.set_xlabel(f"{get_metric(metric).title}:\n{short_name(model)} minus the other; right is better")
    axes.set_title(f"{len(wide)} conditions, 95 % intervals over perturbations", fontsize=10)
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


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Predicted or measured changes of some conditions."""

    names: list[str]
    """`[p]`; with the cell line in front where there are several."""
    genes: np.ndarray
    """`[g]` names."""
    delta_pg: np.ndarray
    """`[p, g]` changes."""
    sd_pg: np.ndarray | None
    """`[p, g]` standard deviations, where they are stated."""
    unit: str
    """Of the changes, in words."""


def read_changes(path: "str | Path") -> Changes:
    """Changes of a predictions-v1 or effects-v1 file.

    Raises:
        VcEvalError: If the file holds cells or counts.
        ContractError: If it breaks its contract.
    """
    if is_effects(path):
        return effect_changes(read_effects(path))
    return predicted_changes(read_predictions(path))


def predicted_changes(predictions: "anndata.AnnData") -> Changes:
    """Changes of a predictions-v1 file of profiles, from the control row of each line.

    Raises:
        VcEvalError: If the file holds cells or counts.
    """
    if str(predictions.uns["unit"]) != "profile" or str(predictions.uns["space"]) != "log1p_cp10k":
        raise VcEvalError("plot: expected profiles in log1p_cp10k; predict without cells.")
    x = _dense(predictions.X)
    line = predictions.obs["cell_line"].astype(str).to_numpy(str)
    control = predictions.obs["is_control"].to_numpy(bool)
    start = {name: x[control & (line == name)].mean(axis=0) for name in np.unique(line)}
    rows = np.flatnonzero(~control)
    return Changes(
        names=_names(predictions, rows),
        genes=predictions.var_names.to_numpy(str),
        delta_pg=np.stack([x[r] - start[line[r]] for r in rows]),
        sd_pg=_dense(predictions.layers["sd"][rows]) if "sd" in predictions.layers else None,
        unit=UNIT,
    )


def effect_changes(effects: "anndata.AnnData") -> Changes:
    """Changes of a table of effects in its own space; ranks as weights that fall with the rank."""
    import pandas as pd

    genes, space = measured_everywhere(effects), str(effects.uns["space"])
    rows = np.arange(effects.n_obs)
    se = effects.layers["se"] if "se" in effects.layers and space != "rank" else None
    base = check_header(effects.uns["contract"], "effects", "effects").get("config", {}).get("base")
    unit = {"log1p_delta": UNIT, "z": "z-score", "rank": "weight of the rank"}.get(space, "log fold change")
    return Changes(
        names=_names(effects, rows),
        genes=genes,
        delta_pg=values_of(effects, genes),
        sd_pg=None if se is None else _dense(se)[:, effects.var_names.get_indexer(pd.Index(genes))],
        unit=f"{unit}, base {base:g}" if base and space == "log_fold_change" else unit,
    )


def _names(adata: "anndata.AnnData", rows: np.ndarray) -> list[str]:
    line, label = (adata.obs[key].astype(str).to_numpy(str) for key in ("cell_line", "perturbation"))
    many = len(np.unique(line)) > 1
    return [f"{line[r]} | {label[r]}" if many else str(label[r]) for r in rows]


def _dense(values: Any) -> np.ndarray:
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values, np.float64)
