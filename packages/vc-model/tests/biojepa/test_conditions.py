"""The action stage from conditions: what it learns, where it starts, and what its gate lets through."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from vc_model.anchored import Anchored
from vc_model.biojepa import crossfit
from vc_model.biojepa.actions import make_action_bank, relearn
from vc_model.biojepa.change import change_of
from vc_model.biojepa.conditions import ConditionBatches, make_lessons
from vc_model.biojepa.config import BioJepaConfig
from vc_model.biojepa.crossfit import StagePlan, cross_fit, folds_for
from vc_model.biojepa.fitted import FittedBioJepa, with_gates
from vc_model.biojepa.pooled import MeanLatents, PooledLatents, pool_latents
from vc_model.biojepa.stages import bind, init_part
from vc_model.errors import TableError
from vc_model.table.folds import OutOfFold, recall
from vc_model.table.pseudobulk import ControlCells, load_control_cells, load_tables
from vc_model.testing import make_world
from vc_model.train.loop import TrainConfig
from vc_model.train.optimiser import OptimiserConfig

G, D = 40, 16
CFG = BioJepaConfig.tiny(n_genes=G, width=D, n_layers=1, target_width=64, action_width=32)
STEPS = 120


def plan(stage, steps=STEPS):
    run = TrainConfig(steps=steps, optimiser=OptimiserConfig(peak_rate=1e-2), seed=0)
    return StagePlan(stage, 16, run)


PLANS = [plan("ac")]
"""The action stage trains the decoder, too; what comes after it is one more program to compile."""


@pytest.fixture(scope="module", autouse=True)
def quick_compiler():
    """These tests compile much and compute little; what was set before is set again, as child processes have it, too."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


class Setting:
    """A world with a frozen encoder that was never trained, and control cells."""

    def __init__(self, **world):
        self.world = make_world(n_train=40, n_test=12, n_genes=G, n_cells=100, measured_targets=False, **world)
        self.table = self.world.train
        encoder = init_part("encoder", CFG, 0)
        self.parts = {"encoder": encoder, "teacher": encoder}
        self.means = MeanLatents(CFG, encoder)
        rng = np.random.default_rng(1)
        x_ng = np.maximum(self.table.contexts.base_cg[0] + 0.3 * rng.standard_normal((24, G)), 0).astype(np.float32)
        self.cells = ControlCells(("A",), np.zeros(24, int), x_ng, np.full(24, 8, np.float32))
        context = self.means.of(x_ng, self.cells.total_n)
        # What a latent changes by per unit of expression, the same direction in every gene.
        direction = rng.standard_normal(D).astype(np.float32)
        change = (self.table.half_pg[..., None] * direction).astype(np.float16)
        self.pooled = PooledLatents(context[None], change)
        targets = [t for c in (self.table.conditions, self.world.test) for a in c.actions for t in a.targets]
        self.bank = make_action_bank(
            self.table, targets, seq_width=CFG.seq_width, target_width=64, modality_widths=CFG.modality_widths
        )

    def lessons(self, base=None, name=""):
        return make_lessons(self.table, self.pooled, self.cells, self.means, base, name)

    def cross_fit(self, lessons, folder=None):
        folds = folds_for(self.table, self.world.test, 3, 0)
        return cross_fit(
            CFG, self.table, lessons, PLANS, self.parts, lambda table: relearn(self.bank, table), folds, folder
        )

    def error(self, delta):
        return float(((delta - self.world.truth_qg) ** 2).mean())


@pytest.fixture(scope="module")
def good():
    return Setting(features="good")


@pytest.fixture(scope="module")
def learnt(good):
    """Cross-fit and final model of a world whose base says nothing and whose features say all."""
    row = np.arange(len(good.table))
    nothing = OutOfFold(row, np.full(len(row), 1), {"nothing": np.zeros_like(good.table.half_pg)})
    lessons = good.lessons(nothing, "nothing")
    held = good.cross_fit(lessons)
    parts = crossfit._Trainer(CFG, PLANS).train(lessons, np.arange(len(lessons)), good.bank, good.parts)
    return lessons, held, parts


def test_a_gate_opens_where_held_out_targets_are_predicted_and_the_model_is_then_better(good, learnt):
    lessons, held, parts = learnt
    assert held.gate_b[1] > 0.3 and (held.fold_m >= 0).all()
    fitted = FittedBioJepa(CFG, parts, (), good.table.contexts, good.cells, good.bank)
    fitted = with_gates(fitted, good.table, lessons, held)
    prediction = fitted.predict(good.world.test)
    assert good.error(prediction.delta_pg) < 0.8 * good.error(np.zeros_like(good.world.truth_qg))
    low, high = prediction.interval(0.9)
    assert 0.75 < ((low <= good.world.truth_qg) & (good.world.truth_qg <= high)).mean() <= 1


def test_the_measured_change_is_learnt(good, learnt):
    lessons, _, parts = learnt
    said = change_of(
        CFG, parts, lessons.start(np.arange(40), np.arange(G)), good.bank.arrays(lessons.conditions.actions)
    )
    truth = good.world.train_truth_pg
    assert ((said - truth) ** 2).mean() < 0.5 * (truth**2).mean()


def test_before_training_the_answer_is_the_base_to_the_bit(good):
    base = Anchored().fit(good.table)
    parts = good.parts | {part: init_part(part, CFG, 0) for part in ("predictor", "composer", "decoder")}
    fitted = FittedBioJepa(CFG, parts, (), good.table.contexts, good.cells, good.bank, base=base)
    # XLA of jax before 0.12 may compile two equal decodings differently in the last bit.
    last_bit = 0 if jax.__version_info__ >= (0, 12) else 1e-6
    np.testing.assert_allclose(
        fitted.delta(good.world.test), base.predict(good.world.test).delta_pg, rtol=0, atol=last_bit
    )
    closed = replace(fitted, gate_b=np.zeros(7, np.float32), spread=base.spread)
    one, other = closed.predict(good.world.test), base.predict(good.world.test)
    np.testing.assert_array_equal(one.delta_pg, other.delta_pg)
    np.testing.assert_array_equal(one.var_pg, other.var_pg)


def test_the_gate_stays_closed_where_nothing_is_known_beyond_the_base(tmp_path, monkeypatch):
    setting = Setting(features="useless")
    Anchored().fit(setting.table)
    lessons = setting.lessons(recall(setting.table, "anchored"), "anchored")
    held = setting.cross_fit(lessons, tmp_path)
    assert not held.gate_b.any() and held.change_mg.any()

    def refuse(*_):
        raise AssertionError("a finished fold is not trained again")

    monkeypatch.setattr(crossfit._Trainer, "train", refuse)
    np.testing.assert_array_equal(setting.cross_fit(lessons, tmp_path).change_mg, held.change_mg)
    changed = replace(lessons, base_mg=lessons.base_mg + 1)
    with pytest.raises(AssertionError, match="finished fold"):
        setting.cross_fit(changed, tmp_path)


def test_hold_outs_know_nothing_of_their_own_targets(good):
    fold = folds_for(good.table, good.world.test, 3, 0)[0]
    changed = good.table.with_effects(good.table.delta_pg + np.isin(np.arange(40), fold.test)[:, None] * 5)
    one, other = (relearn(good.bank, table.subset(fold.train)) for table in (good.table, changed))
    np.testing.assert_allclose(one.target_et, other.target_et, rtol=1e-4, atol=1e-5)
    with pytest.raises(TableError, match="Give the same banks"):
        relearn(good.bank, replace(good.table, bank=None))


def test_batches_are_functions_of_seed_and_step(good):
    lessons = good.lessons()
    one, other = (ConditionBatches(lessons, good.bank, batch_size=4, seed=3) for _ in range(2))
    first = [next(iter(one)) for _ in range(3)][2]
    other.set_state({"step": 2})
    jax.tree.map(np.testing.assert_array_equal, first, next(iter(other)))
    assert one.get_state() == other.get_state() == {"step": 3}
    whole = ConditionBatches(lessons, good.bank, batch_size=4, seed=3).at(0)
    parts = [ConditionBatches(lessons, good.bank, batch_size=2, seed=3, process=(at, 2)).at(0) for at in (0, 1)]
    np.testing.assert_array_equal(whole["x_goal"][0::2], parts[0]["x_goal"])
    np.testing.assert_array_equal(whole["x_goal"][1::2], parts[1]["x_goal"])
    with pytest.raises(TableError, match="at least one"):
        ConditionBatches(lessons, good.bank, batch_size=0, seed=0)


def test_few_genes_stand_for_all(good, quick_jit):
    """What a subset of genes is predicted is nearly what it is predicted among all."""
    predictor = init_part("predictor", CFG, 0)
    rng = np.random.default_rng(0)
    predictor["mean"]["kernel"] = rng.standard_normal((D, D)).astype(np.float32)
    z = rng.standard_normal((2, G, D)).astype(np.float32)
    token, mask = rng.standard_normal((2, 1, 32)).astype(np.float32), np.ones((2, 1), bool)
    gene = np.sort(rng.choice(G, 30, replace=False))

    @quick_jit
    def run(p, z, gene):
        return bind("predictor", CFG, p)(z, token, mask, gene=gene)[0]

    whole, part = run(predictor, z, np.arange(G))[:, gene], run(predictor, z[:, gene], gene)
    assert np.abs(whole - part).mean() < 0.1 * np.abs(whole - z[:, gene]).mean()
    moved = run(predictor, z[:, ::-1], np.arange(G)[::-1])[:, ::-1]
    np.testing.assert_allclose(moved[:, gene], whole, rtol=1e-4, atol=1e-4)


def test_pooled_latents_are_means_less_those_of_controls_of_the_same_batches(tiny, quick_jit):
    screen, splits, adata = tiny()
    table, _, _ = load_tables(screen, splits)
    cfg = BioJepaConfig.tiny(n_genes=len(table.genes), n_layers=1)
    encoder = init_part("encoder", cfg, 0)
    controls = load_control_cells(screen, splits, table.genes, 8)
    pooled = pool_latents(screen, splits, MeanLatents(cfg, encoder), controls, table.conditions, table.genes, 99)
    counts = np.asarray(adata[:, list(table.genes)].X.todense())
    total = adata.obs["total_counts"].to_numpy(float)
    x = np.log1p(counts * 1e4 / total[:, None]).astype(np.float32)
    z = np.asarray(quick_jit(bind("encoder", cfg, encoder))(x, np.log1p(total).astype(np.float32)))
    obs, roles = adata.obs, json.loads(splits.read_text())["controls"]
    reference = obs.index.isin(roles["reference"])
    for row, (line, label) in enumerate(zip(table.conditions.cell_line, table.conditions.perturbation, strict=True)):
        of_line = (obs["cell_line"] == line).to_numpy()
        cells = np.flatnonzero(of_line & (obs["perturbation"] == label).to_numpy())
        beside = []
        for batch in obs["batch"].to_numpy()[cells]:
            same = of_line & reference & (obs["batch"] == batch).to_numpy()
            beside += [z[same].mean(axis=0)] if same.any() else []
        expected = z[cells].mean(axis=0) - np.mean(beside, axis=0)
        np.testing.assert_allclose(pooled.change_pgd[row], expected, atol=5e-3)
