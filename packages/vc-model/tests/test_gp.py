from dataclasses import replace

import numpy as np
import pytest
from vc_model.anchored.gp import GPConfig, fit_gp, shorten
from vc_model.anchored.kernels import covariances, make_rows
from vc_model.baselines.blup import fit_variances
from vc_model.errors import TableError
from vc_model.table.effects import Action, Conditions
from vc_model.table.features import make_features
from vc_model.testing import make_world


def mse(prediction, truth):
    return float(((prediction - truth) ** 2).mean())


def every_kernel(x_conditions, y_conditions, table, width=1.0):
    features = make_features(table)
    x, y = make_rows(x_conditions, features), make_rows(y_conditions, features)
    return dict(covariances(x, y, np.full(len(features.blocks) + 1, width)))


@pytest.fixture(scope="module")
def pairs():
    world = make_world(
        n_train=20, n_test=5, n_combos=30, n_test_combos=10, n_genes=50, lines=("A", "B"), interaction=0.3
    )
    return world, fit_gp(world.train, GPConfig())


def test_weights_of_kernels_are_found():
    rng = np.random.default_rng(0)
    n, n_genes = 60, 4000
    code = rng.standard_normal((n, 3))
    kernels = [np.ones((n, n)), code @ code.T, np.diag(np.arange(n) % 2.0)]
    total = np.eye(n) + 0.5 * kernels[0] + 0.2 * kernels[1]
    y = np.linalg.cholesky(total) @ rng.standard_normal((n, n_genes))
    np.testing.assert_allclose(fit_variances(kernels, np.eye(n), y @ y.T / n_genes), [0.5, 0.2, 0], atol=0.05)


def test_every_kernel_is_symmetric_and_positive(pairs):
    world, _ = pairs
    table = world.train
    for name, kernel in every_kernel(table.conditions, table.conditions, table).items():
        np.testing.assert_allclose(kernel, kernel.T, atol=1e-9, err_msg=name)
        assert np.linalg.eigvalsh(kernel).min() >= -1e-6 * np.trace(kernel), name


def test_the_kernel_of_pairs_sums_over_pairs_of_targets():
    world = make_world(n_train=6, n_test=2, n_genes=20)
    triple = Conditions(np.array(["A"]), (Action(("G0", "G1", "G2"), 0),))
    pair = Conditions(np.array(["A"]), (Action(("G1", "G2"), 0),))
    other = Conditions(np.array(["A"]), (Action(("G1", "G4"), 0),))
    assert every_kernel(triple, pair, world.train)["same pair"] == pytest.approx(1)
    assert every_kernel(triple, other, world.train)["same pair"] == pytest.approx(0)
    assert every_kernel(triple, pair, world.train)["pairs"] == pytest.approx(2 * 3 * 1)


def test_single_targets_have_exactly_no_interaction(pairs):
    world, fitted = pairs
    singles = world.train.conditions.subset(world.train.single_p)
    between = every_kernel(world.train.conditions, world.train.conditions, world.train)
    of_pairs = [name for name in between if "pair" in name]
    assert len(of_pairs) == 4
    assert not any(between[name][world.train.single_p].any() for name in of_pairs)
    alone = replace(
        fitted,
        kernels=tuple(name for name in fitted.kernels if "pair" not in name),
        weight_k=np.array([w for name, w in zip(fitted.kernels, fitted.weight_k, strict=True) if "pair" not in name]),
    )
    np.testing.assert_array_equal(alone.delta(singles), fitted.delta(singles))


def test_without_pair_kernels_combinations_are_additive(pairs):
    world, _ = pairs
    fitted = fit_gp(world.train, GPConfig(pairs=False))
    pair = Conditions(np.array(["A"] * 3), (Action(("G0", "G1"), 0), Action(("G0",), 0), Action(("G1",), 0)))
    delta = fitted.delta(pair)
    np.testing.assert_allclose(delta[0], delta[1] + delta[2], atol=1e-3)


def test_pairs_that_interact_are_predicted_better_with_their_own_kernels():
    world = make_world(
        n_train=20, n_test=5, n_combos=80, n_test_combos=30, n_genes=50, interaction=0.4, features="good"
    )
    combos = world.test.sizes == 2
    error = {
        use: mse(fit_gp(world.train, GPConfig(pairs=use)).delta(world.test)[combos], world.truth_qg[combos])
        for use in (False, True)
    }
    assert error[True] < 0.8 * error[False]


def test_features_that_say_nothing_get_no_weight_and_good_ones_do():
    share = {}
    for quality in ("useless", "good"):
        world = make_world(n_train=80, n_test=10, n_genes=100, features=quality)
        fitted = fit_gp(world.train, GPConfig())
        bank = sum(w for name, w in zip(fitted.kernels, fitted.weight_k, strict=True) if name.startswith("bank"))
        share[quality] = bank / fitted.weight_k.sum()
    assert share["useless"] < 0.15
    assert share["good"] > 0.7


def test_noise_that_lines_share_is_not_taken_for_an_effect():
    world = make_world(n_train=60, n_test=20, n_genes=80, effect=0, mean_effect=0)
    delta = fit_gp(world.train, GPConfig()).delta(world.test)
    assert float((delta**2).mean()) < 0.02 * float(world.train.noise_pg().mean())


def test_a_gene_that_never_responds_is_left_alone():
    world = make_world(n_train=80, n_test=20, n_genes=100, features="good")
    table = world.train
    rng = np.random.default_rng(0)
    quiet = slice(60, 100)
    delta = table.delta_pg.copy()
    delta[:, quiet] = np.sqrt(table.noise_pg()[:, quiet]) * rng.standard_normal((len(table), 40))
    table = replace(table, delta_pg=delta, check_pg=delta)
    own = fit_gp(table, GPConfig(common_rows=0.0)).delta(world.test)
    alike = fit_gp(table, GPConfig(common_rows=1e9)).delta(world.test)
    assert (own[:, quiet] ** 2).mean() < 0.1 * (alike[:, quiet] ** 2).mean()


def test_lines_that_look_alike_respond_alike():
    lines = tuple("ABCDEF")
    world = make_world(n_train=1, n_test=0, n_genes=300, lines=lines, held_out_line="F", noise=0.1, effect=0.01)
    table, rng = world.train, np.random.default_rng(0)
    kind = np.array([0, 0, 0, 1, 1, 1])
    profile = rng.gamma(2, 0.5, (2, 300))[kind] + 0.05 * rng.standard_normal((6, 300))
    effect = (0.3 * rng.standard_normal((2, 300)))[kind]
    contexts = replace(table.contexts, input_cg=profile.astype(np.float32))
    delta = effect[:5].astype(np.float32)
    conditions = Conditions(table.conditions.cell_line, table.conditions.actions, contexts)
    table = replace(table, contexts=contexts, conditions=conditions, delta_pg=delta, check_pg=delta)
    asked = Conditions(np.array(["F"]), (table.conditions.actions[0],), contexts)
    error = {use: mse(fit_gp(table, GPConfig(context=use)).delta(asked)[0], effect[5]) for use in (False, True)}
    assert error[True] < 0.5 * error[False]


def test_lines_may_be_described_by_vectors_from_outside():
    lines = tuple("ABCDEF")
    world = make_world(n_train=1, n_test=0, n_genes=100, lines=lines, held_out_line="F", noise=0.1, effect=0.01)
    table, rng = world.train, np.random.default_rng(0)
    kind = np.array([0, 0, 0, 1, 1, 1])
    effect = (0.3 * rng.standard_normal((2, 100)))[kind]
    delta = effect[:5].astype(np.float32)
    table = replace(table, delta_pg=delta, check_pg=delta)
    vectors = {line: kind[at] + 0.1 * rng.standard_normal(4) for at, line in enumerate(lines)}
    told = table.described_by(vectors)
    asked = Conditions(np.array(["F"]), (table.conditions.actions[0],), told.contexts)
    plain = replace(asked, contexts=table.contexts)
    error = mse(fit_gp(told, GPConfig()).delta(asked)[0], effect[5])
    assert error < 0.5 * mse(fit_gp(table, GPConfig()).delta(plain)[0], effect[5])
    with pytest.raises(TableError, match="same `contexts` as fit"):
        fit_gp(told, GPConfig()).delta(plain)
    with pytest.raises(TableError, match="found none for"):
        table.described_by({"A": np.ones(3)})


def test_predictions_do_not_depend_on_what_else_is_asked(pairs):
    world, fitted = pairs
    whole = fitted.delta(world.test)
    some = np.array([0, len(world.test) - 1])
    np.testing.assert_allclose(fitted.delta(world.test.subset(some)), whole[some], atol=1e-5)


def test_shortened_it_says_the_same_and_no_less_about_targets_it_has_seen(pairs):
    world, fitted = pairs
    short = shorten(fitted)
    assert len(short.smooth_rg) < len(fitted.basis_pg)
    for conditions in (world.test, world.train.conditions):
        whole = fitted.delta(conditions)
        assert mse(short.delta(conditions), whole) < 2e-3 * float((whole**2).mean())


def test_a_warm_start_ends_where_a_cold_one_does(pairs):
    world, fitted = pairs
    rows = np.arange(len(world.train)) % 5 > 0
    table = world.train.subset(rows)
    cold, warm = (fit_gp(table, GPConfig(), start=start).delta(world.test) for start in (None, fitted))
    assert mse(cold, warm) < 1e-3 * float((cold**2).mean())
