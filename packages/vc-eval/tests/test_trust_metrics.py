"""Uncertainty, weighted errors and measures of trust against definitions and known cases."""

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from vc_eval.metrics import REGISTRY, reliability, trust, weighted
from vc_eval.rank import de

RNG = np.random.default_rng(0)


def test_a_right_normal_prediction_is_calibrated_and_a_wrong_one_is_not():
    sd = RNG.uniform(0.5, 2, 20_000)
    truth = RNG.normal(0, sd)
    good = reliability.normal_scores(np.zeros_like(sd), sd, truth)
    assert good["uncertainty/variance_ratio"] == pytest.approx(1, abs=0.03)
    assert good["uncertainty/coverage_error_19"] < 0.01
    for wrong in (0.3, 3.0):
        worse = reliability.normal_scores(np.zeros_like(sd), wrong * sd, truth)
        assert worse["uncertainty/coverage_error_19"] > 0.1
        assert worse["uncertainty/nll"] > good["uncertainty/nll"]
        assert worse["uncertainty/crps"] > good["uncertainty/crps"]
    assert set(good) <= set(REGISTRY)


def test_likelihood_and_crps_equal_their_definitions():
    scores = reliability.normal_scores(np.array([0.4]), np.array([1.3]), np.array([2.0]))
    assert scores["uncertainty/nll"] == pytest.approx(-scipy.stats.norm(0.4, 1.3).logpdf(2.0))
    below = scipy.integrate.quad(lambda x: scipy.stats.norm(0.4, 1.3).cdf(x) ** 2, -30, 2)[0]
    above = scipy.integrate.quad(lambda x: scipy.stats.norm(0.4, 1.3).sf(x) ** 2, 2, 30)[0]
    assert scores["uncertainty/crps"] == pytest.approx(below + above)


def test_sparsification_is_0_for_the_oracle_1_for_no_information_more_for_the_reverse():
    error = RNG.exponential(size=2000)
    assert reliability.ause(error, error) == pytest.approx(0, abs=1e-12)
    assert reliability.ause(np.ones(2000), error) == pytest.approx(1)  # equal uncertainty knows nothing
    assert reliability.ause(RNG.random(2000), error) == pytest.approx(1, abs=0.1)
    assert reliability.ause(-error, error) > 1.5
    assert reliability.selective_risk(error, error, 0.5) < error.mean() < reliability.selective_risk(-error, error, 0.5)


def test_ece_of_the_suite_is_zero_for_errors_linear_in_uncertainty_and_blind_to_scale():
    u = RNG.random(500)
    assert reliability.ece_biojepa(u, 3 * u + 7) == pytest.approx(0, abs=1e-12)  # 0, yet the errors are 7 and more
    # Two bins: (0, 1) and (1, 0) each weigh a half, with a gap of 1.
    assert reliability.ece_biojepa(np.array([0.0, 1.0]), np.array([1.0, 0.0])) == 1
    outlier = reliability.ece_biojepa(np.append(u, 1000), np.append(u, 1000))
    assert outlier == pytest.approx(0, abs=1e-6)
    assert np.isnan(reliability.ece_biojepa(np.ones(5), u[:5]))


def test_monotone_steps():
    x = np.arange(100.0)
    assert reliability.monotonicity(x, x**2) == 1
    assert reliability.monotonicity(x, -x) == 0
    scores = reliability.error_scores(x, x**2)
    assert scores["uncertainty/spearman"] == pytest.approx(1)
    assert set(scores) <= set(REGISTRY)


def test_welch_scores_equal_scipy():
    values = [RNG.normal(m, s, (n, 6)) for m, s, n in ((0, 1, 12), (0.5, 2, 30), (1, 0.5, 8))]
    group = np.repeat([0, 1, 2], [12, 30, 8])
    mean, square, sizes = de.group_moments(np.vstack(values), group, 3)
    t = weighted.welch_t(mean, square, sizes)
    for p in range(3):
        rest = np.vstack([v for q, v in enumerate(values) if q != p])
        np.testing.assert_allclose(t[p], scipy.stats.ttest_ind(values[p], rest, equal_var=False).statistic, rtol=1e-9)
    assert np.isnan(weighted.welch_t(mean, square, np.array([1, 49, 0]))).any()


def test_weights_by_hand():
    # |t| 0, 1, 2 -> 0, 0.5, 1 -> squares 0, 0.25, 1 -> over 1.25.
    np.testing.assert_allclose(weighted.weights(np.array([[0.0, -1, 2]])), [[0, 0.2, 0.8]])
    assert np.isnan(weighted.weights(np.ones((1, 3)))).all()
    np.testing.assert_allclose(weighted.wmse(np.array([[1.0, 1, 1]]), np.zeros((1, 3)), np.array([[0, 0.2, 0.8]])), [1])


def test_the_mean_profile_looks_good_plainly_and_bad_when_weighted():
    real = np.zeros((20, 200))
    real[np.arange(20), np.arange(20)] = 3.0  # each perturbation moves two genes of its own
    real[np.arange(20), np.arange(20) + 20] = -3.0
    mean = real.mean(axis=0)
    guess = np.tile(mean, (20, 1))
    weight = weighted.weights(real)
    assert ((guess - real) ** 2).mean() < 0.1
    assert weighted.wmse(guess, real, weight).mean() > 8
    np.testing.assert_allclose(weighted.r2_weighted_delta(real, real, mean, weight), 1)
    np.testing.assert_allclose(weighted.r2_weighted_delta(guess, real, mean, weight), 0, atol=1e-12)
    one_gene = np.zeros((20, 200))
    one_gene[:, 0] = 1
    assert np.isnan(weighted.r2_weighted_delta(guess, real, mean, one_gene)).all()  # one gene has no spread
    assert weighted.weights_digest(weight) != weighted.weights_digest(weight + 1e-12)


def test_dispersion_of_the_truth_a_collapse_and_an_inflation():
    real = RNG.normal(size=(30, 50))
    assert trust.dispersion_ratio(real, real) == 1
    assert trust.dispersion_ratio(np.tile(real.mean(axis=0), (30, 1)), real) == pytest.approx(0, abs=1e-20)
    assert trust.dispersion_ratio(2 * real + 5, real) == pytest.approx(4)


def test_dispersion_takes_sampling_noise_out():
    rng = np.random.default_rng(3)
    truth, noise = rng.normal(0, 0.3, (200, 400)), rng.normal(size=(200, 400))
    assert trust.dispersion_ratio(truth, truth + noise) < 0.2
    corrected = trust.dispersion_ratio(truth, truth + noise, real_noise_p=np.full(200, 400.0))
    assert corrected == pytest.approx(1, abs=0.1)


def test_dynamic_range_by_hand():
    np.testing.assert_allclose(trust.dynamic_range_fraction([0.8], [0.6], best=1), [0.5], atol=1e-4)
    np.testing.assert_allclose(trust.dynamic_range_fraction([0.1], [0.4], best=0), [0.75], atol=1e-4)
    np.testing.assert_allclose(trust.dynamic_range_fraction([9.0, 0.2], [0.4, 0.2], best=0), [-1, 0], atol=1e-4)


def test_interpolated_duplicate_keeps_evidence_and_shrinks_the_rest():
    half, mean, q = np.array([[4.0, 4.0, 4.0]]), np.zeros(3), np.array([[0.0, 1.0, np.nan]])
    np.testing.assert_array_equal(trust.interpolated_duplicate(half, mean, q), [[4, 0, 0]])


def test_systematic_variation_of_one_response_and_of_none():
    shared = np.tile(RNG.normal(size=40), (10, 1))
    everything = np.ones((10, 40), bool)
    cosine, share = trust.systematic_variation(shared, everything)
    np.testing.assert_allclose(cosine, 1)
    assert share == pytest.approx(1)
    _, share = trust.systematic_variation(RNG.normal(size=(200, 400)), np.ones((200, 400), bool))
    assert share == pytest.approx(1 / 200, abs=0.003)
    np.testing.assert_allclose(trust.reference_shift(np.array([[0.0, 2], [4, 4]])), [2, 3])


def test_two_phenotypes():
    first = np.arange(40) < 20
    delta = RNG.normal(size=(40, 30))
    assert trust.phenotype_auroc(delta + 2 * first[:, None], first, ~first) > 0.95
    assert (
        abs(np.mean([trust.phenotype_auroc(RNG.normal(size=(40, 30)), first, ~first) for _ in range(30)]) - 0.5) < 0.1
    )
    assert np.isnan(trust.phenotype_auroc(delta, np.arange(40) < 1, ~first))
