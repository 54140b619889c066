import numpy as np
import pytest
from vc_eval import testing
from vc_eval.contracts import read_splits
from vc_eval.split import ceiling
from vc_eval.split.truth import make_truth, measured_genes


def line(**world):
    screen = testing.make_screen(**world)
    return make_truth(screen, read_splits(testing.make_splits(screen), screen), "A", measured_genes(screen))


def test_halves_are_disjoint_equal_and_within_each_code():
    codes = np.repeat([0, 1, 2, 3], [5, 4, 1, 8])
    half = ceiling._halve(codes, np.random.default_rng(0), equal=True)
    for code, n in enumerate([5, 4, 1, 8]):
        assert ((half == 0) & (codes == code)).sum() == n // 2
        assert ((half == 1) & (codes == code)).sum() == n // 2
    uneven = ceiling._halve(codes, np.random.default_rng(0), equal=False)
    assert set(uneven) == {0, 1}
    assert (ceiling._halve(codes, np.random.default_rng(1), equal=True) != half).any()


def test_strong_effects_repeat_and_absent_ones_do_not():
    strong = ceiling.split_half(line(effect=1.0, n_genes=150), {}, seed=0, n_repeats=5, n_des=1)
    none = ceiling.split_half(line(effect=0.0, n_genes=150), {}, seed=0, n_repeats=20, n_des=1)
    assert strong["pearson_delta"].mean() > 0.5
    assert abs(none["pearson_delta"].mean()) < 0.08
    assert strong["vcc2025/des"].mean() > 0.4 > 0.1 > none["vcc2025/des"].mean()
    assert strong["centroid_accuracy"].mean() > 0.95


def test_more_cells_raise_the_ceiling():
    few = ceiling.split_half(line(n_cells=10, n_genes=150), {}, seed=0, n_repeats=5, n_des=0)
    many = ceiling.split_half(line(n_cells=120, n_controls=360, n_genes=150), {}, seed=0, n_repeats=5, n_des=0)
    assert many["pearson_delta"].mean() > few["pearson_delta"].mean() + 0.1
    assert "vcc2025/des" not in few


def test_conditions_of_fewer_than_four_cells_are_undefined():
    truth = line(n_cells=30)
    kept = ~((truth.group_n == 1) & (np.cumsum(truth.group_n == 1) > 3))
    small = ceiling.replace(truth, cells=truth.cells[kept], group_n=truth.group_n[kept], batch_n=truth.batch_n[kept])
    values = ceiling.split_half(small, {}, seed=0, n_repeats=2, n_des=1)
    for name, value in values.items():
        assert np.isnan(value).tolist() == [False, True, False, False], name


def test_spearman_brown():
    np.testing.assert_allclose(ceiling.spearman_brown(np.array([0.5, 1.0, 0.0, -0.2])), [2 / 3, 1, 0, -0.2])
    assert np.isnan(ceiling.spearman_brown(np.nan))


def test_same_seed_same_values_and_other_seed_others():
    truth = line(n_genes=50)
    first, again, other = (ceiling.split_half(truth, {}, seed=s, n_repeats=2, n_des=1) for s in (0, 0, 1))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert (first["pearson_delta"] != other["pearson_delta"]).any()


def test_one_control_gives_no_ceiling():
    truth = line(n_genes=20)
    assert (
        ceiling.split_half(
            ceiling.replace(truth, evaluation=truth.evaluation[:1], evaluation_batch=truth.evaluation_batch[:1]),
            {},
            seed=0,
        )
        == {}
    )


@pytest.mark.parametrize("n_controls", [6])
def test_single_controls_per_batch_are_cut_across_batches(n_controls):
    truth = line(n_genes=20, n_controls=n_controls, n_batches=1)
    alone = ceiling.replace(
        truth, evaluation_batch=np.arange(truth.evaluation.shape[0]), batch_n=np.zeros_like(truth.batch_n)
    )
    assert np.isfinite(ceiling.split_half(alone, {}, seed=0, n_repeats=2, n_des=0)["pearson_delta"]).all()
