"""Choices of the set mapper, the published sizes, and its number of parameters in closed form.

Sizes are those of STATE 0.11.1 (`state`, with projections of one layer) and 0.9.12 (the others, four layers); `replogle` is
the small model that was trained on the Replogle-Nadig screens.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

from vc_model.errors import VcModelError
from vc_model.stored import stored

Loss = Literal["energy", "pseudobulk", "delta_l1"]


@stored
@dataclass(frozen=True, kw_only=True)
class StConfig:
    """Everything that decides what the mapper computes."""

    n_genes: int
    """G, genes in and out."""
    n_perturbations: int
    """Perturbations with a vector of their own; id 0 stands for every other one and has none."""
    feature_width: int = 0
    """Width of the features of a perturbation, which also unseen ones have; 0: none."""
    n_batches: int = 0
    """Batches with a vector of their own, added to every cell; 0: none."""
    set_size: int = 512
    """S, cells of a training set; a prediction takes any number."""
    width: int = 768
    """h."""
    n_layers: int = 8
    """L, blocks."""
    n_heads: int = 12
    """Heads of the attention."""
    hidden: int = 3072
    """I, hidden width of SwiGLU."""
    mlp_layers: int = 1
    """Layers of the projections of cells, features and output."""
    dropout: float = 0.1
    """Within projections of more than one layer, in training."""
    positive: bool = True
    """Whether outputs are cut at 0, as expression is (not so in the space of an embedding)."""
    anchored: bool = False
    """Start from cells that another model's mean was given to, and learn what the set adds; starts as nothing."""
    confidence: bool = False
    """Read a token that says how large the loss will be."""
    loss: Loss = "energy"
    """Energy distance of the sets, squared error of their means (fixed pseudobulk), or L1 of the change of the mean."""
    confidence_weight: float = 0.01
    """Of the confidence token's error in the loss."""
    chunk: int | None = None
    """Cells whose distances are held at once; None: all. The number is the same."""

    def __post_init__(self) -> None:
        """Refuse what makes no model.

        Raises:
            VcModelError: If the width is not divisible by the heads, or a number is below its least value.
        """
        if self.width % self.n_heads:
            raise VcModelError(f"width: expected a multiple of n_heads {self.n_heads}, found {self.width}.")
        for name in ("n_genes", "set_size", "width", "n_layers", "n_heads", "hidden", "mlp_layers"):
            if getattr(self, name) < 1:
                raise VcModelError(f"{name}: expected 1 or more, found {getattr(self, name)}.")
        if self.loss not in ("energy", "pseudobulk", "delta_l1"):
            raise VcModelError(f"loss: expected energy, pseudobulk or delta_l1, found {self.loss!r}.")

    @property
    def head_width(self) -> int:
        """Width of one head."""
        return self.width // self.n_heads


PRESETS: dict[str, dict[str, Any]] = {
    "state": {"set_size": 512, "width": 768, "n_layers": 8, "n_heads": 12, "hidden": 3072, "mlp_layers": 1},
    "state_sm": {"set_size": 128, "width": 672, "n_layers": 4, "n_heads": 8, "hidden": 2688, "mlp_layers": 4},
    "state_lg": {"set_size": 512, "width": 1488, "n_layers": 6, "n_heads": 12, "hidden": 5952, "mlp_layers": 4},
    "replogle": {"set_size": 32, "width": 128, "n_layers": 4, "n_heads": 8, "hidden": 384, "mlp_layers": 4},
    "tiny": {"set_size": 16, "width": 32, "n_layers": 2, "n_heads": 4, "hidden": 64, "mlp_layers": 2},
}
"""Published sizes by name; `tiny` is for tests and first runs on a CPU."""


def preset(name: str, *, n_genes: int, n_perturbations: int, **changes: Any) -> StConfig:
    """A published size.

    Args:
        name: One of `PRESETS`.
        n_genes: Genes.
        n_perturbations: Perturbations of the training data.
        changes: Other fields of `StConfig`.

    Raises:
        VcModelError: If there is no such preset.
    """
    if name not in PRESETS:
        raise VcModelError(f"preset: expected one of {list(PRESETS)}, found {name!r}.")
    return replace(StConfig(n_genes=n_genes, n_perturbations=n_perturbations, **PRESETS[name]), **changes)


def param_counts(cfg: StConfig) -> dict[str, int]:
    """Trained parameters of every part; `backbone` is L (4 h^2 + 3 h I + 2 h) + h, what the published sizes name."""
    h = cfg.width

    def mlp(n_in: int, n_out: int) -> int:
        if cfg.mlp_layers == 1:
            return n_in * h + h if n_out == h else h * n_out + n_out
        return (n_in * h + h) + (cfg.mlp_layers - 2) * (h * h + h) + (h * n_out + n_out)

    return {
        "backbone": cfg.n_layers * (4 * h * h + 3 * h * cfg.hidden + 2 * h) + h,
        "cells": mlp(cfg.n_genes, h),
        "perturbation": (cfg.n_perturbations + 1) * h,
        "features": mlp(cfg.feature_width, h) if cfg.feature_width else 0,
        "batch": cfg.n_batches * h,
        "output": mlp(h, cfg.n_genes),
        "confidence": 2 * h + 1 if cfg.confidence else 0,
    }
