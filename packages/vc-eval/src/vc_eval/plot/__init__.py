"""Figures from arrays and contracts. Every function returns matplotlib axes; matplotlib is imported when one is called."""

from vc_eval.plot.figures import calibration, heat_map, predicted_against_measured, short_name, support_map, volcano
from vc_eval.plot.scores import gain_over_baselines

__all__ = [
    "calibration", "gain_over_baselines", "heat_map", "predicted_against_measured", "short_name", "support_map", "volcano",
]  # fmt: skip
