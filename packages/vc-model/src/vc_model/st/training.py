"""Training the mapper on the loop that BioJEPA is trained on."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import jax
import numpy as np

from vc_model.errors import VcModelError
from vc_model.predictor import Fitted
from vc_model.st.actions import make_actions
from vc_model.st.config import StConfig, preset
from vc_model.st.fitted import FittedSt, with_gate, with_spread
from vc_model.st.losses import set_loss
from vc_model.st.mapper import init_mapper
from vc_model.st.sets import CellSets, SetBatches, load_sets
from vc_model.table.effects import EffectTable
from vc_model.table.pseudobulk import ControlCells
from vc_model.train.loop import TrainConfig, train
from vc_model.train.optimiser import OptimiserConfig
from vc_model.train.sharding import MeshConfig
from vc_model.train.state import Stage


@dataclass(frozen=True, kw_only=True)
class StTraining:
    """Choices of a run. The published one: 40,000 steps (400,000 in 0.11), Adam at 1e-4, 16 sets, gradients cut at 10."""

    preset: str = "tiny"
    """One of `vc_model.st.PRESETS`."""
    steps: int = 2000
    """Updates."""
    n_sets: int = 16
    """Sets in a batch."""
    peak_rate: float = 1e-3
    """Highest rate of the one-cycle schedule; 1e-4 is the published rate of the large presets."""
    seed: int = 0
    """Root of everything random."""
    map_controls: bool = True
    """Whether control cells are also to be kept as they are."""
    save_every: int = 1000
    """Steps between saves."""
    gate_share: float = 0.15
    """Share of the training perturbations on which an anchored mapper's gate is chosen and from which it learns nothing."""
    mesh: MeshConfig = field(default_factory=MeshConfig)
    """Devices."""


def train_mapper(config: StConfig, batches: SetBatches, training: StTraining, folder: Path) -> dict:
    """Train fresh parameters; goes on from the latest save in the folder.

    Returns:
        The parameters, nested dicts of numpy arrays.
    """
    state = train(
        Stage("st", partial(set_loss, config)),
        {"mapper": init_mapper(config, training.seed, batches.mean_g)},
        {},
        batches,
        TrainConfig(
            steps=training.steps, seed=training.seed, mesh=training.mesh, save_every=training.save_every,
            optimiser=OptimiserConfig(peak_rate=training.peak_rate, weight_decay=0.0, clip_norm=10.0),
        ),
        folder,
        n_genes=config.n_genes,
    )  # fmt: skip
    return jax.tree.map(np.asarray, state.params["mapper"])


def fit_st(
    screen: Path | str,
    splits: Path | str,
    table: EffectTable,
    controls: ControlCells,
    training: StTraining,
    folder: Path,
    *,
    anchor: Fitted | None = None,
    per_condition: int = 256,
    **changes: object,
) -> FittedSt:
    """Train the mapper on the training conditions of a split.

    Args:
        screen: screen-v1.
        splits: splits-v1 of that screen.
        table: Its training effects (`vc_model.table.pseudobulk.load_tables`).
        controls: Input control cells of every line, over the table's genes.
        training: How.
        folder: For saves and metrics.
        anchor: A fitted model whose means the mapper starts from; it only learns what the set adds, and a gate chosen on
            perturbations that it did not learn from says how much of that is used, none included.
        per_condition: Cells of each condition that are read.
        changes: Fields of `StConfig` that differ from the preset.

    Raises:
        VcModelError: If there are too few perturbations to choose a gate on.
    """
    banks = [bank for bank in (table.bank, *table.more_banks) if bank is not None]
    actions = make_actions(table.conditions.actions, banks)
    config = preset(
        training.preset, n_genes=len(table.genes), n_perturbations=len(actions.known),
        feature_width=actions.width, anchored=anchor is not None, **changes,
    )  # fmt: skip
    base_pg = None if anchor is None else anchor.predict(table.conditions).mean_pg
    sets = load_sets(screen, splits, table, controls, per_condition=per_condition, base_pg=base_pg)
    held = _held_out(sets, training) if anchor is not None else set()
    batches = SetBatches(
        sets.without(held),
        actions,
        config,
        n_sets=training.n_sets,
        seed=training.seed,
        map_controls=training.map_controls,
    )
    params = train_mapper(config, batches, training, folder)
    fitted = FittedSt(config, params, table.contexts, controls, actions, anchor)
    if anchor is not None:
        fitted = with_gate(fitted, sets, sorted(held))
    return with_spread(fitted, table)


def _held_out(sets: CellSets, training: StTraining) -> set[int]:
    labels = sorted({action.label for action in sets.action_p if action.targets})
    n_held = max(1, round(training.gate_share * len(labels)))
    if len(labels) < 4:
        raise VcModelError(f"st: expected 4 perturbations or more to choose the gate on, found {len(labels)}.")
    chosen = set(np.random.default_rng([training.seed, 7]).permutation(labels)[:n_held].tolist())
    return {at for at, action in enumerate(sets.action_p) if action.label in chosen}
