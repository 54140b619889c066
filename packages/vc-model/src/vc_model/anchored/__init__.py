"""The anchored model: out-of-fold anchors, stacking per bin, a gated residual, calibrated variance."""

from vc_model.anchored.model import ANCHORS, Anchored, AnchoredConfig, FittedAnchored, make_stacked
from vc_model.anchored.residual import ResidualConfig

__all__ = ["ANCHORS", "Anchored", "AnchoredConfig", "FittedAnchored", "ResidualConfig", "make_stacked"]
