import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from vc_model.anchored import Anchored
from vc_model.doubt.conformal import MIN_UNITS, fit_conformal
from vc_model.errors import TableError
from vc_model.table.effects import Action, Conditions
from vc_model.table.folds import BINS
from vc_model.testing import make_world

UNSEEN = BINS.index("unseen")


def scores(n, n_genes, rng, scale=1.0):
    """Heavy-tailed: every perturbation has a size of its own."""
    return np.abs(scale * rng.gamma(1.0, 1.0, (n, 1)) * rng.standard_normal((n, n_genes)))


def one_line(score_mg):
    n = len(score_mg)
    return fit_conformal(("A",), {"unseen": (score_mg, np.arange(n), np.zeros(n, dtype=int))}, {})


@given(n=st.integers(5, 40), level=st.floats(0.05, 0.95))
@settings(deadline=None)
def test_new_perturbations_are_inside_at_least_as_often_as_promised_and_not_much_more(n, level):
    rng = np.random.default_rng(n)
    covered = []
    for _ in range(200):
        drawn = scores(n + 1, 8, rng)
        conformal = one_line(drawn[:-1])
        width = conformal.width(conformal.tables(np.array(["A"]), np.array([UNSEEN])), level)
        covered.append((drawn[-1] <= width).mean())
    error = 3 * np.std(covered) / np.sqrt(len(covered))
    assert level - error <= np.mean(covered) <= level + 1 / (n + 1) + error + 0.02


def test_a_level_that_few_perturbations_cannot_promise_is_infinitely_wide():
    conformal = one_line(scores(9, 5, np.random.default_rng(0)))
    table = conformal.tables(np.array(["A"]), np.array([UNSEEN]))
    assert np.isfinite(conformal.width(table, 0.9)).all()
    assert np.isinf(conformal.width(table, 0.91)).all()
    with pytest.raises(ValueError, match="level"):
        conformal.width(table, 1.0)


@given(seed=st.integers(0, 10))
@settings(max_examples=5, deadline=None)
def test_widths_rise_with_the_level(seed):
    conformal = one_line(scores(30, 20, np.random.default_rng(seed)))
    table = conformal.tables(np.array(["A", "B"]), np.array([UNSEEN, 0]))
    widths = np.stack([conformal.width(table, level) for level in np.linspace(0.01, 0.99, 50)])
    assert (widths[1:] >= widths[:-1]).all()


def test_lines_have_their_own_thresholds_where_there_is_enough_and_say_what_they_have():
    rng = np.random.default_rng(0)
    n_a, n_b = MIN_UNITS + 5, MIN_UNITS - 5
    score_mg = np.concatenate([scores(n_a, 30, rng), scores(n_b, 30, rng, scale=5.0)])
    line_m = np.repeat([0, 1], [n_a, n_b])
    unit_m = np.concatenate([np.arange(n_a), np.arange(n_b)])
    conformal = fit_conformal(("A", "B"), {"unseen": (score_mg, unit_m, line_m)}, {"transfer": "unseen"})
    asked = np.array([UNSEEN, UNSEEN, BINS.index("transfer"), BINS.index("combo_measured")])
    tables = conformal.tables(np.array(["A", "B", "A", "A"]), asked)
    words = [conformal.basis_t[table] for table in tables]
    assert (
        words[0] == f"unseen: A, {n_a} perturbations" and words[1] == f"unseen: all lines together, {n_a} perturbations"
    )
    assert words[2].startswith("transfer: borrowed from unseen: A") and "Gaussian" in words[3]
    widths = conformal.width(tables, 0.8)
    assert widths[1] > widths[0] and widths[2] == widths[0]
    assert widths[3] == pytest.approx(1.2816, abs=1e-3)


@pytest.fixture(scope="module")
def fitted_world():
    world = make_world(n_train=60, n_test=40, n_genes=80, lines=("A", "B"), features="weak", held_out_line="B", seed=3)
    return world, Anchored().fit(world.train)


def test_intervals_of_unseen_perturbations_cover_the_truth(fitted_world):
    world, fitted = fitted_world
    test = world.test.subset(world.test.cell_line == "A")
    prediction = fitted.predict(test)
    truth = world.truth_qg[world.test.cell_line == "A"]
    for level in (0.5, 0.8, 0.9):
        lower, upper = prediction.interval(level)
        inside = ((lower <= truth) & (truth <= upper)).mean()
        assert abs(inside - level) < 0.1
    wide = prediction.interval(0.5, prediction.noise(100, 1000))
    assert (wide[1] - wide[0] > prediction.interval(0.5)[1] - prediction.interval(0.5)[0]).all()
    np.testing.assert_allclose(prediction.aleatoric_pg + prediction.epistemic_pg, prediction.var_pg, rtol=1e-5)
    assert prediction.epistemic_pg.mean() > 0
    assert set(prediction.basis_p) == {"unseen: A, 60 perturbations"}


def test_expected_errors_know_how_many_cells_will_be_measured(fitted_world):
    world, fitted = fitted_world
    at = world.test.cell_line == "A"
    test, truth_qg = world.test.subset(at), world.truth_qg[at]
    prediction = fitted.predict(test)
    n_cells = np.where(np.arange(len(test)) % 2 == 0, 1, 1000)
    noise_pg = prediction.noise(n_cells, 500)
    np.testing.assert_allclose(noise_pg[0], prediction.contexts.sigma2_cg[0] * (1 + 1 / 500), rtol=1e-6)
    np.testing.assert_array_equal(noise_pg[1], prediction.noise(1000, np.full(len(test), 500))[1])
    # Against effects that are measured on so many cells, the number of cells says which errors are large.
    measured_pg = truth_qg + np.random.default_rng(0).standard_normal(noise_pg.shape) * np.sqrt(noise_pg)
    error_p = ((measured_pg - prediction.delta_pg) ** 2).mean(axis=1)
    with_noise, without = (spearmanr(error_p, prediction.expected_error(part))[0] for part in (noise_pg, 0.0))
    assert with_noise > without + 0.1
    np.testing.assert_allclose(prediction.expected_error() ** 2, prediction.var_pg.mean(axis=1), rtol=1e-5)
    lower, upper = prediction.interval(0.8, noise_pg)
    assert abs(((lower <= measured_pg) & (measured_pg <= upper)).mean() - 0.8) < 0.1
    for wrong in (0, np.ones(3)):
        with pytest.raises(TableError, match="n_cells: expected one number above 0"):
            prediction.noise(wrong, 500)


def test_doing_nothing_is_certain_at_every_level(fitted_world):
    prediction = fitted_world[1].predict(Conditions(np.array(["A", "B"]), (Action(()), Action(()))))
    for level in (0.1, 0.999):
        lower, upper = prediction.interval(level)
        assert not lower.any() and not upper.any()


def test_a_new_line_is_recalibrated_from_few_measured_perturbations(fitted_world):
    fitted = fitted_world[1]
    # Effects of the new line are larger than any model of line A could know.
    both = make_world(
        n_train=60, n_test=40, n_genes=80, lines=("A", "B"), features="weak", seed=3, effect=1.2, mean_effect=0.5
    )
    shots = both.train.subset(both.train.conditions.cell_line == "B")
    few, rest = shots.subset(np.arange(25)), shots.subset(np.arange(25, 60))

    def coverage(model, level):
        prediction = model.predict(rest.conditions)
        lower, upper = prediction.interval(level, rest.noise_pg())
        return ((lower <= rest.check_pg) & (rest.check_pg <= upper)).mean()

    calibrated = fitted.recalibrated(few)
    assert coverage(fitted, 0.8) < 0.6
    assert abs(coverage(calibrated, 0.8) - 0.8) < 0.1
    assert "other lines" in calibrated.predict(rest.conditions).basis_p[0]
    np.testing.assert_array_equal(
        calibrated.predict(rest.conditions).delta_pg, fitted.predict(rest.conditions).delta_pg
    )


def test_genes_that_nothing_shows_do_not_narrow_the_intervals():
    score_mg = scores(30, 40, np.random.default_rng(0))
    silent_mg = np.concatenate([score_mg, np.full_like(score_mg, np.nan)], axis=1)
    table = one_line(score_mg).tables(np.array(["A"]), np.array([UNSEEN]))
    assert one_line(silent_mg).width(table, 0.6) == one_line(score_mg).width(table, 0.6)
