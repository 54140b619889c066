"""The last two stages of BioJEPA from conditions: the base, what is learnt from, and the gates at the end."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vc_apps.train.plan import plan_stage
from vc_apps.train.settings import BioJepa

if TYPE_CHECKING:
    from vc_model.biojepa.conditions import Lessons
    from vc_model.biojepa.fitted import FittedBioJepa
    from vc_model.table.effects import Conditions, EffectTable

    from vc_apps.train.recipes import Recipe

ALIGNED = "composer_aligned"
"""The composer as it was before the action stage: where every hold-out starts from."""


class Conditioning:
    """Base and lessons of a run, made when the first stage asks for them.

    Args:
        settings: What the user asked for.
        recipe: The preset.
        table: Training effects.

    Attributes:
        lessons: What is learnt from; there after `begin`.
    """

    def __init__(self, settings: BioJepa, recipe: "Recipe", table: "EffectTable") -> None:
        self.settings, self.recipe, self.table = settings, recipe, table
        self._made: Lessons | None = None

    @property
    def lessons(self) -> "Lessons":
        """What is learnt from."""
        if self._made is None:
            raise RuntimeError("lessons: expected `begin` first")
        return self._made

    def begin(self, fitted: "FittedBioJepa") -> "FittedBioJepa":
        """The model with its base, before action stage or decoder; unchanged where it learns from pairs."""
        from vc_model.anchored import Anchored, AnchoredConfig
        from vc_model.biojepa.conditions import make_lessons
        from vc_model.biojepa.pooled import MeanLatents, pool_latents
        from vc_model.table.folds import recall

        if not fitted.config.by_condition or self._made is not None or "teacher" not in fitted.parts:
            return fitted
        settings, table, base, oof = self.settings, self.table, None, None
        if settings.base == "anchored":
            base = Anchored(AnchoredConfig(seed=settings.seed)).fit(table)
            oof = recall(table, base.name)
        means = MeanLatents(fitted.config, fitted.parts["teacher"])
        pooled = pool_latents(
            settings.screen, settings.splits, means, fitted.cells, table.conditions, table.genes, self.recipe.case_cells
        )
        self._made = make_lessons(table, pooled, fitted.cells, means, oof, "" if base is None else base.name)
        parts = dict(fitted.parts)
        if "composer" in parts and "predictor" not in parts:
            parts[ALIGNED] = parts["composer"]
        return dataclasses.replace(fitted, parts=parts, base=base)


def finish(
    learning: Conditioning, fitted: "FittedBioJepa", test: "Conditions", folder: Path
) -> "tuple[FittedBioJepa, dict[str, float]]":
    """Add the predictive variance and, where the model learns from conditions, the gates.

    Args:
        learning: Of this run.
        fitted: After all stages.
        test: What will be asked; nothing of it is used but its names.
        folder: For finished hold-outs.

    Returns:
        The model, and the gates by name.
    """
    from vc_model.biojepa.actions import relearn
    from vc_model.biojepa.conditions import ConditionBatches
    from vc_model.biojepa.crossfit import StagePlan, cross_fit, folds_for
    from vc_model.biojepa.fitted import with_gates, with_spread
    from vc_model.table.folds import BINS

    table, settings, recipe = learning.table, learning.settings, learning.recipe
    if not fitted.config.by_condition:
        return with_spread(fitted, table), {}
    plans = []
    for stage in ("ac", "decode"):
        size = recipe.stages[stage].batch if settings.batch is None else settings.batch
        per_epoch = ConditionBatches(learning.lessons, fitted.bank, batch_size=size, seed=settings.seed).per_epoch
        plans.append(StagePlan(stage, size, plan_stage(stage, settings, recipe, per_epoch)))
    before: dict[str, Any] = {name: fitted.parts[name] for name in ("encoder", "teacher")}
    if ALIGNED in fitted.parts:
        before["composer"] = fitted.parts[ALIGNED]
    folds = folds_for(table, test, settings.folds, settings.seed)
    held = cross_fit(
        fitted.config, table, learning.lessons, plans, before, partial(relearn, fitted.bank), folds, folder
    )
    gates = {f"gate/{name}": float(gate) for name, gate in zip(BINS, held.gate_b, strict=True) if gate > 0}
    return with_gates(fitted, table, learning.lessons, held), gates or {"gate": 0.0}
