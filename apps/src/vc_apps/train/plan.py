"""How long and how a stage of BioJEPA is trained: the recipe, and what the user changed of it."""

from typing import TYPE_CHECKING

from vc_apps.train.settings import BioJepa

if TYPE_CHECKING:
    from vc_model.biojepa.config import Stage
    from vc_model.train.loop import TrainConfig

    from vc_apps.train.recipes import Recipe


def plan_stage(stage: "Stage", settings: BioJepa, recipe: "Recipe", per_epoch: int) -> "TrainConfig":
    """Steps, optimiser and mesh of a stage.

    Args:
        stage: Which.
        settings: What the user asked for.
        recipe: The preset.
        per_epoch: Updates that see all data once.
    """
    from vc_model.train.loop import TrainConfig
    from vc_model.train.optimiser import OptimiserConfig
    from vc_model.train.sharding import MeshConfig

    config = recipe.stages[stage]
    rates = dict(config.learning_rates)
    peak = max(rates.values())
    return TrainConfig(
        steps=getattr(settings, f"{stage}_steps") or recipe.steps.get(stage) or config.epochs * per_epoch,
        seed=settings.seed,
        optimiser=OptimiserConfig(
            peak_rate=peak,
            weight_decay=config.weight_decay,
            clip_norm=config.clip,
            rate_scale={part: rate / peak for part, rate in rates.items() if rate != peak},
            beta2=config.beta2,
        ),
        mesh=MeshConfig(data=settings.data, fsdp=settings.fsdp, gene=settings.gene),
        log_every=settings.log_every,
        save_every=settings.save_every,
    )
