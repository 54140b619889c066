"""The anchored model: a Gaussian process over conditions, the perturbed gene's own term, calibrated variance."""

from vc_model.anchored.model import Anchored, AnchoredConfig, FittedAnchored

__all__ = ["Anchored", "AnchoredConfig", "FittedAnchored"]
