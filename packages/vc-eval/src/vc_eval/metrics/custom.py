"""Metrics of your own: one function on mean profiles, scored beside all others with intervals, baselines and ceiling."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vc_eval.errors import VcEvalError
from vc_eval.metrics.registry import Metric


class Profiles(NamedTuple):
    """What was measured and what was predicted in one cell line, log1p, perturbations by genes."""

    perturbations: list[str]
    """`[p]` names."""
    genes: np.ndarray
    """`[g]` names."""
    measured_pg: np.ndarray
    """Measured mean profiles."""
    predicted_pg: np.ndarray
    """Predicted mean profiles."""
    measured_delta_pg: np.ndarray
    """Measured change against control."""
    predicted_delta_pg: np.ndarray
    """Predicted change against control."""
    keep_pg: np.ndarray
    """`[p, g]` bool; false for the perturbed gene itself, which metrics usually leave out."""


Function = Callable[[Profiles], np.ndarray]
CUSTOM: dict[str, Function] = {}


def register_metric(metric: Metric, function: Function) -> None:
    """Add a metric, which every scoring from then on computes; the same name again replaces it.

    Args:
        metric: What it is; its name must not be one of the package's own.
        function: `Profiles -> [p]` values, NaN where undefined.

    Raises:
        VcEvalError: If the name is taken by a metric of the package.
    """
    from vc_eval.metrics import REGISTRY

    if metric.name in REGISTRY and metric.name not in CUSTOM:
        raise VcEvalError(f"metric: {metric.name!r} is one of the package's own; expected another name.")
    CUSTOM[metric.name] = function
    REGISTRY[metric.name] = metric


def remove_metric(name: str) -> None:
    """Forget a registered metric."""
    from vc_eval.metrics import REGISTRY

    if CUSTOM.pop(name, None) is not None:
        del REGISTRY[name]


def custom_scores(profiles: Profiles) -> dict[str, np.ndarray]:
    """Values of every registered metric, `{name: [p]}`.

    Raises:
        VcEvalError: If a function fails or returns another shape.
    """
    values = {}
    for name, function in CUSTOM.items():
        try:
            value = np.asarray(function(profiles), np.float64)
        except Exception as error:
            raise VcEvalError(
                f"metric {name!r}: {type(error).__name__}: {error}. Mend the registered function."
            ) from error
        if value.shape != (len(profiles.perturbations),):
            raise VcEvalError(
                f"metric {name!r}: expected one value for each of {len(profiles.perturbations)} perturbations, found shape "
                f"{value.shape}."
            )
        values[name] = value
    return values
