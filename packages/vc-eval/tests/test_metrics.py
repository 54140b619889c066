import re

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
    "metric",
    [*REGISTRY.values(), *(get_metric(f"{family}/x") for family in beat.FAMILIES)],
    ids=lambda m: m.name,
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


CELL_EVAL = """overlap_at_N overlap_at_50 overlap_at_100 overlap_at_200 overlap_at_500 precision_at_N precision_at_50
precision_at_100 precision_at_200 precision_at_500 de_spearman_sig de_direction_match de_spearman_lfc_sig
de_sig_genes_recall de_nsig_counts_real de_nsig_counts_pred pr_auc roc_auc pearson_delta mse mae mse_delta mae_delta
discrimination_score_l1 discrimination_score_l2 discrimination_score_cosine pearson_edistance clustering_agreement"""
BIOJEPA = {  # row of the suite -> its form there and ours
    "D1": "mse_cells_biojepa mse_delta mse_over_no_change",
    "D2": "pearson_top20_biojepa pearson_top20 pearson_top20_test",
    "D3": "r2_all_biojepa r2_delta r2_delta_zero",
    "D4": "r2_top50_biojepa r2_top50_abs r2_top50_delta r2_top50_test_delta",
    "D5": "severity_pearson severity_spearman severity_spearman_debiased severity_partial",
    "D6": "mae_delta_0_0.25 mae_delta_0.25_0.5 mae_delta_0.5_1 mae_delta_1_1.5 mae_delta_1.5_2 mae_delta_2_inf",
    "D7": "pearson_delta pearson_systema",
    "D8": "beat_no_change_biojepa beat/x beat_pearson/x beat_wmse/x",
    "D9": "centroid_top1_biojepa centroid_top1 centroid_accuracy centroid_top1_cosine centroid_accuracy_cosine",
    "D10": "direction_accuracy_biojepa direction_accuracy_top50_biojepa direction_majority direction_macro_f1 "
    "direction_balanced_accuracy direction_f1_up direction_f1_down precision_up_20 precision_down_20 "
    "sign_accuracy_significant",
    "D11": "precision_at_10 precision_at_20 precision_at_50 precision_at_100 precision_at_20_over_random "
    "precision_at_20_signed precision_at_significant",
    "D12": "ndcg_at_20 ndcg_at_20_graded",
    "D13": "deg_jaccard_biojepa deg_jaccard",
    "D14": "combo_pearson combo_additive_pearson combo_model_additive_pearson combo_mse combo_additive_mse "
    "combo_beats_additive combo_pearson_nonadditive combo_interaction_accuracy",
    "D15": "retrieval_mrr_biojepa retrieval_mrr retrieval_mrr_skill retrieval_median_rank retrieval_recall_1 "
    "retrieval_recall_5 retrieval_recall_10 retrieval_recall_20 retrieval_recall_50",
    "D16": "moa_ratio_biojepa moa_p_biojepa moa_gap moa_auroc moa_p",
    "D17": "pathway_ratio_biojepa",
    "D18": "uncertainty/ece_biojepa uncertainty/pearson uncertainty/spearman uncertainty/monotonicity uncertainty/nll "
    "uncertainty/crps uncertainty/variance_ratio uncertainty/ause uncertainty/risk_at_50 uncertainty/risk_at_80 "
    "uncertainty/coverage_error_19",
    "D19": "probe/batch_invariance_ratio_biojepa probe/batch_kappa probe/perturbation_kappa "
    "probe/perturbation_minus_batch batch_mixing",
    "D20": "probe/perturbation_detection_auroc",
    "D21": "kegg_silhouette_biojepa kegg_silhouette_cosine kegg_comembership kegg_comembership_z",
    "D22": "action_silhouette_biojepa action_silhouette_cosine action_comembership action_comembership_z",
    "D23": "probe/essential_auroc probe/essential_auprc probe/essential_gain",
    "D24": "probe/reconstruction_pearson_biojepa probe/reconstruction_pearson probe/reconstruction_pearson_genes",
    "D25": "probe/cell_type_accuracy probe/cell_type_macro_f1",
    "D26": "consistency_ratio_biojepa consistency_auroc",
    "D27": "effective_dimension_90 participation_ratio rankme dead_dimensions",
    "D28": "probe/mode_accuracy",
    "D29": "paired_cosine_biojepa paired_cosine_gap",
    "D30": "alignment_mrr_forward alignment_mrr_backward",
    "D31": "same_target_ratio_biojepa same_target_gap same_target_auroc cross_modality_auroc",
    "D32": "fused_to_sequence_cosine fused_to_target_cosine ablation_drop",
    "D33": "probe/family_accuracy probe/family_macro_f1",
    "D34": "modality_gap_ratio missing_modality_robustness slot_degradation dose_response_spearman "
    "dose_response_monotone isotropy",
}


def test_the_whole_profile_of_cell_eval_is_here_and_nothing_else_bears_its_name():
    named = {name for name in REGISTRY if name.startswith("cell_eval/")}
    assert named == {f"cell_eval/{name}" for name in CELL_EVAL.split()}
    assert len(named) == 28


@pytest.mark.parametrize("row", BIOJEPA)
def test_every_row_of_the_suite_is_here_with_its_source(row):
    for name in BIOJEPA[row].split():
        assert re.search(
            r"docs/metrics.md#(profile-suite|full-profile|systematic|weighted|ceilings|ranks|population|controls)",
            get_metric(name).reference,
        ), (row, name)
