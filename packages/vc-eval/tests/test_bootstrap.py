import numpy as np
from vc_eval.stats import bootstrap


def test_interval_covers_the_true_mean_at_its_level():
    rng = np.random.default_rng(0)
    hits = []
    for trial in range(250):
        # 40 perturbations in 3 cell lines: conditions of one perturbation share most of their value.
        values = (rng.normal(0, 1, 40)[:, None] + rng.normal(0, 0.3, (40, 3))).reshape(-1, 1)
        weights = bootstrap.cluster_weights(40, 300, seed=trial)
        means = bootstrap.cluster_means(values, np.repeat(np.arange(40), 3), weights)
        lower, upper = bootstrap.interval(means.point, means.draws, 40)
        hits.append(lower[0] <= 0 <= upper[0])
    assert 0.90 <= np.mean(hits) <= 0.98


def test_conditions_of_one_perturbation_widen_the_interval():
    values = np.repeat(np.random.default_rng(1).normal(size=20), 5)[:, None]
    clustered = bootstrap.cluster_means(values, np.repeat(np.arange(20), 5), bootstrap.cluster_weights(20, 500, 0))
    single = bootstrap.cluster_means(values, np.arange(100), bootstrap.cluster_weights(100, 500, 0))
    width = [np.subtract(*bootstrap.interval(m.point, m.draws, 20)[::-1])[0] for m in (clustered, single)]
    assert width[0] > 1.7 * width[1]  # sqrt(5) expected
    np.testing.assert_allclose(clustered.point, single.point)


def test_undefined_values_are_left_out_and_counted():
    values = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]])
    means = bootstrap.cluster_means(values, np.arange(3), bootstrap.cluster_weights(3, 50, 0))
    assert means.point[0] == 2.0 and means.n.tolist() == [2, 0]
    assert np.isnan(means.point[1])
    lower, upper = bootstrap.interval(means.point, means.draws, 3)
    assert lower[0] <= 2 <= upper[0] and np.isnan([lower[1], upper[1]]).all()


def test_constant_difference_has_a_point_interval():
    rng = np.random.default_rng(2)
    model = rng.normal(size=30)
    means = bootstrap.cluster_means(
        np.stack([model, model - 0.5], axis=1), np.arange(30), bootstrap.cluster_weights(30, 200, 0)
    )
    np.testing.assert_allclose(means.draws[:, 0] - means.draws[:, 1], 0.5)  # same resamples for every column


def test_one_cluster_has_no_interval_and_the_point_is_always_inside():
    assert np.isnan(bootstrap.interval(np.array([1.0]), np.ones((5, 1)), 1)).all()
    lower, upper = bootstrap.interval(np.array([0.0]), np.linspace(0.1, 1, 50)[:, None], 9)
    assert lower[0] == 0.0 < upper[0]


def test_same_seed_same_weights():
    np.testing.assert_array_equal(bootstrap.cluster_weights(7, 20, 3), bootstrap.cluster_weights(7, 20, 3))
    assert (bootstrap.cluster_weights(7, 20, 3).sum(1) == 7).all()
