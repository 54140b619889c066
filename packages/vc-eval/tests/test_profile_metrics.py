"""Profile metrics against sklearn, scipy and sums on paper."""

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from vc_eval.metrics import (
    FAMILIES,
    REGISTRY,
    combination,
    direction,
    discrimination,
    get_metric,
    profiles,
    ranking,
    ranks,
    retrieval,
    severity,
    suite,
    weighted,
)

RNG = np.random.default_rng(0)
A, B = RNG.normal(0, 0.4, (7, 60)), RNG.normal(0, 0.4, (7, 60))
KEEP = RNG.random((7, 60)) < 0.9
ALL = np.ones((7, 60), bool)


def test_no_two_metrics_share_a_name_and_every_family_metric_says_its_space():
    assert len(REGISTRY) == sum(len(family.METRICS) for family in FAMILIES)
    for family in FAMILIES[4:]:  # the first four predate the field
        for metric in family.METRICS:
            assert metric.space, metric.name


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auroc_and_average_precision_equal_sklearn(items):
    score, label = np.array([s for s, _ in items], float), np.array([y for _, y in items])
    if 0 < label.sum() < label.size:
        assert ranks.auroc(score, label) == pytest.approx(sklearn.metrics.roc_auc_score(label, score))
        assert ranks.average_precision(score, label) == pytest.approx(
            sklearn.metrics.average_precision_score(label, score)
        )
    else:
        assert np.isnan(ranks.auroc(score, label))
        assert np.isnan(ranks.average_precision(score, label))


def test_correlations_equal_scipy_and_a_constant_is_undefined():
    a, b = RNG.integers(0, 5, 20), RNG.integers(0, 5, 20)
    assert ranks.pearson(a, b) == pytest.approx(scipy.stats.pearsonr(a, b).statistic)
    assert ranks.spearman(a, b) == pytest.approx(scipy.stats.spearmanr(a, b).statistic)
    assert np.isnan(ranks.spearman(np.ones(5), a[:5]))
    assert np.isnan(ranks.pearson([1, 2], [2, 1]))


def test_r2_of_change_and_of_expression_equal_sklearn():
    expected = [sklearn.metrics.r2_score(b[k], a[k]) for a, b, k in zip(A, B, KEEP, strict=True)]
    np.testing.assert_allclose(profiles.r2_delta(A, B, KEEP), expected, rtol=1e-10)
    expected = [sklearn.metrics.r2_score(b, a) for a, b in zip(A, B, strict=True)]
    np.testing.assert_allclose(profiles.r2_biojepa(A, B), expected, rtol=1e-10)
    top = [np.argsort(-np.abs(d))[:50] for d in B]
    expected = [sklearn.metrics.r2_score((b + 2)[t], (a + 2)[t]) for a, b, t in zip(A, B, top, strict=True)]
    np.testing.assert_allclose(profiles.r2_top50_biojepa(A + 2, B + 2, B), expected, rtol=1e-10)
    assert np.isnan(profiles.r2_biojepa(A, np.ones_like(A))).all()


def test_no_change_is_the_zero_of_the_uncentred_forms():
    none = np.zeros_like(B)
    np.testing.assert_allclose(profiles.mse_over_no_change(none, B, KEEP), 1)
    np.testing.assert_allclose(profiles.r2_delta(none, B, KEEP, centred=False), 0, atol=1e-12)
    assert np.isnan(profiles.mse_over_no_change(A, none, KEEP)).all()


def test_pearson_of_top_genes_chooses_by_truth_or_by_test():
    for p in range(7):
        allowed = np.flatnonzero(KEEP[p])
        top = allowed[np.argsort(-np.abs(B[p, allowed]))[:20]]
        expected = scipy.stats.pearsonr(A[p, top], B[p, top]).statistic
        assert profiles.pearson_top(A, B, KEEP)[p] == pytest.approx(expected)
        q = np.linspace(1, 0, 60)[None].repeat(7, 0)
        last = allowed[::-1][:20]
        expected = scipy.stats.pearsonr(A[p, last], B[p, last]).statistic
        assert profiles.pearson_top(A, B, KEEP, q_value_pg=q)[p] == pytest.approx(expected)


def test_cell_level_forms_of_the_suite():
    cells = RNG.normal(size=(30, 60))
    guess = cells + RNG.normal(size=(30, 60))
    guess[0] = 0.3  # constant: counts as 0
    expected = []
    for a, b in zip(guess, cells, strict=True):
        top = np.argsort(-np.abs(b))[:20]
        expected.append(0.0 if a.std() < 1e-9 else scipy.stats.pearsonr(a[top], b[top]).statistic)
    assert profiles.pearson_top20_biojepa(guess, cells) == pytest.approx(np.mean(expected))
    assert profiles.mse_cells_biojepa(guess, cells) == pytest.approx(sklearn.metrics.mean_squared_error(cells, guess))


def test_choosing_genes_by_the_noisy_cell_rewards_the_control():
    # No effect at all: predicting "minus the control's noise" looks excellent on cells and is nothing on conditions.
    rng = np.random.default_rng(2)
    case, control = rng.normal(size=(400, 100)), rng.normal(size=(400, 100))
    predicted = -control
    assert profiles.pearson_top20_biojepa(predicted, case - control) > 0.6
    means = predicted.mean(axis=0)[None], (case - control).mean(axis=0)[None]
    assert profiles.r2_delta(*means, np.ones((1, 100), bool))[0] < 0.6


def test_beating_no_change_on_expression():
    control = np.linspace(0, 3, 60)
    real = control + 0.2 * B
    np.testing.assert_array_equal(profiles.beat_no_change_biojepa(real, real, control), 1)
    np.testing.assert_array_equal(profiles.beat_no_change_biojepa(np.tile(control, (7, 1)), real, control), 0)


def test_severity_and_its_corrections():
    sizes = np.array([1.0, 2.0, 3.0, 5.0])
    real = sizes[:, None] * np.eye(4)
    scores = severity.severity(2 * real, real, noise_p=np.zeros(4), n_cells_p=np.full(4, 9))
    assert scores["severity_pearson"] == pytest.approx(1)
    assert scores["severity_spearman"] == scores["severity_spearman_debiased"] == scores["severity_partial"] == 1
    # Noise of 30 in the largest: its true size is the smallest.
    assert severity.severity(real, real, noise_p=np.array([0, 0, 0, 30.0]))["severity_spearman_debiased"] < 0.3
    halves = severity.severity(real, real[::-1], dataset_p=np.array([0, 0, 1, 1]))
    assert np.isnan(halves["severity_pearson"])  # two conditions a data set are too few


def test_partial_spearman_equals_the_correlation_of_rank_residuals():
    rng = np.random.default_rng(4)
    given_n = rng.normal(size=40)
    a, b = given_n + rng.normal(size=40), given_n + rng.normal(size=40)
    r = [scipy.stats.rankdata(x) for x in (a, b, given_n)]
    residual = [x - np.polyval(np.polyfit(r[2], x, 1), r[2]) for x in r[:2]]
    assert severity.partial_spearman(a, b, given_n) == pytest.approx(scipy.stats.pearsonr(*residual).statistic)


def test_error_by_magnitude_covers_every_pair_once():
    binned = severity.mae_by_magnitude(A * 5, B * 5, KEEP)
    assert sum(n for _, n in binned.values()) == KEEP.sum()
    whole = sum(value * n for value, n in binned.values() if n) / KEEP.sum()
    assert whole == pytest.approx(np.abs(A - B)[KEEP].mean() * 5)
    assert set(binned) <= set(REGISTRY)


def test_direction_classes_equal_sklearn():
    scores = direction.class_scores(A, B, KEEP)
    real, called = direction.classes(B)[KEEP], direction.classes(A)[KEEP]
    assert scores["direction_accuracy_biojepa"] == pytest.approx(sklearn.metrics.accuracy_score(real, called))
    assert scores["direction_balanced_accuracy"] == pytest.approx(sklearn.metrics.balanced_accuracy_score(real, called))
    f1 = sklearn.metrics.f1_score(real, called, average=None)
    np.testing.assert_allclose([scores[f"direction_f1_{name}"] for name in direction.CLASSES], f1)
    assert scores["direction_macro_f1"] == pytest.approx(f1.mean())
    assert scores["direction_majority"] == pytest.approx(np.bincount(real).max() / real.size)
    assert set(scores) <= set(REGISTRY)
    np.testing.assert_array_equal(direction.classes(np.array([-0.25, -0.2, 0.25])), [0, 1, 2])


def test_predicting_no_change_wins_on_accuracy_and_nothing_else():
    weak = B * 0.2
    scores = direction.class_scores(np.zeros_like(weak), weak, ALL)
    assert scores["direction_accuracy_biojepa"] == scores["direction_majority"] > 0.95
    assert scores["direction_balanced_accuracy"] <= 0.5
    np.testing.assert_allclose(direction.sign_accuracy(np.zeros_like(weak), weak, ALL), 0.5)


def test_signs_and_extremes_by_hand():
    real = np.array([[1.0, -1.0, 0.3, 0.0]])
    predicted = np.array([[2.0, 1.0, 0.0, 5.0]])
    # Right, wrong, half; the fourth has no real sign.
    np.testing.assert_allclose(direction.sign_accuracy(predicted, real, np.ones((1, 4), bool)), [0.5])
    keep = np.array([[True, True, True, False]])
    np.testing.assert_allclose(direction.extreme_precision(predicted, real, keep, up=True, k=2), [0.5])
    np.testing.assert_allclose(direction.extreme_precision(-predicted, real, keep, up=False, k=1), [0.0])
    by_size = direction.accuracy_by_magnitude(predicted, real, keep, (0, 0.5, 2))
    assert by_size == [(0.0, 1), (0.5, 2)]


def test_ranking_by_hand():
    real, predicted = np.array([[5.0, -4, 3, 2, 1]]), np.array([[5.0, 4, 0.1, -3, 0]])
    keep = np.ones((1, 5), bool)
    # Top 3: real 0 1 2, predicted 0 1 3: two shared, one with the wrong sign.
    np.testing.assert_allclose(ranking.precision_at_k(predicted, real, keep, 3), [2 / 3])
    np.testing.assert_allclose(ranking.precision_at_k(predicted, real, keep, 3, signed=True), [1 / 3])
    np.testing.assert_allclose(ranking.over_random(np.array([2 / 3]), keep, 3), [2 / 3 * 5 / 3])
    significant = np.array([[True, False, True, False, False]])
    np.testing.assert_allclose(ranking.precision_at_significant(predicted, significant, keep), [0.5])
    assert np.isnan(ranking.precision_at_significant(predicted, ~keep, keep)).all()
    np.testing.assert_allclose(ranking.deg_jaccard(predicted, real, keep), [3 / 5])
    assert np.isnan(ranking.deg_jaccard(0 * real, 0 * real, keep)).all()


def test_ndcg_equals_sklearn():
    graded = [sklearn.metrics.ndcg_score(np.abs(b)[None], np.abs(a)[None], k=20) for a, b in zip(A, B, strict=True)]
    np.testing.assert_allclose(ranking.ndcg_at_k(A, B, ALL, graded=True), graded, rtol=1e-12)
    binary = []
    for a, b in zip(A, B, strict=True):
        relevant = np.zeros(60)
        relevant[np.argsort(-np.abs(b))[:20]] = 1
        binary.append(sklearn.metrics.ndcg_score(relevant[None], np.abs(a)[None], k=20))
    np.testing.assert_allclose(ranking.ndcg_at_k(A, B, ALL), binary, rtol=1e-12)


def test_random_order_scores_chance_in_precision_and_ndcg():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 400, 100))
    keep = np.ones((400, 100), bool)
    assert ranking.precision_at_k(a, b, keep, 20).mean() == pytest.approx(0.2, abs=0.02)
    assert ranking.ndcg_at_k(a, b, keep).mean() == pytest.approx(0.2, abs=0.02)
    assert ranking.over_random(ranking.precision_at_k(a, b, keep, 20), keep, 20).mean() == pytest.approx(1, abs=0.1)


def test_left_out_genes_are_never_chosen():
    spiked = A.copy()
    spiked[~KEEP] = 100
    for function in (ranking.ndcg_at_k, ranking.deg_jaccard, profiles.pearson_top):
        np.testing.assert_allclose(function(spiked, B, KEEP), function(A, B, KEEP))


def test_cosine_centroids_ignore_scale_and_the_left_out_genes():
    accuracy, top1 = discrimination.centroid_scores(A, B, ~KEEP, cosine=True)
    for p in range(7):
        d = scipy.spatial.distance.cdist(A[[p]][:, KEEP[p]], B[:, KEEP[p]], "cosine")[0]
        assert accuracy[p] == pytest.approx((d > d[p]).sum() / 6)
        assert top1[p] == (d.argmin() == p)
    scaled = discrimination.centroid_scores(30 * A, B, ~KEEP, cosine=True)[0]
    np.testing.assert_array_equal(scaled, accuracy)


def test_combinations_against_the_sum_of_singles():
    first, second = A, B
    both = first + second
    scores = combination.combination_scores(
        both, both, first, second, KEEP, predicted_first_pg=first, predicted_second_pg=second
    )
    assert set(scores) <= set(REGISTRY)
    np.testing.assert_allclose(scores["combo_additive_pearson"], 1)
    np.testing.assert_allclose(scores["combo_model_additive_pearson"], 1)
    np.testing.assert_array_equal(scores["combo_beats_additive"], 0)  # a tie is a loss
    np.testing.assert_allclose(combination.interaction_size(both, first, second, KEEP), 1)
    np.testing.assert_array_equal(combination.interaction_type(1.5 * both, first, second, KEEP), 1)
    np.testing.assert_array_equal(combination.interaction_type(0.5 * both, first, second, KEEP), -1)
    assert np.isnan(combination.interaction_size(both, first, 2 * first, KEEP)).all()
    extra = np.zeros_like(both)
    extra[:, :20] = RNG.normal(0, 3, (7, 20))
    better = combination.combination_scores(both + extra, both + extra, first, second, ALL)
    np.testing.assert_array_equal(better["combo_beats_additive"], 1)
    np.testing.assert_allclose(better["combo_pearson_nonadditive"], 1)
    np.testing.assert_allclose(better["combo_additive_mse"], (extra**2).mean(axis=1))


def test_pairs_are_told_apart_by_how_many_of_their_genes_training_perturbed():
    scores = {"combo_mse": np.arange(5.0)}
    pairs = [("a", "b"), ("a", "x"), ("x", "y"), ("b", "a"), ("x", "b")]
    strata = combination.by_unseen(scores, pairs, {"a", "b"})
    assert {k: part["combo_mse"].tolist() for k, part in strata.items()} == {0: [0, 3], 1: [1, 4], 2: [2]}


def test_retrieval_ranks_by_hand():
    bank = np.array([[1.0, 0], [1, 1], [0, 1], [-1, 0]])
    query = np.array([[1.0, 0.1], [0.2, 1]])
    found, n = retrieval.retrieval_ranks(query, bank, np.array([1, 2]))
    np.testing.assert_array_equal(found, [2, 1])
    assert n == 4
    # Entries 0 and 1 hit one target: the better of them is found first.
    found, n = retrieval.retrieval_ranks(query, bank, np.array([1, 2]), target_n=np.array(["a", "a", "b", "c"]))
    np.testing.assert_array_equal(found, [1, 1])
    assert n == 3
    scores = retrieval.retrieval_scores(np.array([2.0, 1.0]), 4, "_biojepa")
    assert scores["retrieval_mrr_biojepa"] == 0.75
    chance = (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4
    assert scores["retrieval_mrr_skill_biojepa"] == pytest.approx((0.75 - chance) / (1 - chance))
    assert scores["retrieval_recall_1_biojepa"] == 0.5
    assert set(scores) <= set(REGISTRY)


def test_one_prediction_for_all_ties_in_the_middle():
    same = np.ones((9, 4))
    found, _ = retrieval.retrieval_ranks(RNG.normal(size=(9, 4)), same, np.arange(9))
    np.testing.assert_array_equal(found, 5)
    np.testing.assert_array_equal(retrieval.rank_among_predictions(same, RNG.normal(size=(9, 4))), 0.5)


def test_ranks_among_predictions_and_farther_profiles_by_hand():
    real, predicted = np.array([[0.0], [1.0], [4.0]]), np.array([[0.0], [3.0], [2.5]])
    # 0: own nearest. 1: 0 and own... distances of real 1 to predictions: 1, 2, 1.5. 4: 4, 1, 1.5.
    np.testing.assert_allclose(retrieval.rank_among_predictions(predicted, real), [0, 1, 0.5])
    np.testing.assert_allclose(retrieval.nir(predicted, real), [1, 0.5, 0.75])


def test_the_suite_names_only_registered_metrics_and_a_perfect_prediction_is_best():
    control = np.linspace(0, 3, 60)
    real = control + B
    inputs = suite.ProfileInputs(
        predicted_pg=real, real_pg=real, predicted_delta_pg=B, real_delta_pg=B, control_g=control, keep_pg=KEEP,
        train_delta_g=A.mean(axis=0), q_value_pg=RNG.random((7, 60)) ** 4, noise_p=np.full(7, 0.1),
        n_cells_p=RNG.integers(5, 50, 7), weight_pg=weighted.weights(RNG.normal(size=(7, 60))),
        variable_g=np.arange(60) < 40,
    )  # fmt: skip
    by_set = suite.suite_by_gene_set(inputs)
    assert set(by_set) == set(suite.SETS)
    data = {"systematic_cosine", "systematic_share", "dispersion_ratio", "direction_majority", "severity_partial"}
    data |= {
        "severity_spearman_debiased",
        "precision_up_20",
        "precision_down_20",
        "precision_at_20_over_random",
        "precision_at_significant",
    }
    values, totals = by_set["all"]
    for name, value in (values | totals).items():
        assert get_metric(name).name == name
        if name not in data:
            defined = np.atleast_1d(value)[~np.isnan(np.atleast_1d(value))]
            np.testing.assert_allclose(defined, get_metric(name).best, atol=1e-9, err_msg=name)
