from dataclasses import replace

import numpy as np
import pytest
from vc_model.anchored import Anchored, AnchoredConfig
from vc_model.anchored.gate import fit_gate
from vc_model.baselines import EFFECTS
from vc_model.table.effects import Action, Conditions
from vc_model.testing import make_world

PLAIN = AnchoredConfig(direct=False)


def mse(prediction, truth):
    return float(((prediction - truth) ** 2).mean())


@pytest.fixture(scope="module")
def pairs():
    """A world whose combinations interact, and the model fitted on it."""
    world = make_world(
        n_train=40, n_test=10, n_combos=40, n_test_combos=20, n_genes=60, interaction=0.3, features="good"
    )
    return world, Anchored().fit(world.train)


def test_useless_features_cost_nothing_against_the_mean_effect():
    gaps = []
    for seed in range(2):
        world = make_world(n_train=120, n_test=60, n_genes=100, features="useless", seed=seed)
        said = Anchored(PLAIN).fit(world.train).predict(world.test).delta_pg
        gaps.append(
            mse(said, world.truth_qg) / mse(EFFECTS["mean_effect"](world.train).delta(world.test), world.truth_qg)
        )
    assert np.mean(gaps) < 1.01


def test_shuffled_labels_score_like_the_mean_effect():
    world = make_world(n_train=100, n_test=50, n_genes=80, features="good")
    rng = np.random.default_rng(0)
    shuffled = tuple(world.train.conditions.actions[row] for row in rng.permutation(len(world.train)))
    conditions = Conditions(world.train.conditions.cell_line, shuffled, world.train.contexts)
    fitted = Anchored().fit(replace(world.train, conditions=conditions))
    ratio = mse(fitted.predict(world.test).delta_pg, world.truth_qg) / mse(
        EFFECTS["mean_effect"](world.train).delta(world.test), world.truth_qg
    )
    assert 0.97 < ratio < 1.03


def test_a_world_without_effects_is_predicted_to_have_none():
    world = make_world(n_train=60, n_test=30, n_genes=80, effect=0, mean_effect=0, features="good", n_combos=20)
    fitted = Anchored().fit(world.train)
    prediction = fitted.predict(world.test)
    noise = float(world.train.noise_pg().mean())
    assert float((prediction.delta_pg**2).mean()) < 0.02 * noise
    assert float(prediction.var_pg.mean()) < 0.1 * noise


def test_targets_may_be_named_in_any_order(pairs):
    world, fitted = pairs
    combos = world.test.subset(world.test.sizes == 2)
    turned = Conditions(
        combos.cell_line, tuple(Action(action.targets[::-1], action.mode) for action in combos.actions), combos.contexts
    )
    np.testing.assert_array_equal(fitted.predict(turned).delta_pg, fitted.predict(combos).delta_pg)


def test_an_empty_action_changes_nothing(pairs):
    world, fitted = pairs
    prediction = fitted.predict(Conditions(np.array(["A"]), (Action(()),)))
    assert not prediction.delta_pg.any()
    assert not prediction.var_pg.any()
    np.testing.assert_array_equal(prediction.mean_pg, prediction.base_pg)
    np.testing.assert_allclose(prediction.base_pg, world.train.contexts.base_cg[:1], atol=0.05)


def test_unknown_targets_and_triples_get_finite_predictions(pairs):
    _, fitted = pairs
    conditions = Conditions(
        np.array(["A"] * 3), (Action(("?",), 0), Action(("G0", "?"), 5, 2.0), Action(("G0", "G1", "G2"), 0))
    )
    prediction = fitted.predict(conditions)
    assert np.isfinite(prediction.delta_pg).all()
    assert (prediction.var_pg > 0).all()


def test_predictions_do_not_depend_on_what_else_is_asked(pairs):
    world, fitted = pairs
    whole = fitted.predict(world.test).delta_pg
    last = fitted.predict(world.test.subset(np.array([len(world.test) - 1]))).delta_pg
    np.testing.assert_allclose(last[0], whole[-1], atol=1e-5)


def test_the_same_seed_gives_the_same_bytes(pairs):
    world, fitted = pairs
    again = Anchored().fit(replace(world.train))
    np.testing.assert_array_equal(again.predict(world.test).delta_pg, fitted.predict(world.test).delta_pg)


def test_intervals_of_unseen_targets_cover_their_share():
    inside = []
    for seed in range(3):
        world = make_world(n_train=120, n_test=60, n_genes=80, features="weak", seed=seed)
        prediction = Anchored(PLAIN).fit(world.train).predict(world.test)
        z = np.abs(prediction.delta_pg - world.truth_qg) / np.sqrt(prediction.var_pg)
        inside.append([(z < 0.9945).mean(), (z < 1.645).mean()])
    np.testing.assert_allclose(np.mean(inside, axis=0), [0.68, 0.9], atol=0.08)


def knocked_down(world, left_of):
    """A world whose targets lose all but a share of their transcripts, and the rows' own columns of what is asked."""
    table, rng = world.train, np.random.default_rng(0)
    control = table.contexts.input_cg[0]
    names = ("delta_pg", "half_pg", "check_pg")
    arrays = [getattr(table, name).copy() for name in names] + [world.truth_qg.copy()]
    own = []
    for conditions, changed in ((table.conditions, arrays[:3]), (world.test, arrays[3:])):
        own = np.array([table.gene_position[action.targets[0]] for action in conditions.actions])
        left = left_of(rng, len(own))
        for array in changed:
            array[np.arange(len(own)), own] = np.log1p(left * np.expm1(control[own])) - control[own]
    return replace(table, **dict(zip(names, arrays[:3], strict=True))), arrays[3], own


def test_the_perturbed_gene_itself_keeps_a_share_of_its_transcripts():
    world = make_world(n_train=100, n_test=30, n_genes=150, features="none", effect=0.1)
    table, truth, own = knocked_down(world, lambda rng, n: np.full(n, 0.2))
    fitted = Anchored().fit(table)
    assert fitted.direct.left_m[0] == pytest.approx(0.2, abs=0.04)
    rows = np.arange(len(own))
    found = fitted.predict(world.test).delta_pg[rows, own]
    assert mse(found, truth[rows, own]) < 0.02 * float((truth[rows, own] ** 2).mean())


def test_intervals_of_the_perturbed_gene_are_those_of_perturbed_genes():
    world = make_world(n_train=100, n_test=50, n_genes=150, features="none", effect=0.1, noise=0.02)
    table, truth, own = knocked_down(world, lambda rng, n: rng.uniform(0.05, 0.4, n))
    rows, asked = np.arange(len(own)), world.test
    prediction = Anchored().fit(table).predict(asked)
    width = prediction.conformal.width(prediction.table_p, 0.9)[:, None] * np.sqrt(prediction.var_pg)
    inside = np.abs(prediction.delta_pg - truth) <= width
    assert 0.8 <= inside[rows, own].mean() < 1
    # Errors of perturbed genes do not widen the others.
    others = np.ones(inside.shape, bool)
    others[rows, own] = False
    assert inside[others].mean() == pytest.approx(0.9, abs=0.05)


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


def test_with_few_conditions_the_model_is_their_mean():
    gains = []
    for seed in range(6):
        world = make_world(n_train=8, n_test=20, n_genes=150, features="useless", noise=0.5, seed=seed)
        said = Anchored(PLAIN).fit(world.train).predict(world.test).delta_pg
        mean = EFFECTS["mean_effect"](world.train).delta(world.test)
        gains.append(
            [np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(x, world.truth_qg, strict=True)]) for x in (said, mean)]
        )
    assert np.diff(np.mean(gains, axis=0)) < 0.02


def test_support_says_that_something_known_moved_the_prediction_and_how_good_such_answers_were():
    good = make_world(n_train=60, n_test=10, n_genes=60, features="good")
    fitted = Anchored().fit(good.train)
    said = fitted.predict(Conditions(np.array(["A", "A"]), (good.test.actions[0], Action(("?",), 0))))
    assert said.supported_p.tolist() == [True, False]
    assert said.accuracy_p[0] > 0.5
    # A bank that lists the targets and says nothing is no support.
    useless = make_world(n_train=60, n_test=10, n_genes=60, features="useless", mean_effect=0.5)
    listed = Anchored().fit(useless.train).predict(useless.test)
    plain = EFFECTS["mean_effect"](useless.train).delta(useless.test)
    same = np.linalg.norm(listed.delta_pg - plain, axis=1) < 0.05 * np.linalg.norm(plain, axis=1)
    assert not (listed.supported_p & same).any()


def test_the_variance_is_that_of_the_gaussian_process():
    world = make_world(n_train=40, n_test=10, n_genes=60, features="good")
    fitted = Anchored().fit(world.train)
    new, known = (fitted.gp.ask(asked).doubt_q for asked in (world.test, world.train.conditions))
    assert known.max() < new.min()
    assert (fitted.predict(world.test).epistemic_pg <= fitted.predict(world.test).var_pg).all()
