"""How much of the action stage to trust: it is trained again without some targets and judged on them.

Every fold starts from the same parameters, and what is known of targets is taken from the fold's own training conditions.
The encoder has seen cells of all training conditions, without being told which is which; nothing of test conditions enters.
A gate per kind of condition (`vc_model.table.folds.BINS`) is the share of the change that is added to the base: 0 where held-out
conditions do not support any. Kinds that no fold holds out keep the base. Without a base the gate is a mere shrinkage, the
least-squares share, and kinds that no fold holds out get the mean of the others.

Letters: m lessons, g genes, b kinds of conditions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from vc_contracts.progress import progress

from vc_model.anchored.gate import fit_gate, least_squares_share
from vc_model.biojepa.actions import ActionBank
from vc_model.biojepa.change import change_of
from vc_model.biojepa.conditions import ConditionBatches, Lessons, without
from vc_model.biojepa.config import BioJepaConfig, Stage
from vc_model.biojepa.stages import decay_mask, init_stage, make_loss
from vc_model.table.effects import Conditions, EffectTable
from vc_model.table.folds import (
    BINS,
    Fold,
    combo_folds,
    known_actions,
    known_before,
    line_folds,
    target_folds,
    transfer_folds,
    units,
)
from vc_model.train.loop import TrainConfig
from vc_model.train.optimiser import make_optimiser
from vc_model.train.sharding import fetch, make_mesh, put_batch
from vc_model.train.state import Stage as TrainStage
from vc_model.train.state import make_state, make_step

MOST_LINES = 3
"""Cell lines that are held out in turn, where lines without training are asked about."""


@dataclass(frozen=True)
class StagePlan:
    """How one stage is trained.

    Attributes:
        stage: Which.
        batch: Lessons of an update.
        run: Steps, optimiser, mesh and seed.
    """

    stage: Stage
    batch: int
    run: TrainConfig


@dataclass(frozen=True, eq=False)
class CrossFit:
    """What held-out conditions said.

    Attributes:
        change_mg: [m, g] float32 predicted change of lessons that were held out; 0 for the others.
        fold_m: [m] which fold held a lesson out, -1 for none.
        gate_b: [b] float32 share of the change to add to the base.
    """

    change_mg: np.ndarray
    fold_m: np.ndarray
    gate_b: np.ndarray


def folds_for(table: EffectTable, asked: Conditions, n_folds: int, seed: int) -> list[Fold]:
    """Hold-outs of targets, and those of further kinds that will be asked about.

    Args:
        table: Training effects.
        asked: What will be asked; nothing of it is used but its names.
        n_folds: Folds over targets; half as many of each other kind, at least two.
        seed: Deals them.
    """
    kinds = {BINS[kind] for kind in np.unique(known_actions(table).bins(asked))}
    few, folds = max(2, n_folds // 2), target_folds(table, n_folds, seed)
    if kinds & {"transfer"}:
        folds += transfer_folds(table, few, seed)
    if kinds & {"new_line", "new_line_unseen"}:
        folds += line_folds(table)[:MOST_LINES]
    if kinds & {"combo_measured"}:
        folds += combo_folds(table, few, seed)
    return folds


def cross_fit(
    cfg: BioJepaConfig,
    table: EffectTable,
    lessons: Lessons,
    plans: Sequence[StagePlan],
    parts: Mapping[str, Any],
    bank_of: Callable[[EffectTable], ActionBank],
    folds: Sequence[Fold],
    folder: Path | None = None,
) -> CrossFit:
    """Train the last stages once per fold, predict what was left out, and choose the gates.

    Args:
        cfg: The model.
        table: Training effects.
        lessons: Made of that table.
        plans: The stages, in order.
        parts: Trained parts before these stages.
        bank_of: Vectors of targets, from the training effects of a fold alone.
        folds: Hold-outs.
        folder: Where finished folds are kept, so that an interrupted run need not repeat them.
    """
    trainer = _Trainer(cfg, plans)
    change_mg, fold_m = np.zeros_like(lessons.effect_mg), np.full(len(lessons), -1)
    for number, fold in enumerate(progress(list(folds), desc="held-out targets")):
        bin_p = np.full(len(table), -1)
        bin_p[fold.test] = known_before(table, fold.train).bins(table.conditions.subset(fold.test))
        held = np.flatnonzero((bin_p[lessons.row_m] == lessons.bin_m) & (fold_m < 0))
        allowed = without(lessons, fold.test)
        if not len(held) or not len(allowed):
            continue
        key = np.array([len(allowed), float(lessons.base_mg[held].sum()), *(plan.run.steps for plan in plans)])
        found = None if folder is None else _recall(folder / f"{number}.npz", key, held)
        if found is None:
            bank = bank_of(table.subset(fold.train))
            found = _predict(cfg, trainer.train(lessons, allowed, bank, parts), lessons, held, bank)
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                np.savez(folder / f"{number}.npz", key=key, held=held, found=found)
        change_mg[held], fold_m[held] = found, number
    return CrossFit(change_mg, fold_m, fit_gates(table, lessons, change_mg, fold_m))


def fit_gates(table: EffectTable, lessons: Lessons, change_mg: np.ndarray, fold_m: np.ndarray) -> np.ndarray:
    """[b] float32 gate of each kind of condition, judged on effects against `input` controls.

    Args:
        table: Training effects.
        lessons: Made of that table.
        change_mg: [m, g] predictions of lessons that were held out.
        fold_m: [m] which fold did; -1 for none.
    """
    gate_b, judged_b = np.zeros(len(BINS), np.float32), np.zeros(len(BINS), bool)
    # Without a base a closed gate is no answer at all, so the share need not prove itself.
    unit_m, alone = units(lessons.conditions), lessons.start_mgd is None
    for kind in range(len(BINS)):
        rows = np.flatnonzero((lessons.bin_m == kind) & (fold_m >= 0))
        if len(np.unique(fold_m[rows])) > 1:
            error_mg = table.check_pg[lessons.row_m[rows]] - lessons.base_mg[rows]
            judged = error_mg, change_mg[rows], lessons.weight_m[rows]
            gate_b[kind] = least_squares_share(*judged) if alone else fit_gate(*judged, fold_m[rows], unit_m[rows])
            judged_b[kind] = True
    if alone and judged_b.any():
        gate_b[~judged_b] = gate_b[judged_b].mean()
    return gate_b


def _recall(path: Path, key: np.ndarray, held: np.ndarray) -> np.ndarray | None:
    """What a finished fold of the same run left, or None."""
    if not path.exists():
        return None
    with np.load(path) as kept:
        same = np.array_equal(kept["key"], key) and np.array_equal(kept["held"], held)
        return kept["found"] if same else None


def _predict(
    cfg: BioJepaConfig, parts: Mapping[str, Any], lessons: Lessons, held: np.ndarray, bank: ActionBank
) -> np.ndarray:
    every = np.arange(lessons.effect_mg.shape[1])
    conditions = lessons.conditions.subset(held)
    blocks = [slice(at, at + 64) for at in range(0, len(held), 64)]
    found = [
        change_of(cfg, parts, lessons.start(held[rows], every), bank.arrays(conditions.actions[rows]))
        for rows in blocks
    ]
    return np.concatenate(found)


class _Trainer:
    """Trains the stages many times with programs that are compiled once."""

    def __init__(self, cfg: BioJepaConfig, plans: Sequence[StagePlan]) -> None:
        self._cfg, self._plans = cfg, plans
        self._steps: dict[str, Any] = {}

    def train(
        self, lessons: Lessons, allowed: np.ndarray, bank: ActionBank, parts: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The parts after all stages, learnt from the allowed lessons alone."""
        import jax

        done = dict(parts)
        for plan in self._plans:
            process = (jax.process_index(), jax.process_count())
            size = plan.batch // process[1]
            batches = ConditionBatches(
                lessons, bank, batch_size=size, seed=plan.run.seed, allowed=allowed, process=process
            )
            params, frozen = init_stage(plan.stage, self._cfg, plan.run.seed, done)
            mesh = make_mesh(plan.run.mesh)
            optimiser, step = self._compiled(plan, params)
            state, shardings = make_state(params, frozen, optimiser, mesh, self._cfg.n_genes)
            if step is None:
                stage = TrainStage(plan.stage, make_loss(plan.stage, self._cfg))
                step = make_step(stage, optimiser, shardings, plan.run.seed, plan.run.steps)
                self._steps[plan.stage] = optimiser, step
            with jax.set_mesh(mesh):
                for number in range(plan.run.steps):
                    state, _ = step(state, put_batch(batches.at(number), mesh))
            done |= fetch(dict(state.params))
        return done

    def _compiled(self, plan: StagePlan, params: dict[str, Any]) -> tuple[Any, Any]:
        if plan.stage in self._steps:
            return self._steps[plan.stage]
        decay = decay_mask(params, self._cfg)
        return make_optimiser(plan.run.optimiser, plan.run.steps, params, decay), None
