import numpy as np
from vc_eval.metrics import calibration
from vc_eval.metrics.uncertainty import LEVELS


def world(scale=1.0, n=20, g=800):
    rng = np.random.default_rng(0)
    sd = rng.uniform(0.05, 0.4, (n, g))
    noise_var = rng.uniform(0.01, 0.1, (n, g))
    predicted = rng.normal(size=(n, g))
    measured = predicted + rng.normal(size=(n, g)) * sd + rng.normal(size=(n, g)) * np.sqrt(noise_var)
    return predicted, sd * scale, measured, noise_var, np.ones((n, g), bool)


def test_true_uncertainty_plus_noise_covers_what_it_promises():
    covered = calibration.coverage(*world()).mean(0)
    np.testing.assert_allclose(covered, LEVELS, atol=0.02)
    assert calibration.coverage_error(covered) < 0.01


def test_overconfidence_shows_below_and_caution_above():
    assert (calibration.coverage(*world(0.2)).mean(0) < LEVELS).all()
    assert (calibration.coverage(*world(5.0)).mean(0) > LEVELS).all()


def test_noise_free_unseen_genes_do_not_count():
    predicted, sd, measured, noise_var, keep = (np.zeros((1, 4)) for _ in range(5))
    measured[0, 0], keep[:] = 5.0, 1
    np.testing.assert_array_equal(
        calibration.coverage(predicted, sd, measured, noise_var, keep.astype(bool)), np.zeros((1, 9))
    )


def test_error_rank_correlation():
    assert calibration.error_rank_correlation(np.array([1.0, 2, 3]), np.array([0.1, 0.5, 0.9])) == 1
    assert calibration.error_rank_correlation(np.array([3.0, 2, 1]), np.array([0.1, 0.5, 0.9])) == -1
    assert np.isnan(calibration.error_rank_correlation(np.array([1.0, 2]), np.array([1.0, 2])))
    assert np.isnan(calibration.error_rank_correlation(np.ones(5), np.arange(5.0)))


def test_predicted_error_is_a_root_mean_square_over_kept_genes():
    keep = np.array([[True, True, False]])
    np.testing.assert_allclose(calibration.predicted_error(np.array([[3.0, 4.0, 100.0]]), keep), [np.sqrt(12.5)])


def test_resampled_rank_correlation_equals_writing_the_resamples_out():
    rng = np.random.default_rng(0)
    predicted, realised = rng.integers(0, 6, 12).astype(float), rng.normal(size=12)
    realised[4] = np.nan
    weights = rng.multinomial(12, np.full(12, 1 / 12), size=200)
    weights[0] = 0
    weights[0, 1] = 12
    written = [
        calibration.error_rank_correlation(np.repeat(predicted, row), np.repeat(realised, row)) for row in weights
    ]
    np.testing.assert_allclose(
        calibration.error_rank_correlation_draws(predicted, realised, weights), written, atol=1e-12
    )
