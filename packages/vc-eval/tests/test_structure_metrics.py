"""Embeddings, mechanisms, alignment and probes against sklearn, scipy and known cases."""

import numpy as np
import pytest
import scipy.stats
import sklearn.linear_model
import sklearn.metrics
from vc_eval.errors import VcEvalError
from vc_eval.metrics import REGISTRY, alignment, embedding, mechanism, probes, ranks

RNG = np.random.default_rng(0)
LABEL = np.repeat(np.arange(4), 12)
CLUSTERED = RNG.normal(size=(4, 8))[LABEL] * 2 + RNG.normal(size=(48, 8))


def test_silhouettes_equal_sklearn():
    for cosine, metric in ((False, "euclidean"), (True, "cosine")):
        expected = sklearn.metrics.silhouette_score(CLUSTERED, LABEL, metric=metric)
        assert mechanism.silhouette(CLUSTERED, LABEL, cosine=cosine) == pytest.approx(expected)
    assert np.isnan(mechanism.silhouette(CLUSTERED, np.zeros(48)))
    with_single = np.append(LABEL, 9)
    vectors = np.vstack([CLUSTERED, CLUSTERED[:1]])
    expected = sklearn.metrics.silhouette_score(vectors, with_single)
    assert mechanism.silhouette(vectors, with_single, smallest=1) == pytest.approx(expected)


def test_pathways_are_found_where_they_are_and_not_elsewhere():
    members = np.eye(4, dtype=bool)[LABEL]
    found = mechanism.pathway_scores(CLUSTERED, members, n_permutations=99, seed=1)
    assert found["moa_auroc"] > 0.8
    assert found["moa_p"] == pytest.approx(0.01)
    assert set(found) <= set(REGISTRY)
    random = [mechanism.pathway_scores(RNG.normal(size=(48, 8)), members, n_permutations=99, seed=s) for s in range(20)]
    assert abs(np.mean([r["moa_auroc"] for r in random]) - 0.5) < 0.03
    assert scipy.stats.kstest([r["moa_p"] for r in random], "uniform").pvalue > 0.001


def test_a_shared_response_hides_pathways_until_it_is_subtracted():
    members = np.eye(4, dtype=bool)[LABEL]
    shift = 40 * np.ones(8)
    plain = mechanism.pathway_scores(CLUSTERED + shift, members, n_permutations=0)
    centred = mechanism.pathway_scores(CLUSTERED + shift, members, centre_d=shift, n_permutations=0)
    assert plain["pathway_ratio_biojepa"] < 1.05
    assert centred["moa_gap"] > 10 * plain["moa_gap"]


def test_pathways_may_overlap_and_lacking_ones_are_left_out():
    members = np.zeros((6, 2), bool)
    members[[0, 1, 2], 0] = True
    members[[2, 3], 1] = True
    vectors = RNG.normal(size=(6, 5))
    got = mechanism.pathway_scores(vectors, members, n_permutations=0)
    cosine = ranks.cosine_matrix(vectors[:4], vectors[:4])
    same = [cosine[i, j] for i, j in ((0, 1), (0, 2), (1, 2), (2, 3))]
    apart = [cosine[i, j] for i, j in ((0, 3), (1, 3))]
    assert got["moa_gap"] == pytest.approx(np.mean(same) - np.mean(apart))


def test_the_first_listed_pathway_of_the_suite():
    names = [["big", f"p{k}"] for k in LABEL]
    ratio, p = mechanism.moa_biojepa(CLUSTERED, names, {"big": 1000, **{f"p{k}": 20 for k in range(4)}})
    upper = np.triu_indices(48, 1)
    cosine = ranks.cosine_matrix(CLUSTERED, CLUSTERED)[upper]
    same = (LABEL[:, None] == LABEL[None])[upper]
    assert ratio == pytest.approx(cosine[same].mean() / cosine[~same].mean())
    assert p == pytest.approx(scipy.stats.mannwhitneyu(cosine[same], cosine[~same], alternative="greater").pvalue)
    assert np.isnan(mechanism.moa_biojepa(CLUSTERED, names, {"big": 1000})).all()


def test_comembership_leaves_the_item_itself_out():
    members = np.eye(4, dtype=bool)[LABEL]
    value, z = mechanism.comembership(CLUSTERED, members, n_permutations=30)
    assert value > 0.9
    assert z > 5
    # Twelve unlike items, each its own only neighbour if it counted: without it there is nothing to find.
    lonely = np.eye(12)
    assert mechanism.comembership(lonely, np.eye(12, dtype=bool), n_permutations=0)[0] <= 0.5


def test_dimensions_of_a_known_spectrum():
    rng = np.random.default_rng(1)
    isotropic = rng.normal(size=(4000, 10))
    scores = embedding.dimension_scores(isotropic)
    assert scores["effective_dimension_90"] in (9, 10)
    assert scores["participation_ratio"] == pytest.approx(10, abs=0.2)
    assert scores["rankme"] == pytest.approx(10, abs=0.1)
    assert scores["dead_dimensions"] == 0
    assert scores["isotropy"] > 0.9
    assert abs(scores["mean_cosine"]) < 0.01
    line = np.outer(rng.normal(size=500), np.append(np.ones(3), 0))
    flat = embedding.dimension_scores(line)
    assert flat["effective_dimension_90"] == 1
    assert flat["participation_ratio"] == pytest.approx(1)
    assert flat["dead_dimensions"] == 1
    assert flat["isotropy"] == pytest.approx(0, abs=1e-6)
    assert set(scores) <= set(REGISTRY)


def test_replicates_agree_or_not():
    assert embedding.replicate_consistency(CLUSTERED, LABEL) > 0.9
    assert embedding.replicate_consistency(CLUSTERED, LABEL, cosine=True) > 0.85
    assert embedding.consistency_ratio_biojepa(CLUSTERED, LABEL) > 1.3
    random = [embedding.replicate_consistency(RNG.normal(size=(48, 8)), LABEL) for _ in range(20)]
    assert abs(np.mean(random) - 0.5) < 0.03
    away = sklearn.metrics.pairwise_distances(CLUSTERED)
    same = LABEL[:, None] == LABEL[None]
    upper = np.triu(np.ones((48, 48), bool), 1)
    expected = away[upper & ~same].mean() / away[upper & same].mean()
    assert embedding.consistency_ratio_biojepa(CLUSTERED, LABEL) == pytest.approx(expected)


def test_batches_that_mix_and_batches_that_do_not():
    batch = np.tile([0, 1], 200)
    cells = RNG.normal(size=(400, 3))
    assert embedding.batch_mixing(cells, batch) == pytest.approx(0.95, abs=0.06)
    assert embedding.batch_mixing(cells + 50 * batch[:, None], batch) == pytest.approx(0, abs=1e-9)


def test_dose_response():
    size = np.array([1.0, 2, 3, 3, 2, 1, 5, 6])
    dose = np.array([1.0, 10, 100, 1, 10, 100, 1, 10])
    drug = np.array([*"aaabbb", "c", "c"])
    got = embedding.dose_response(size, dose, drug)  # a rises, b falls, c has two doses only
    assert got["dose_response_spearman"] == pytest.approx(0)
    assert got["dose_response_monotone"] == 0.5


def test_pairs_and_their_gap():
    a = np.eye(3) + 10  # all alike: a cosine near 1 says nothing
    scores = alignment.paired_cosine(a, a)
    assert scores["paired_cosine_biojepa"] == pytest.approx(1)
    assert 0 < scores["paired_cosine_gap"] < 0.01


def test_alignment_retrieval_both_ways():
    targets = np.array(["x", "y", "z"])
    sequences = np.array([[1, 0.1, 0], [0.9, 0, 0], [0, 1, 0], [0.1, 0, 0.2]])
    of = np.array(["x", "x", "y", "y"])
    scores = alignment.alignment_retrieval(sequences, of, np.eye(3), targets)
    # Sequence 3 is nearest to z, then x, then y: rank 3.
    assert scores["alignment_mrr_forward"] == pytest.approx((1 + 1 + 1 + 1 / 3) / 4)
    assert scores["alignment_mrr_backward"] == 1  # x and y find a sequence of theirs first; z has none
    assert set(scores) <= set(REGISTRY)


def test_guides_of_one_target():
    found = alignment.same_target(CLUSTERED, LABEL)
    members = mechanism.pathway_scores(CLUSTERED, np.eye(4, dtype=bool)[LABEL], n_permutations=0)
    assert found["same_target_auroc"] == pytest.approx(members["moa_auroc"])
    assert found["same_target_gap"] == pytest.approx(members["moa_gap"])
    assert found["same_target_ratio_biojepa"] == pytest.approx(members["pathway_ratio_biojepa"])
    across = alignment.cross_modality_auroc(CLUSTERED[::2], LABEL[::2], CLUSTERED[1::2], LABEL[1::2])
    assert across > 0.8


def test_fusion_gap_ablation_and_slots():
    a, b = np.eye(4), np.eye(4)[::-1]
    assert alignment.fused_cosines(a, a, b) == {"fused_to_sequence_cosine": 1.0, "fused_to_target_cosine": 0.0}
    assert alignment.modality_gap_ratio(a, a) == 0
    assert alignment.modality_gap_ratio(a, a + 10) > 5
    drop = alignment.ablation(np.array([0.8, 0.6, np.nan]), np.array([0.4, 0.3, 0.9]))
    assert drop["ablation_drop"] == pytest.approx(0.35)
    assert drop["missing_modality_robustness"] == pytest.approx(0.5)
    assert alignment.slot_degradation(np.array([0.9, 0.7, 0.5, np.nan]), np.array([1, 2, 3, 9])) == pytest.approx(-0.2)


def test_logistic_and_ridge_fits_equal_sklearn():
    x = (CLUSTERED - CLUSTERED.mean(axis=0)) / CLUSTERED.std(axis=0)
    ours = probes.fit_softmax(CLUSTERED, LABEL, 4, penalty=0.1)
    peer = sklearn.linear_model.LogisticRegression(C=1 / (0.1 * 48), tol=1e-10, max_iter=5000).fit(x, LABEL)
    share = np.exp(ours.scores(CLUSTERED))
    np.testing.assert_allclose(share / share.sum(axis=1, keepdims=True), peer.predict_proba(x), atol=2e-5)
    y = RNG.normal(size=(48, 2))
    weight, intercept = probes.fit_ridge(CLUSTERED, y, 0.3)
    peer = sklearn.linear_model.Ridge(alpha=0.3 * 48).fit(CLUSTERED, y)
    np.testing.assert_allclose(CLUSTERED @ weight + intercept, peer.predict(CLUSTERED), rtol=1e-8)


def test_groups_stay_together_and_parts_keep_their_shares():
    group = RNG.integers(0, 40, 600)
    for seed in range(5):
        parts = probes.split_groups(group, seed)
        assert sorted(np.concatenate(parts)) == list(range(600))
        assert not set(group[parts[0]]) & set(group[parts[2]])
        assert abs(len(parts[0]) / 600 - 0.6) < 0.1
    three = probes.split_groups(np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 2]), 0)
    assert all(part.size for part in three)
    with pytest.raises(VcEvalError, match="one group for each"):
        probes.split_groups(np.zeros(5), 0)


def test_a_probe_finds_what_is_there_and_nothing_else():
    there = probes.classify(CLUSTERED, LABEL, seeds=(0, 1, 2))
    assert there.balanced_accuracy > 0.7
    assert there.auroc > 0.9
    assert len(there.sd) == 6
    noise = probes.classify(RNG.normal(size=(200, 6)), np.tile(np.arange(4), 50), seeds=(0, 1, 2))
    assert abs(noise.kappa) < 0.2
    assert abs(noise.auroc - 0.5) < 0.1
    scores = probes.invariance_scores(noise, there)
    assert scores["probe/perturbation_minus_batch"] == pytest.approx(there.kappa - noise.kappa)
    assert set(scores) <= set(REGISTRY)


def test_grouped_splits_take_away_what_only_the_group_knows():
    sequence = np.repeat(np.arange(30), 8)
    label = np.repeat(np.arange(30) % 2, 8)  # the label belongs to the sequence and to nothing else
    x = RNG.normal(size=(30, 40))[sequence] + 0.1 * RNG.normal(size=(240, 40))
    leaky = probes.classify(x, label, seeds=(0, 1))
    grouped = probes.classify(x, label, group_n=sequence, seeds=(0, 1, 2, 3))
    assert leaky.accuracy > 0.95
    assert grouped.accuracy < 0.8


def test_essential_genes_and_what_expression_alone_knows():
    rng = np.random.default_rng(5)
    signal, expression = rng.normal(size=(400, 5)), rng.normal(size=(400, 2))
    effect = 0.5 * signal[:, 0] + 0.5 * expression[:, 0] + 0.1 * rng.normal(size=400)
    scores = probes.essential_genes(np.hstack([signal, expression]), effect, covariate_gc=expression)
    assert scores["probe/essential_auroc"] > 0.95
    assert scores["probe/essential_gain"] > 0.1
    nothing = probes.essential_genes(expression[rng.permutation(400)], effect, covariate_gc=expression)
    assert abs(nothing["probe/essential_auroc"] - 0.5) < 0.1
    assert nothing["probe/essential_gain"] < 0
    assert set(scores) <= set(REGISTRY)


def test_reconstruction_over_genes_and_within_them():
    rng = np.random.default_rng(6)
    level = rng.gamma(2, 1, 50)
    real = level + 0.3 * rng.normal(size=(80, 50))
    means = np.tile(real.mean(axis=0), (80, 1)) + 1e-6 * rng.normal(size=(80, 50))
    scores = probes.reconstruction(means, real)
    assert scores["probe/reconstruction_pearson"] > 0.9  # gene means alone
    assert abs(scores["probe/reconstruction_pearson_genes"]) < 0.1
    read = probes.reconstruct(np.stack([real, rng.normal(size=real.shape)], axis=2), real)
    assert read["probe/reconstruction_pearson_genes"] == pytest.approx(1, abs=1e-3)
    network = probes.reconstruct_biojepa(np.stack([real, rng.normal(size=real.shape)], axis=2), real)
    assert network["probe/reconstruction_pearson_biojepa"] > 0.9
    nothing = probes.reconstruct_biojepa(rng.normal(size=(*real.shape, 2)), real)
    assert abs(nothing["probe/reconstruction_pearson_biojepa"]) < 0.3
