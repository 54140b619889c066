from dataclasses import replace

import numpy as np
from vc_model.contracts import FeatureBank
from vc_model.features import make_features
from vc_model.table import Action, Conditions
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
    table = replace(table, bank=replace(bank, missing_e=missing_e), conditions=conditions, _memo={})
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
    memo = {key: table._memo[key] for key in ("components", "gene_position", "line_p", "trained_lines", "single_p")}
    changed = make_features(replace(table, delta_pg=shifted, _memo=memo)).scores_gs
    np.testing.assert_allclose(changed, raw, atol=1e-4)
    assert np.abs(table.delta_pg - shifted).max() > 4


def test_mode_and_dose_move_the_features():
    table = make_world(n_train=20, n_genes=40).train
    actions = tuple(
        Action(action.targets, row % 2, float(row % 3)) for row, action in enumerate(table.conditions.actions)
    )
    table = replace(table, conditions=Conditions(table.conditions.cell_line, actions, table.contexts), _memo={})
    features = make_features(table)
    base = features.transform(one("A", "G3", 0, 1.0))
    assert np.abs(features.transform(one("A", "G3", 1, 1.0)) - base).max() > 0.1
    assert np.abs(features.transform(one("A", "G3", 0, 2.0)) - base).max() > 0.1


def test_the_bank_is_projected_on_what_training_targets_span():
    rng = np.random.default_rng(0)
    table = make_world(n_train=10, n_test=2, n_genes=30).train
    entities = tuple(f"G{i}" for i in range(12))
    bank = FeatureBank("wide", entities, rng.standard_normal((12, 200)).astype(np.float32), np.zeros(12, dtype=bool))
    features = make_features(replace(table, bank=bank, _memo={}))
    # Ten centred vectors span nine directions; distances between training targets survive.
    assert features.bank_eb.shape == (12, 9)
    before = np.linalg.norm(bank.vectors_ef[0] - bank.vectors_ef[5])
    np.testing.assert_allclose(np.linalg.norm(features.bank_eb[0] - features.bank_eb[5]), before, rtol=1e-4)
