"""Training recipes of BioJEPA: one Python function for each size of the model.

For a recipe of your own, copy a function and change its numbers. Recipes do not inherit from each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from vc_model.biojepa.config import STAGE_CONFIGS, BioJepaConfig, StageConfig

Preset = Literal["tiny", "small", "v0.6", "v1.0"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that determines a training run, except the data and the seed."""

    model: BioJepaConfig
    """The architecture."""
    stages: Mapping[str, StageConfig]
    """Optimiser settings and batch size of each stage."""
    steps: Mapping[str, int]
    """Number of updates of each stage; a stage that is not listed runs for the epochs of its configuration."""
    control_cells: int
    """Number of control cells of each cell line that a prediction is averaged over. The sampling noise of few cells would be
    part of the predicted effect."""
    case_cells: int = 32
    """Cells of each training condition, and of the controls of each batch, whose mean latents are learnt from."""


def tiny(n_genes: int, *, faithful: bool = False) -> Recipe:
    """One narrow layer and 60 updates per stage, to check that everything runs.

    Paper: the architecture of BioJEPA-AC v0.6, far smaller (width 32, 1 layer).
    Hardware and time: 2 CPU cores for 2,000 genes; the measured cells per second are in the run's `metrics.jsonl`.
    Expected: a finite loss that falls; predictions near the mean effect of the training perturbations.
    Command: vc train biojepa screen.zarr splits.json -o model --preset tiny
    """
    model = BioJepaConfig(
        n_genes=n_genes, faithful=faithful, width=32, n_layers=1, n_mask_layers=1, action_width=64, mode_width=8
    )
    return Recipe(
        model=model,
        stages=_scaled(batch=16, rate=3e-3),
        steps={"pretrain": 60, "align": 60, "ac": 60, "decode": 60},
        control_cells=64,
    )


def small(n_genes: int, *, faithful: bool = False) -> Recipe:
    """A size that a CPU can train.

    Paper: the architecture of BioJEPA-AC v0.6, smaller (width 64, 2 layers).
    Hardware and time: 2 CPU cores for 500 to 2,000 genes; the measured cells per second are in the run's `metrics.jsonl`.
    Expected: on screens of a few hundred conditions it has not beaten the simple baselines.
    Command: vc train biojepa screen.zarr splits.json -o model --features features.zarr
    """
    model = BioJepaConfig(
        n_genes=n_genes, faithful=faithful, width=64, n_layers=2, n_mask_layers=1, action_width=128, mode_width=16
    )
    return Recipe(
        model=model,
        stages=_scaled(batch=32, rate=2e-3),
        steps={"pretrain": 400, "align": 400, "ac": 1000, "decode": 400},
        control_cells=256,
    )


def v0_6(n_genes: int, *, faithful: bool = False) -> Recipe:
    """The published size and hyper-parameters.

    Paper: BioJEPA-AC v0.6 (2026): encoder 7.98M, predictor 10.04M, composer 1.48M parameters at 10,000 genes. Masked
    pretraining 50 epochs at 1e-4 and batch 64; alignment 10,000 epochs at 7.6e-4; action-conditioned training 20 epochs, the
    predictor at 1e-4 and the composer at 1e-5, batch 32; decoder 10 epochs at 1e-3.
    Hardware and time: an estimate, not measured here: pretraining takes 9.1e19 operations, some hundred hours on one H200.
    Too large for a CPU, where an update takes 14 s per cell on two cores.
    Expected: as published, on the authors' own splits, Pearson of the change 0.216 and centroid accuracy 0.034; not reproduced here.
    Command: vc train biojepa screen.zarr splits.json -o model --preset v0.6 --faithful --sequences guides.zarr --targets
    esm2.zarr
    """
    return Recipe(
        model=replace(BioJepaConfig.v0_6(n_genes, faithful=faithful), compute="bfloat16", remat=True),
        stages=STAGE_CONFIGS,
        steps={},
        control_cells=32,
    )


def v1_0(n_genes: int, *, faithful: bool = False) -> Recipe:
    """The published size and settings of v1.0; stages run as long as those of v0.6, whose numbers of updates are known.

    Paper: BioJEPA-AC v1.0 (2026): encoder 7,979,650, predictor 2,565,760, composer 444,224 parameters at 10,000 genes; weights of
    the losses 50.18, 25.44, 0.5158. Its warm-up, stable, decay schedule, the teacher's momentum that ends at 1 and the
    oversampling of chemical pairs are not reproduced: rates follow the one cycle of v0.6.
    Hardware and time: not measured; the encoder is that of v0.6 (some hundred hours on one H200), the predictor about a sixth of the work.
    Expected: as published, on other test perturbations than v0.6: Pearson of the change 0.332, centroid accuracy 0.149; not
    reproduced here.
    Command: vc train biojepa screen.zarr splits.json -o model --preset v1.0 --faithful --sequences guides.zarr --targets
    esm2.zarr
    """
    return Recipe(
        model=replace(BioJepaConfig.v1_0(n_genes, faithful=faithful), compute="bfloat16", remat=True),
        stages=STAGE_CONFIGS,
        steps={},
        control_cells=32,
    )


RECIPES = {"tiny": tiny, "small": small, "v0.6": v0_6, "v1.0": v1_0}


def _scaled(*, batch: int, rate: float) -> dict[str, StageConfig]:
    """The published stages with another batch size, and learning rates for hundreds of updates instead of millions."""
    rates = {
        "pretrain": {"encoder": rate, "maskpred": rate},
        "align": {"composer": rate},
        "ac": {"predictor": rate, "composer": rate},
        "decode": {"decoder": rate},
    }
    # The teacher is an exponential moving average of the encoder; in a short run it has to forget its initial weights sooner.
    ema = {"pretrain": 0.98}
    return {
        name: replace(config, batch=batch, learning_rates=rates[name], ema=ema.get(name))
        for name, config in STAGE_CONFIGS.items()
    }
