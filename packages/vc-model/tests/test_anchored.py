from dataclasses import replace

import numpy as np
import pytest
from vc_model.anchored import Anchored, AnchoredConfig, ResidualConfig, make_stacked
from vc_model.anchored.gate import fit_gate
from vc_model.anchored.gp import GPConfig
from vc_model.anchored.network import _fit
from vc_model.anchored.residual import make_context_map, train_residuals
from vc_model.anchored.stack import fall_back, make_moments, stack_weights
from vc_model.baselines import EFFECTS
from vc_model.table.denoise import denoise
from vc_model.table.effects import Action, Conditions
from vc_model.table.folds import BINS
from vc_model.testing import make_world

# Without the Gaussian process, which test_gp.py is about and which would leave the residual nothing to find.
SMALL = AnchoredConfig(gp=None, members=0, residual=ResidualConfig(hidden=32, rank=16, directions=32, steps=150))
STACK = replace(SMALL, residual=None, direct=False)


def mse(prediction, truth):
    return float(((prediction - truth) ** 2).mean())


@pytest.fixture(scope="module")
def pairs():
    """A world whose combinations interact, and the model fitted on it."""
    world = make_world(
        n_train=60, n_test=10, n_combos=150, n_test_combos=40, n_genes=80, interaction=0.3, features="good"
    )
    return world, Anchored(SMALL).fit(world.train), Anchored(STACK).fit(world.train)


def test_useless_features_cost_nothing_against_the_mean_effect():
    gaps = []
    for seed in range(2):
        world = make_world(n_train=120, n_test=60, n_genes=100, features="useless", seed=seed)
        stacked = make_stacked().fit(world.train).predict(world.test).delta_pg
        gaps.append(
            mse(stacked, world.truth_qg) / mse(EFFECTS["mean_effect"](world.train).delta(world.test), world.truth_qg)
        )
    assert np.mean(gaps) < 1.01


def test_stacking_beats_ridge_alone_where_features_are_curved():
    gaps = []
    for seed in range(2):
        world = make_world(n_train=150, n_test=80, n_genes=80, features="good", curvature=0.3, seed=seed)
        stacked = make_stacked().fit(world.train).predict(world.test).delta_pg
        gaps.append(
            mse(stacked, world.truth_qg) / mse(EFFECTS["feature_ridge"](world.train).delta(world.test), world.truth_qg)
        )
    assert np.mean(gaps) < 0.8


def test_shuffled_labels_score_like_the_mean_effect():
    world = make_world(n_train=100, n_test=50, n_genes=80, features="good")
    rng = np.random.default_rng(0)
    shuffled = tuple(world.train.conditions.actions[row] for row in rng.permutation(len(world.train)))
    conditions = Conditions(world.train.conditions.cell_line, shuffled, world.train.contexts)
    fitted = Anchored(replace(SMALL, gp=GPConfig())).fit(replace(world.train, conditions=conditions))
    ratio = mse(fitted.predict(world.test).delta_pg, world.truth_qg) / mse(
        EFFECTS["mean_effect"](world.train).delta(world.test), world.truth_qg
    )
    assert 0.97 < ratio < 1.03


def test_a_world_without_effects_is_predicted_to_have_none():
    world = make_world(n_train=60, n_test=30, n_genes=80, effect=0, mean_effect=0, features="good", n_combos=20)
    fitted = Anchored(SMALL).fit(world.train)
    prediction = fitted.predict(world.test)
    noise = float(world.train.noise_pg().mean())
    assert float((prediction.delta_pg**2).mean()) < 0.02 * noise
    assert float(prediction.var_pg.mean()) < 0.1 * noise


def test_the_interaction_is_found_and_beats_the_stack(pairs):
    world, fitted, stacked = pairs
    combos = world.test.sizes == 2
    before = mse(stacked.predict(world.test).delta_pg[combos], world.truth_qg[combos])
    after = mse(fitted.predict(world.test).delta_pg[combos], world.truth_qg[combos])
    assert fitted.gate_b2[BINS.index("combo_measured"), 1] > 0
    assert after < 0.6 * before


def test_residuals_of_equal_shapes_are_compiled_once_and_keep_their_seeds():
    table = make_world(n_train=20, n_test=2, n_genes=30, features="good").train
    n = len(table)
    rows, held = np.arange(n), [(np.zeros(n, dtype=bool), np.zeros(n, dtype=bool))]

    def train(seed):
        config = ResidualConfig(hidden=8, rank=4, directions=8, steps=20, seed=seed)
        found = train_residuals(
            table, table.conditions, np.ones(n, int), rows, table.delta_pg, np.ones(n), held, config
        )
        return found[0].weights

    first, compiled = train(seed=0), _fit._cache_size()
    other, again = train(seed=1), train(seed=0)
    assert _fit._cache_size() == compiled
    assert any((first[path] != other[path]).any() for path in first)
    assert all((first[path] == again[path]).all() for path in first)


def test_a_line_far_from_all_trained_ones_is_none_further_to_the_residual():
    table = make_world(n_train=20, n_genes=30, lines=("A", "B", "C", "D"), held_out_line="D").train
    # Known lines hardly differ, so a unit of the coordinates is a short way.
    vectors = {line: np.array([1, 1 + at * 1e-2, 0], np.float32) for at, line in enumerate("ABC")}
    table = table.described_by(vectors | {"D": np.array([1, 100, 0], np.float32)})
    context_map, contexts = make_context_map(table), table.contexts
    trained_lq = context_map.transform(np.array(["A", "B", "C"]), contexts)
    assert np.ptp(trained_lq, axis=0).max() > 1
    found_q = context_map.transform(np.array(["D"]), contexts)[0]
    np.testing.assert_array_equal(found_q, np.where(trained_lq[2] > 0, trained_lq.max(axis=0), trained_lq.min(axis=0)))


def test_singles_have_exactly_no_interaction(pairs):
    world, fitted, _ = pairs
    singles = world.train.conditions.subset(world.train.single_p)
    r1, r2 = fitted.residual.delta(singles, np.ones(len(singles), dtype=int))
    assert (r2 == 0).all()
    assert np.abs(r1).max() > 0


def test_targets_may_be_named_in_any_order(pairs):
    world, fitted, _ = pairs
    combos = world.test.subset(world.test.sizes == 2)
    turned = Conditions(
        combos.cell_line, tuple(Action(action.targets[::-1], action.mode) for action in combos.actions), combos.contexts
    )
    np.testing.assert_array_equal(fitted.predict(turned).delta_pg, fitted.predict(combos).delta_pg)


def test_shut_gates_leave_the_stack(pairs):
    world, fitted, stacked = pairs
    shut = replace(fitted, gate_b2=np.zeros_like(fitted.gate_b2), direct=None)
    np.testing.assert_array_equal(shut.predict(world.test).delta_pg, stacked.predict(world.test).delta_pg)


def test_the_gaussian_process_is_one_more_anchor_and_better_than_the_stack_without():
    world = make_world(n_train=60, n_test=30, n_genes=80, lines=("A", "B"), features="weak")
    with_gp = replace(STACK, gp=GPConfig())
    fitted, without = (Anchored(config).fit(world.train) for config in (with_gp, STACK))
    assert fitted.stack.names[-2:] == ("gp", "measured")
    assert fitted.stack.weight_bj[BINS.index("unseen"), -2] > 0.2
    after, before = (mse(model.predict(world.test).delta_pg, world.truth_qg) for model in (fitted, without))
    assert after < before


def test_an_empty_action_changes_nothing(pairs):
    world, fitted, _ = pairs
    prediction = fitted.predict(Conditions(np.array(["A"]), (Action(()),)))
    assert not prediction.delta_pg.any()
    assert not prediction.var_pg.any()
    np.testing.assert_array_equal(prediction.mean_pg, prediction.base_pg)
    np.testing.assert_allclose(prediction.base_pg, world.train.contexts.base_cg[:1], atol=0.05)


def test_unknown_targets_and_triples_get_finite_predictions(pairs):
    _, fitted, _ = pairs
    conditions = Conditions(
        np.array(["A"] * 3), (Action(("?",), 0), Action(("G0", "?"), 5, 2.0), Action(("G0", "G1", "G2"), 0))
    )
    prediction = fitted.predict(conditions)
    assert np.isfinite(prediction.delta_pg).all()
    assert (prediction.var_pg > 0).all()


def test_predictions_do_not_depend_on_what_else_is_asked(pairs):
    world, fitted, _ = pairs
    whole = fitted.predict(world.test).delta_pg
    last = fitted.predict(world.test.subset(np.array([len(world.test) - 1]))).delta_pg
    np.testing.assert_allclose(last[0], whole[-1], atol=1e-5)


def test_the_same_seed_gives_the_same_bytes(pairs):
    world, fitted, _ = pairs
    again = Anchored(SMALL).fit(replace(world.train))
    np.testing.assert_array_equal(again.predict(world.test).delta_pg, fitted.predict(world.test).delta_pg)


def test_without_training_combinations_pairs_are_sums_of_what_is_known():
    world = make_world(n_train=60, n_test=10, n_genes=60, features="good")
    fitted = make_stacked().fit(world.train)
    pair = fitted.predict(
        Conditions(np.array(["A", "A"]), (Action(("G0", "G1"), 0), Action(("G0", "G65"), 0)))
    ).delta_pg
    measured = denoise(world.train).table.delta_pg
    np.testing.assert_allclose(pair[0], measured[0] + measured[1], atol=1e-5)
    new = fitted.predict(Conditions(np.array(["A"]), (Action(("G65",), 0),))).delta_pg[0]
    np.testing.assert_allclose(pair[1], measured[0] + new, atol=1e-5)


def test_intervals_of_unseen_targets_cover_their_share():
    inside = []
    for seed in range(3):
        world = make_world(n_train=120, n_test=60, n_genes=80, features="weak", seed=seed)
        prediction = make_stacked().fit(world.train).predict(world.test)
        z = np.abs(prediction.delta_pg - world.truth_qg) / np.sqrt(prediction.var_pg)
        inside.append([(z < 0.9945).mean(), (z < 1.645).mean()])
    np.testing.assert_allclose(np.mean(inside, axis=0), [0.68, 0.9], atol=0.08)


def test_the_perturbed_gene_itself_follows_its_control_expression():
    world = make_world(n_train=100, n_test=30, n_genes=150, features="none", effect=0.1)
    table = world.train
    delta, half, check, truth = (x.copy() for x in (table.delta_pg, table.half_pg, table.check_pg, world.truth_qg))
    for array, conditions in (
        (delta, table.conditions),
        (half, table.conditions),
        (check, table.conditions),
        (truth, world.test),
    ):
        for row, action in enumerate(conditions.actions):
            gene = table.gene_position[action.targets[0]]
            array[row, gene] = -0.7 * table.contexts.input_cg[0, gene]
    table = replace(table, delta_pg=delta, half_pg=half, check_pg=check)
    fitted = Anchored(replace(SMALL, residual=None)).fit(table)
    assert fitted.direct.slope_m[0] == pytest.approx(-0.7, abs=0.05)
    own = np.array([table.gene_position[action.targets[0]] for action in world.test.actions])
    rows = np.arange(len(own))
    found = fitted.predict(world.test).delta_pg[rows, own]
    assert mse(found, truth[rows, own]) < 0.1 * float((truth[rows, own] ** 2).mean())


def test_a_gate_opens_for_support_and_not_for_noise():
    rng = np.random.default_rng(0)
    error = rng.standard_normal((60, 40))
    fold, group = np.arange(60) % 5, np.arange(60)
    assert fit_gate(error, 0.5 * error, np.ones(60), fold, group) == 1
    assert fit_gate(error, 2.0 * error, np.ones(60), fold, group) == pytest.approx(0.5)
    assert fit_gate(error, -error, np.ones(60), fold, group) == 0
    opened = [fit_gate(error, rng.standard_normal((60, 40)), np.ones(60), fold, group) for _ in range(40)]
    assert np.mean(np.array(opened) > 0) < 0.2
    # One lucky group is no support.
    lucky = np.zeros_like(error)
    lucky[0] = error[0]
    assert fit_gate(error, lucky, np.ones(60), fold, group) == 0


def test_stacking_weights_are_least_squares_pulled_to_the_best_anchor():
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 200, 30)).astype(np.float32)
    truth = 0.6 * first + 0.3 * second

    def weights(guesses, truth, prior):
        moments = make_moments(guesses, truth, np.ones(len(truth)))
        return stack_weights(moments, np.arange(len(truth)), prior, np.random.default_rng(1)).mean(axis=0)

    np.testing.assert_allclose(weights([first, second], truth, 0.0), [0.6, 0.3], atol=1e-4)
    np.testing.assert_allclose(weights([first, second], truth, 200.0), [(0.6 + 1) / 2, 0.15], atol=0.03)
    assert not weights([first], -first, 1.0).any()


def test_a_stack_that_rather_predicts_nothing_keeps_a_direction():
    rng = np.random.default_rng(0)
    guess = rng.standard_normal((6, 400)).astype(np.float32)
    # Three units speak for the guess and three against it, a little more loudly.
    truth = guess * np.array([0.5, 0.5, 0.5, -0.6, -0.6, -0.6], dtype=np.float32)[:, None]
    moments = make_moments([guess], truth, np.ones(6))
    draws = stack_weights(moments, np.arange(6), 1.0, np.random.default_rng(1))
    assert 0 < draws.mean() < 0.3
    assert (draws == 0).any()


def fallen(guesses, truth):
    moments, unit = make_moments(guesses, truth, np.ones(len(truth))), np.arange(len(truth))
    draws = stack_weights(moments, unit, 3.0, np.random.default_rng(1))
    return fall_back(moments, unit, draws, 3.0, np.random.default_rng(2), range(len(guesses))), draws


def test_a_stack_that_is_not_clearly_better_gives_way_to_one_scaled_anchor():
    rng = np.random.default_rng(0)
    guesses = [rng.standard_normal((12, 60)).astype(np.float32) for _ in range(6)]
    noise = rng.standard_normal((12, 60)).astype(np.float32)
    # One anchor is right up to a scale: no stack of six can be better than that.
    found, draws = fallen(guesses, 0.5 * guesses[2] + 0.05 * noise)
    assert found.mean(axis=0)[2] == pytest.approx(0.5, abs=0.05)
    # No anchor is right: what is left says hardly anything, but still something.
    found, draws = fallen(guesses, noise)
    assert 0 < found.mean(axis=0).sum() < 0.5 * draws.mean(axis=0).sum()
    # Two anchors are each half of the truth: the stack is clearly better and stays.
    found, draws = fallen(guesses, guesses[0] + guesses[1] + 0.3 * noise)
    np.testing.assert_allclose(found.mean(axis=0), draws.mean(axis=0), atol=0.1)
    assert found.std(axis=0).max() > 0
