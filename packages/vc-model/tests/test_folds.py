from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vc_model.baselines import effect_factories
from vc_model.table.effects import Action, Conditions
from vc_model.table.folds import (
    BINS,
    all_folds,
    combo_folds,
    known_actions,
    line_and_target_folds,
    line_folds,
    out_of_fold,
    target_folds,
    target_groups,
    transfer_folds,
)
from vc_model.table.validation import out_of_fold_scores
from vc_model.testing import make_world

LEARNERS = ("mean_effect", "txpert_general", "additive_scaled", "knn", "feature_ridge", "pls", "kernel_ridge")


@pytest.fixture(scope="module")
def table():
    return make_world(n_train=20, n_test=4, n_genes=40, lines=("A", "B"), n_combos=10, interaction=0.2).train


def targets_of(table, rows):
    return {target for row in rows for target in table.conditions.actions[row].targets}


def test_target_folds_hold_a_target_out_of_every_line_and_combination(table):
    folds = target_folds(table, 5, 0)
    singles = np.flatnonzero(table.single_p)
    assert sorted(np.concatenate([np.intersect1d(fold.test, singles) for fold in folds])) == singles.tolist()
    for fold in folds:
        held = targets_of(table, np.intersect1d(fold.test, singles))
        assert not held & targets_of(table, fold.train)
        assert len(fold.train) + len(fold.test) == len(table)


def test_other_folds_hold_out_what_they_say(table):
    for fold in line_folds(table):
        assert not set(table.conditions.cell_line[fold.train]) & set(table.conditions.cell_line[fold.test])
    for fold in line_and_target_folds(table, 2, 0):
        assert not set(table.conditions.cell_line[fold.train]) & set(table.conditions.cell_line[fold.test])
        held_singles = fold.test[table.conditions.sizes[fold.test] == 1]
        assert not targets_of(table, held_singles) & targets_of(table, fold.train)
    for fold in combo_folds(table, 5, 0):
        assert (table.conditions.sizes[fold.test] == 2).all()
        assert table.single_p[fold.train].sum() == table.single_p.sum()
    for fold in transfer_folds(table, 5, 0):
        for row in fold.test:
            (target,) = table.conditions.actions[row].targets
            others = [r for r in fold.train if table.conditions.actions[r].targets == (target,)]
            assert others
            assert all(table.conditions.cell_line[r] != table.conditions.cell_line[row] for r in others)


def test_bins_tell_what_the_table_knows(table):
    seen = table.conditions.actions[0]
    pair = next(action for action in table.conditions.actions if len(action.targets) == 2)
    pairs = {action.targets for action in table.conditions.actions if len(action.targets) == 2}
    new_pair = next(("G0", f"G{number}") for number in range(1, 20) if ("G0", f"G{number}") not in pairs)
    cases = {
        ("A", seen): "measured",
        ("A", pair): "measured",
        ("A", Action(("new",), 0)): "unseen",
        ("A", Action(seen.targets, 1)): "transfer",
        ("Z", seen): "new_line",
        ("Z", Action(("new",), 0)): "new_line_unseen",
        ("A", Action(new_pair, 0)): "combo_measured",
        ("A", Action(("G0", "new"), 0)): "combo_unmeasured",
        ("Z", Action(new_pair, 0)): "combo_unmeasured",
    }
    conditions = Conditions(np.array([line for line, _ in cases]), tuple(action for _, action in cases))
    assert [BINS[kind] for kind in known_actions(table).bins(conditions)] == list(cases.values())


def test_all_bins_but_measured_are_covered_by_two_lines_with_combinations(table):
    oof = out_of_fold(effect_factories(["mean_effect"]), table, all_folds(table))
    assert {BINS[kind] for kind in np.unique(oof.bin_m)} == set(BINS) - {"measured"}
    instances = list(zip(oof.row_m.tolist(), oof.bin_m.tolist(), strict=True))
    assert len(set(instances)) == len(instances)


def test_scores_out_of_fold_have_the_mix_of_kinds_that_is_asked(table):
    factories = effect_factories(["no_change", "mean_effect"])
    asked = Conditions(np.array(["A", "A"]), (Action(("new",), 0), Action(("other",), 0)))
    found = out_of_fold_scores(table, asked, factories)
    oof = out_of_fold(factories, table, all_folds(table))
    unseen = oof.bin_m == BINS.index("unseen")
    truth_mg = table.check_pg[oof.row_m][unseen]
    assert found.loc["no_change", "mse_delta"] == pytest.approx((truth_mg**2).mean(), rel=1e-5)
    assert found.loc["no_change", "pearson_delta"] == 0
    rs = [np.corrcoef(a, b)[0, 1] for a, b in zip(oof.delta_mg["mean_effect"][unseen], truth_mg, strict=True)]
    assert found.loc["mean_effect", "pearson_delta"] == pytest.approx(np.mean(rs), rel=1e-4)


def test_groups_join_lines_modes_and_doses():
    conditions = Conditions(np.array(["A", "B", "A"]), (Action(("x",), 0), Action(("x",), 1, 2.0), Action(("y",), 0)))
    group_p = target_groups(conditions)
    assert group_p[0] == group_p[1] != group_p[2]


@settings(max_examples=8, deadline=None)
@given(fold=st.integers(0, 4), seed=st.integers(0, 1000), name=st.sampled_from(LEARNERS))
def test_predictions_of_a_fold_do_not_change_when_its_data_become_noise(table, fold, seed, name):
    chosen = target_folds(table, 5, 0)[fold]
    factories = effect_factories([name])
    before = out_of_fold(factories, table, [chosen]).delta_mg[name]
    noisy = table.delta_pg.copy()
    noisy[chosen.test] = 10 * np.random.default_rng(seed).standard_normal((len(chosen.test), noisy.shape[1]))
    cells = table.n_cells_p.copy()
    cells[chosen.test] = 3
    poisoned = replace(table, delta_pg=noisy, n_cells_p=cells, n_controls_p=cells)
    np.testing.assert_allclose(out_of_fold(factories, poisoned, [chosen]).delta_mg[name], before, rtol=1e-4, atol=1e-5)
