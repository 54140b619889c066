from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cross_decomposition import PLSRegression
from vc_model.baselines import BASELINES, EFFECTS, effect_factories
from vc_model.baselines.pls import pls_coefficients
from vc_model.baselines.ridge import PENALTIES
from vc_model.baselines.singles import leave_group_out, make_problem
from vc_model.errors import VcModelError
from vc_model.table.effect import line_weights
from vc_model.table.effects import Action, Conditions
from vc_model.testing import make_world


def by_hand():
    """Two lines, four training rows with effects that are easy to add up; one gene."""
    table = make_world(n_train=4, n_test=1, n_genes=8, features="none").train
    contexts = replace(
        table.contexts,
        cell_lines=("A", "B", "C"),
        **{
            name: np.repeat(getattr(table.contexts, name), 3, axis=0)
            for name in ("input_cg", "sigma2_cg", "detected_cg", "loadings_cgk")
        },
    )
    actions = (Action(("x",), 0), Action(("y",), 0), Action(("x", "y"), 0), Action(("x",), 0))
    conditions = Conditions(np.array(["A", "A", "A", "B"]), actions, contexts)
    delta = np.repeat(np.array([[1.0], [2.0], [6.0], [5.0]], dtype=np.float32), 8, axis=1)
    cells = np.array([10, 30, 20, 40], dtype=np.float32)
    return replace(table, contexts=contexts, conditions=conditions, delta_pg=delta, n_cells_p=cells)


def ask(table, name, line, *targets):
    conditions = Conditions(np.array([line]), (Action(targets, 0),))
    delta = effect_factories([name])[name](table).delta(conditions)
    assert delta.shape == (1, 8)
    assert np.ptp(delta) < 1e-5 or "random" in name or "lowrank" in name
    return float(delta[0, 0])


@pytest.mark.parametrize(
    ("name", "line", "targets", "expected"),
    [
        ("no_change", "A", ("x",), 0),
        ("mean_effect", "A", ("z",), (1 + 2 + 6) / 3),
        ("mean_effect", "C", ("z",), (3 + 5) / 2),  # no training in C: mean over lines
        ("context_mean", "A", ("z",), (10 * 1 + 30 * 2 + 20 * 6) / 60),
        ("context_mean", "C", ("z",), 0),
        ("cell_line_mean", "A", ("z",), (10 * 1 + 30 * 2 + 20 * 6) / 60),
        ("cell_line_mean", "C", ("z",), (3 + 5) / 2),
        ("pert_mean", "C", ("x",), (1 + 5) / 2),
        ("pert_mean", "C", ("x", "y"), 6),
        ("pert_mean", "C", ("z",), 0),
        ("txpert_general", "C", ("x",), (10 * 1 + 40 * 5) / 50),
        ("txpert_general", "C", ("z",), (10 + 60 + 120 + 200) / 100),
        ("txpert_general", "C", ("x", "y"), 6),  # its own observed effect
        ("txpert_general", "C", ("x", "z"), (10 + 200) / 50 + 3.9),  # sum over components
        ("additive", "A", ("x", "y"), 1 + 2),
        ("additive", "A", ("x",), 1),
    ],
)
def test_definitions_by_hand(name, line, targets, expected):
    assert ask(by_hand(), name, line, *targets) == pytest.approx(expected, rel=1e-5)


def test_scaled_additive_finds_the_factors_of_the_larger_and_the_smaller_effect():
    table = make_world(n_train=40, n_test=1, n_genes=50, n_combos=60, features="none", noise=0.01).train
    delta = table.delta_pg.copy()
    row_of = {action: row for row, action in enumerate(table.conditions.actions)}
    for row, action in enumerate(table.conditions.actions):
        if len(action.targets) == 2:
            parts = [delta[row_of[Action((target,), 0)]] for target in action.targets]
            small, large = sorted(parts, key=np.linalg.norm)
            delta[row] = 0.9 * large + 0.4 * small
    effect = EFFECTS["additive_scaled"](replace(table, delta_pg=delta))
    np.testing.assert_allclose(effect.scale_2, [0.9, 0.4], atol=1e-3)


def test_a_missing_single_is_the_lowrank_prediction():
    world = make_world(n_train=20, n_test=5, n_genes=50)
    additive, lowrank = (EFFECTS[name](world.train) for name in ("additive", "lowrank_ridge"))
    np.testing.assert_allclose(additive.delta(world.test), lowrank.delta(world.test), atol=1e-6)


def test_lowrank_ridge_is_the_published_formula():
    world = make_world(n_train=30, n_test=8, n_genes=60)
    table = world.train
    profile = np.concatenate([table.contexts.input_cg, table.contexts.input_cg + table.delta_pg]).T.astype(float)
    centred = profile - profile.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    a = (left * size)[:, :10]
    y = np.concatenate([np.zeros((1, 60)), table.delta_pg]).T  # the control column comes first
    b = y.mean(axis=1, keepdims=True)
    genes = [table.gene_position[action.targets[0]] for action in table.conditions.actions]
    b_p = np.concatenate([np.zeros((1, 10)), a[genes]]).T
    ridge = 0.1 * np.eye(10)
    k = np.linalg.solve(a.T @ a + ridge, a.T @ (y - b) @ b_p.T) @ np.linalg.inv(b_p @ b_p.T + ridge)
    asked = [table.gene_position[action.targets[0]] for action in world.test.actions]
    expected = (a @ k @ a[asked].T + b).T
    np.testing.assert_allclose(EFFECTS["lowrank_ridge"](table).delta(world.test), expected, rtol=2e-3, atol=2e-4)
    unmeasured = Conditions(np.array(["A"]), (Action(("no gene",), 0),))
    np.testing.assert_allclose(EFFECTS["lowrank_ridge"](table).delta(unmeasured)[0], b[:, 0], atol=1e-5)


def test_feature_ridge_is_ridge_with_one_of_the_penalties():
    world = make_world(n_train=60, n_test=10, n_genes=40, features="good")
    table, effect = world.train, EFFECTS["feature_ridge"](world.train)
    problem = make_problem(table)
    x, mean = problem.x_sf, table.delta_pg.mean(axis=0)
    target = problem.z_sk @ problem.basis_rg[: problem.z_sk.shape[1]]  # the effects in their first 50 components
    x_test = problem.features.transform(world.test).astype(float)
    gram = x @ x.T
    guesses = []
    for penalty in PENALTIES * np.trace(gram) / len(x):
        coefficient = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ target)
        guesses.append(mean + x_test @ coefficient)
    gaps = [np.abs(effect.delta(world.test) - guess).max() for guess in guesses]
    assert min(gaps) < 1e-4
    # Leaving targets out by refitting, the slow way, picks the same penalty.
    errors = []
    for penalty in PENALTIES * np.trace(gram) / len(x):
        error = 0.0
        for row in range(len(x)):
            rest = np.arange(len(x)) != row
            fit = np.linalg.solve(x[rest].T @ x[rest] + penalty * np.eye(x.shape[1]), x[rest].T @ problem.z_sk[rest])
            error += ((problem.z_sk[row] - x[row] @ fit) ** 2).sum()
        errors.append(error)
    assert np.argmin(errors) == np.argmin(gaps)


def test_leave_group_out_is_refitting_without_the_group():
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((12, 5)), rng.standard_normal((12, 3))
    group = np.array([0, 0, 1, 2, 2, 2, 3, 4, 5, 5, 6, 7])
    left, size, _ = np.linalg.svd(x, full_matrices=False)
    keep = size**2 / (size**2 + 0.7)
    fast = leave_group_out(z - left @ (keep[:, None] * (left.T @ z)), left, keep, group)
    for number in np.unique(group):
        out = group == number
        fit = np.linalg.solve(x[~out].T @ x[~out] + 0.7 * np.eye(5), x[~out].T @ z[~out])
        np.testing.assert_allclose(fast[out], z[out] - x[out] @ fit, rtol=1e-5, atol=1e-7)


def test_pls_agrees_with_scikit_learn():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((40, 7))
    z = x @ rng.standard_normal((7, 4)) + 0.3 * rng.standard_normal((40, 4))
    x, z = x - x.mean(axis=0), z - z.mean(axis=0)
    for n, coefficient in enumerate(pls_coefficients(x, z, 4), start=1):
        reference = PLSRegression(n_components=n, scale=False, tol=1e-12, max_iter=5000).fit(x, z)
        np.testing.assert_allclose(x @ coefficient, reference.predict(x), atol=1e-5)


def test_line_weights_average_and_unknown_lines_get_the_mean_of_lines():
    table = by_hand()
    weights = line_weights(table, np.ones(4, dtype=bool), "conditions")
    np.testing.assert_allclose(weights, [[1 / 3] * 3 + [0], [0, 0, 0, 1], [1 / 6] * 3 + [1 / 2]], rtol=1e-6)


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_keeps_the_rules_of_the_interface(name):
    world = make_world(
        n_train=24, n_test=6, n_genes=30, lines=("A", "B"), n_combos=12, n_test_combos=6, held_out_line=None
    )
    fitted = BASELINES[name](seed=3).fit(world.train)
    prediction = fitted.predict(world.test)
    assert prediction.delta_pg.shape == world.truth_qg.shape
    assert all(np.isfinite(part).all() for part in (prediction.delta_pg, prediction.mean_pg, prediction.var_pg))
    assert (prediction.var_pg > 0).all()
    base_qg = world.train.contexts.base_cg[world.train.contexts.positions(world.test.cell_line)]
    np.testing.assert_array_equal(prediction.mean_pg, np.maximum(base_qg + prediction.delta_pg, 0))
    nothing = fitted.predict(Conditions(np.array(["A"]), (Action(()),)))
    assert not nothing.delta_pg.any()
    assert not nothing.var_pg.any()
    # A prediction depends on its condition alone, not on what else is asked, and a refit gives the same bytes.
    alone = fitted.predict(world.test.subset(np.array([4])))
    np.testing.assert_allclose(alone.delta_pg[0], prediction.delta_pg[4], atol=1e-6)
    again = BASELINES[name](seed=3).fit(replace(world.train)).predict(world.test)
    np.testing.assert_array_equal(again.delta_pg, prediction.delta_pg)
    np.testing.assert_array_equal(again.var_pg, prediction.var_pg)


@settings(deadline=None)
@given(
    name=st.sampled_from(["knn", "feature_ridge", "kernel_ridge", "pls", "lowrank_ridge"]),
    pair=st.permutations(range(6)),
)
def test_a_combination_is_the_sum_of_its_singles(name, pair):
    world = _shared_world()
    effect = world["effects"].setdefault(name, EFFECTS[name](world["table"]))
    targets = tuple(f"G{number}" for number in pair[:3])
    whole = effect.delta(Conditions(np.array(["A"]), (Action(targets, 0),)))
    parts = effect.delta(Conditions(np.array(["A"] * 3), tuple(Action((target,), 0) for target in targets)))
    np.testing.assert_allclose(whole[0], parts.sum(axis=0), atol=1e-5)


_CACHE = {}


def _shared_world():
    if not _CACHE:
        _CACHE.update(table=make_world(n_train=24, n_genes=30).train, effects={})
    return _CACHE


def test_useful_features_help_and_useless_ones_cost_almost_nothing():
    for quality, best in (("good", 0.3), ("useless", 1.03)):
        world = make_world(n_train=150, n_test=60, n_genes=120, features=quality)

        def error(name, world=world):
            return float(((EFFECTS[name](world.train).delta(world.test) - world.truth_qg) ** 2).mean())

        for name in ("feature_ridge", "kernel_ridge", "pls", "knn"):
            assert error(name) < (0.6 if name == "knn" and quality == "good" else best) * error("mean_effect")


def test_unknown_names_are_refused():
    with pytest.raises(VcModelError, match="oracle"):
        effect_factories(["oracle"])
