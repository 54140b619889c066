"""A STATE-style set mapper: a set of control cells and a perturbation in, a set of perturbed cells out (model C)."""

from vc_model.st.config import PRESETS, StConfig, param_counts, preset
from vc_model.st.fitted import FittedSt
from vc_model.st.sets import CellSets
from vc_model.st.training import StTraining, fit_st

__all__ = ["PRESETS", "CellSets", "FittedSt", "StConfig", "StTraining", "fit_st", "param_counts", "preset"]
