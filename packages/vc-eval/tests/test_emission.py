import numpy as np
import pytest
from vc_eval.cells import emission
from vc_eval.rank import de


@pytest.fixture(scope="module")
def controls():
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(0.7, 2.0, 200), (400, 200))
    return np.log1p(counts * rng.uniform(0.5, 2, (400, 1))).astype(np.float32)


def test_emitted_mean_is_the_predicted_mean(controls):
    drawn = emission.draw_cells(200, 60, seed=0, condition="A|X")
    base = controls[:200].mean(0)
    target = np.maximum(base + np.random.default_rng(1).normal(0, 0.3, 200), 0)
    target[0] = 0.0  # out of reach: factors are capped on both sides
    assert base[0] > 0
    cells = emission.emit_cells(controls[:200], drawn, target).toarray()
    reachable = ((controls[:200][drawn] > 0).mean(0) > 0.2) & (target > 0.1 * base)
    assert reachable.sum() > 80
    np.testing.assert_allclose(cells.mean(0, dtype=np.float64)[reachable], target[reachable], atol=1e-6)
    np.testing.assert_array_equal(cells > 0, controls[:200][drawn] > 0)  # zeros stay zeros, detected stays detected
    np.testing.assert_allclose(np.expm1(cells[:, 0]), np.expm1(controls[:200][drawn][:, 0]) / 100, rtol=1e-4)


def test_factor_is_capped_and_the_residual_says_so(controls):
    drawn = emission.draw_cells(200, 60, seed=0, condition="A|X")
    target = np.full((1, 200), 20.0)
    result = emission.emit_table(
        emission.prepare_input(controls[:200]), [drawn], target, de.sort_control(controls[200:])
    )
    cells = emission.emit_cells(controls[:200], drawn, target[0]).toarray()
    np.testing.assert_allclose(np.expm1(cells), np.expm1(controls[:200][drawn]) * 100, rtol=1e-4)
    np.testing.assert_allclose(result.residual_pg[0], cells.mean(0, dtype=np.float64) - 20, atol=1e-5)


def test_one_pass_equals_emitting_then_testing(controls):
    names = ["A|X", "A|Y", "A|Z"]
    drawn = [emission.draw_cells(200, n, seed=3, condition=name) for name, n in zip(names, (1, 40, 75), strict=True)]
    profile = np.maximum(controls[:200].mean(0) + np.random.default_rng(2).normal(0, 0.4, (3, 200)), 0)
    sorted_control = de.sort_control(controls[200:])
    found = emission.emit_table(emission.prepare_input(controls[:200]), drawn, profile, sorted_control).table
    cells = np.vstack(
        [emission.emit_cells(controls[:200], d, g).toarray() for d, g in zip(drawn, profile, strict=True)]
    )
    expected = de.test_groups(cells, np.repeat(np.arange(3), [1, 40, 75]), 3, sorted_control)
    np.testing.assert_array_equal(found.u_pg, expected.u_pg)
    np.testing.assert_array_equal(found.p_value_pg, expected.p_value_pg)
    np.testing.assert_allclose(found.mean_pg, expected.mean_pg, rtol=1e-12)


def test_no_change_makes_no_calls(controls):
    drawn = [emission.draw_cells(200, 60, seed=0, condition=f"A|{k}") for k in range(20)]
    profile = np.tile(controls[:200].mean(0, dtype=np.float64), (20, 1))
    table = emission.emit_table(
        emission.prepare_input(controls[:200]), drawn, profile, de.sort_control(controls[200:])
    ).table
    assert table.significant_pg.mean() < 0.002


def test_identical_cells_inflate_significance_where_resampled_cells_do_not(controls):
    profile = np.tile(controls[:200].mean(0, dtype=np.float64), (2, 1))
    control = de.sort_control(controls[200:])
    drawn = [emission.draw_cells(200, 60, seed=0, condition=f"A|{k}") for k in range(2)]
    resampled = emission.emit_table(emission.prepare_input(controls[:200]), drawn, profile, control).table
    tiled = emission.tile_table(profile[0], np.array([60, 60]), control)
    assert tiled.significant_pg.sum() > 20 * max(1, resampled.significant_pg.sum())


def test_tile_table_equals_testing_identical_cells(controls):
    profile = np.maximum(controls[0] + np.float32(0.1), 0).astype(np.float32)
    profile[:50] = controls[300, :50]  # values that tie with controls, zeros among them
    control = de.sort_control(controls[200:])
    found = emission.tile_table(profile, np.array([7, 30]), control)
    expected = de.test_groups(np.repeat(profile[None], 37, axis=0), np.repeat([0, 1], [7, 30]), 2, control)
    np.testing.assert_array_equal(found.u_pg, expected.u_pg)
    np.testing.assert_array_equal(found.p_value_pg, expected.p_value_pg)


def test_draws_depend_on_seed_and_condition_only():
    a = emission.draw_cells(50, 120, seed=1, condition="A|X")
    np.testing.assert_array_equal(a, emission.draw_cells(50, 120, seed=1, condition="A|X"))
    assert (a != emission.draw_cells(50, 120, seed=2, condition="A|X")).any()
    assert (a != emission.draw_cells(50, 120, seed=1, condition="A|Y")).any()
    assert np.bincount(a, minlength=50).max() == 3  # 120 of 50: none more often than needed
    assert np.bincount(a, minlength=50).min() == 2
