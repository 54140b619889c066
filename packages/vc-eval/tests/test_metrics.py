import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from vc_eval.metrics import HEADLINES, REGISTRY, beat, discrimination, expression, get_metric

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(6, 40)), RNG.normal(size=(6, 40))
KEEP = RNG.random((6, 40)) < 0.9


def test_pearson_equals_scipy_over_kept_genes():
    expected = [scipy.stats.pearsonr(a[k], b[k]).statistic for a, b, k in zip(A, B, KEEP, strict=True)]
    np.testing.assert_allclose(expression.pearson(A, B, KEEP), expected, rtol=1e-12)


def test_pearson_of_a_constant_is_undefined():
    everything = np.ones((1, 40), bool)
    assert np.isnan(expression.pearson(np.full((1, 40), 0.3), A[:1], everything)).all()
    assert np.isnan(expression.pearson(A[:1], np.zeros((1, 40)), everything)).all()
    rounding = np.float32(3.3) * np.ones((1, 40)) + RNG.normal(0, 1e-7, (1, 40))
    assert np.isnan(expression.pearson(rounding, A[:1], everything)).all()


def test_squared_error_and_r2_equal_sklearn():
    expected = [sklearn.metrics.mean_squared_error(a[k], b[k]) for a, b, k in zip(A, B, KEEP, strict=True)]
    np.testing.assert_allclose(expression.mean_squared_error(A, B, KEEP), expected, rtol=1e-12)
    np.testing.assert_allclose(expression.r2(A, B), [sklearn.metrics.r2_score(b, a) for a, b in zip(A, B, strict=True)])
    assert np.isnan(expression.r2(A[:1], np.ones((1, 40)))).all()


def test_centroid_accuracy_is_the_share_of_other_centroids_farther_away():
    measured = np.array([[0.0], [1.0], [4.0]])
    predicted = np.array([[0.0], [3.0], [2.5]])
    # 0: both others farther; 3: own at 2, 4 nearer, 0 farther; 2.5: own at 1.5, 1 equally far, 0 farther.
    accuracy, top1 = discrimination.centroid_scores(predicted, measured, np.zeros((3, 1), bool))
    np.testing.assert_allclose(accuracy, [1.0, 0.5, 0.75])
    np.testing.assert_allclose(top1, [1.0, 0.0, 0.5])


def test_centroid_accuracy_leaves_excluded_genes_out_of_the_row():
    excluded = np.zeros((6, 40), bool)
    excluded[np.arange(6), np.arange(6)] = True
    spiked = A.copy()
    spiked[np.arange(6), np.arange(6)] += 100
    np.testing.assert_allclose(
        discrimination.centroid_scores(spiked, B, excluded)[0], discrimination.centroid_scores(A, B, excluded)[0]
    )


def test_centroid_accuracy_of_permuted_labels_is_chance():
    rng = np.random.default_rng(5)
    truth = rng.normal(size=(30, 60))
    shuffled = [
        discrimination.centroid_scores(truth[rng.permutation(30)], truth, np.zeros((30, 60), bool))[0].mean()
        for _ in range(60)
    ]
    assert abs(np.mean(shuffled) - 0.5) < 0.03
    assert discrimination.centroid_scores(truth, truth, np.zeros((30, 60), bool))[0].mean() == 1


def test_a_single_condition_has_no_rank():
    assert np.isnan(discrimination.centroid_scores(A[:1], B[:1], np.zeros((1, 40), bool))).all()


def test_ties_are_losses_and_undefined_pearson_counts_as_zero():
    np.testing.assert_array_equal(beat.wins_by_mse([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]), [1, 0, 0])
    np.testing.assert_array_equal(
        beat.wins_by_pearson([0.1, np.nan, -0.1, np.nan], [np.nan, 0.1, np.nan, np.nan]), [1, 0, 0, 0]
    )


@pytest.mark.parametrize(
    "metric", [*REGISTRY.values(), get_metric("beat/x"), get_metric("beat_pearson/x")], ids=lambda m: m.name
)
def test_every_metric_says_what_it_is(metric):
    for text in (metric.title, metric.definition, metric.chance, metric.unit, metric.reference, metric.version):
        assert text.strip()
    assert get_metric(metric.name) == metric
    assert metric.gain(np.float64(metric.best)) >= metric.gain(
        np.float64(metric.best + (1 if metric.direction == "lower" else -1))
    )


def test_headlines_are_known_and_unknown_names_are_refused():
    assert set(HEADLINES) <= set(REGISTRY)
    with pytest.raises(KeyError):
        get_metric("no_such_metric")
