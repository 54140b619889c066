from dataclasses import replace

import numpy as np
from vc_model.doubt.support import make_support
from vc_model.table.denoise import denoise, shrink
from vc_model.table.effects import Action, Conditions
from vc_model.testing import make_world


def mse(a, b):
    return float(((a - b) ** 2).mean())


def test_noise_is_shrunk_to_nothing_and_strong_effects_are_left_alone():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((3, 2000))
    assert shrink(noise).max() < 0.5
    assert mse(shrink(noise) * noise, 0) < 0.02
    strong = noise + 12 * rng.standard_normal((3, 2000))
    assert np.mean(shrink(strong)) > 0.9


def test_a_few_strong_genes_survive_among_noise():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((1, 2000))
    z[0, :20] += 10
    kept = shrink(z)
    assert kept[0, :20].min() > 0.8
    assert np.median(kept[0, 20:]) < 0.1


def test_factors_grow_with_the_estimate():
    z = np.random.default_rng(0).standard_normal((2, 500)) * np.array([[1.0], [3.0]])
    for row, kept in zip(np.abs(z), shrink(z), strict=True):
        order = np.argsort(row)
        assert (np.diff(kept[order]) >= -1e-6).all()


def test_posterior_means_are_nearer_to_the_truth_than_measurements():
    for effect, mean_effect in ((0.0, 0.0), (0.0, 0.2), (0.2, 0.0), (0.2, 0.2)):
        world = make_world(
            n_train=20, n_test=1, n_genes=600, effect=effect, mean_effect=mean_effect, noise=1.0, features="none"
        )
        clean = denoise(world.train).table.delta_pg
        assert mse(clean, world.train_truth_pg) < mse(world.train.delta_pg, world.train_truth_pg)


def test_the_reference_moves_by_what_the_mean_effect_loses():
    world = make_world(n_train=30, n_test=1, n_genes=400, effect=0, mean_effect=0, noise=1.0, features="none")
    found = denoise(world.train)
    lost = world.train.delta_pg.mean(axis=0) - found.table.delta_pg.mean(axis=0)
    np.testing.assert_allclose(found.shift_cg[0], lost, atol=0.01)


def test_what_is_judged_on_input_controls_has_not_seen_them():
    world = make_world(n_train=20, n_test=1, n_genes=50)
    other = replace(world.train, check_pg=world.train.check_pg + 1, delta_pg=world.train.delta_pg + 0.5)
    np.testing.assert_array_equal(denoise(other.half).table.delta_pg, denoise(world.train.half).table.delta_pg)
    assert np.abs(denoise(other).table.delta_pg - denoise(world.train).table.delta_pg).max() > 0.1


def test_support_covers_what_training_saw_or_features_describe():
    world = make_world(n_train=10, n_test=2, n_genes=20, features="none")
    support = make_support(world.train)
    actions = (
        Action(("G0",), 0), Action(("G11",), 0), Action(("?",), 0), Action(("G0",), 1), Action(("G0", "G1", "G2"), 0),
        Action(("G0",), 0, 1.0), Action((), 0),
    )  # fmt: skip
    lines = np.array(["A"] * len(actions))
    assert support.covers(Conditions(lines, actions)).tolist() == [True, True, False, False, False, False, True]
    assert not support.covers(Conditions(np.array(["B"]), (Action(("G0",), 0),)))[0]
