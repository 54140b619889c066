from dataclasses import replace

import numpy as np
import pytest
from vc_model.anchored.gp import GPConfig, fit_gp
from vc_model.contracts import FeatureBank
from vc_model.table.effects import Action, Conditions
from vc_model.table.features import make_features
from vc_model.testing import make_world


def one(line, target, mode=0, dose=0.0):
    return Conditions(np.array([line]), (Action((target,), mode, dose),))


def test_training_features_are_standardised_and_blocks_weigh_the_same():
    table = make_world(n_train=40, n_genes=60, features="good").train
    features = make_features(table)
    x = features.transform(table.conditions)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
    for name in ("coexpression", "scores", "control", "bank"):
        np.testing.assert_allclose(x[:, features.blocks[name]].var(axis=0).sum(), 1, rtol=1e-3)


def test_a_target_that_is_neither_gene_nor_in_the_bank_has_zeros_and_says_so():
    table = make_world(n_train=40, n_genes=60, features="good").train
    # One training target outside the bank and one that is no gene, so that both masks vary in training.
    bank = table.bank
    missing_e = np.array([name == "G0" for name in bank.entities])
    actions = (*table.conditions.actions[:-1], Action(("drug",), 0))
    conditions = Conditions(table.conditions.cell_line, actions, table.contexts)
    table = replace(table, bank=replace(bank, missing_e=missing_e), conditions=conditions)
    features = make_features(table)
    x = features.transform(one("A", "nowhere"))[0]
    known = features.transform(one("A", "G1"))[0]
    for name in ("coexpression", "scores", "control", "bank"):
        assert not x[features.blocks[name]].any()
        assert known[features.blocks[name]].any()
    measured, banked = x[features.blocks["action"]][-2:], known[features.blocks["action"]][-2:]
    assert (measured < 0).all()
    assert (banked > 0).all()


def test_the_effect_of_a_perturbation_on_its_own_target_is_no_feature():
    table = make_world(n_train=40, n_genes=60, features="none").train
    raw = make_features(table).scores_gs
    shifted = table.delta_pg.copy()
    for row, action in enumerate(table.conditions.actions):
        shifted[row, table.gene_position[action.targets[0]]] -= 5
    # The same components, so that only what enters through the own entries could differ.
    changed = replace(table, delta_pg=shifted)
    for key in ("components", "line_p", "trained_lines", "single_p"):
        changed.once(key, lambda key=key: table._memo[key])
    changed = make_features(changed).scores_gs
    np.testing.assert_allclose(changed, raw, atol=1e-4)
    assert np.abs(table.delta_pg - shifted).max() > 4


def test_mode_and_dose_move_the_features():
    table = make_world(n_train=20, n_genes=40).train
    actions = tuple(
        Action(action.targets, row % 2, float(row % 3)) for row, action in enumerate(table.conditions.actions)
    )
    table = replace(table, conditions=Conditions(table.conditions.cell_line, actions, table.contexts))
    features = make_features(table)
    base = features.transform(one("A", "G3", 0, 1.0))
    assert np.abs(features.transform(one("A", "G3", 1, 1.0)) - base).max() > 0.1
    assert np.abs(features.transform(one("A", "G3", 0, 2.0)) - base).max() > 0.1


def test_the_bank_is_projected_on_what_training_targets_span():
    rng = np.random.default_rng(0)
    table = make_world(n_train=10, n_test=2, n_genes=30).train
    entities = tuple(f"G{i}" for i in range(12))
    bank = FeatureBank("wide", entities, rng.standard_normal((12, 200)).astype(np.float32), np.zeros(12, dtype=bool))
    features = make_features(replace(table, bank=bank))
    # Ten centred vectors span nine directions; distances between training targets survive.
    assert features.banks[0].vector_eb.shape == (12, 9)
    before = np.linalg.norm(bank.vectors_ef[0] - bank.vectors_ef[5])
    np.testing.assert_allclose(
        np.linalg.norm(features.banks[0].vector_eb[0] - features.banks[0].vector_eb[5]), before, rtol=1e-4
    )


def mse(prediction, truth):
    return ((prediction - truth) ** 2).mean(axis=1)


def sources(world, *, noise_dims=8, missing=0.0):
    """The world's informative bank, one of pure noise, and the informative one with some targets missing."""
    rng = np.random.default_rng(1)
    good = world.train.bank
    vectors = rng.standard_normal((len(good.entities), noise_dims)).astype(np.float32)
    noise = FeatureBank("noise", good.entities, vectors, np.zeros(len(vectors), dtype=bool))
    missing_e = rng.random(len(vectors)) < missing
    part = replace(good, vectors_ef=np.where(missing_e[:, None], 0, good.vectors_ef), missing_e=missing_e)
    return good, noise, part


def fit(table, *banks):
    return fit_gp(replace(table, bank=banks[0] if banks else None, more_banks=banks[1:]), GPConfig())


@pytest.fixture(scope="module")
def banks():
    world = make_world(n_train=70, n_test=60, n_genes=60, features="good")
    return world, sources(world, missing=0.3)


def test_every_source_has_a_block_and_a_mask_of_its_own(banks):
    world, (good, noise, part) = banks
    features = make_features(replace(world.train, bank=good, more_banks=(noise, part)))
    assert [name for name in features.blocks if name.startswith("bank")] == ["bank", "bank 2", "bank 3"]
    x = features.transform(world.train.conditions)
    absent = np.array(
        [part.missing_e[part.entities.index(action.targets[0])] for action in world.train.conditions.actions]
    )
    assert absent.any()
    assert not x[absent][:, features.blocks["bank 3"]].any()
    assert x[absent][:, features.blocks["bank"]].any(axis=1).all()
    mask = x[:, features.blocks["action"]][:, -1]
    assert (mask[absent] < 0).all() and (mask[~absent] > 0).all()


def test_an_informative_source_helps_also_beside_noise_and_where_it_is_missing_for_some(banks):
    world, (good, noise, part) = banks
    error = {
        name: mse(fit(world.train, *chosen).delta(world.test), world.truth_qg)
        for name, chosen in {"none": (), "good": (good,), "both": (noise, good), "part": (part,)}.items()
    }
    assert error["good"].mean() < 0.5 * error["none"].mean()
    # Beside noise it costs no more than the interval of the paired difference.
    more = error["both"] - error["good"]
    assert more.mean() < 2 * more.std(ddof=1) / np.sqrt(len(more)) + 0.05 * error["good"].mean()
    absent = np.array([part.missing_e[part.entities.index(action.targets[0])] for action in world.test.actions])
    assert error["part"][~absent].mean() < 0.6 * error["none"][~absent].mean()
    assert error["part"][absent].mean() < 1.1 * error["none"][absent].mean()


def test_a_source_of_pure_noise_hurts_no_more_than_its_interval(banks):
    world, (_, noise, _) = banks
    without, with_noise = (
        mse(fit(world.train, *chosen).delta(world.test), world.truth_qg) for chosen in ((), (noise,))
    )
    more = with_noise - without
    assert more.mean() < 2 * more.std(ddof=1) / np.sqrt(len(more)) + 0.01 * without.mean()
