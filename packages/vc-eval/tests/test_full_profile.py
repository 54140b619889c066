"""The full profile against cell-eval 0.8.2, and against definitions written out."""

import importlib.util

import numpy as np
import pytest
import scipy.sparse
import scipy.spatial.distance
import scipy.stats
import sklearn.metrics
from vc_eval.metrics import clustering, full_profile, population
from vc_eval.rank import de

BROADCAST = ("de_spearman_sig", "pearson_edistance", "clustering_agreement")


def panel(n=9, n_genes=160, cells=40, n_control=80, seed=0, noise=0.6):
    """Log1p values of real and predicted cells: (values, group, with the control as the last group) per side."""
    rng = np.random.default_rng(seed)
    base = rng.lognormal(0.5, 1.2, n_genes)
    effect = rng.normal(0, 0.9, (n, n_genes)) * (rng.random((n, n_genes)) < 0.15)
    effect[0] = 0
    guess = 0.7 * effect + rng.normal(0, noise, effect.shape) * (rng.random(effect.shape) < 0.2)
    group = np.concatenate([np.repeat(np.arange(n), cells), np.full(n_control, n)])
    sides = []
    for change in (effect, guess):
        rate = base * np.exp(np.vstack([change, np.zeros(n_genes)]))[group]
        counts = rng.poisson(rate * rng.gamma(4, 0.25, rate.shape))
        totals = counts.sum(axis=1, keepdims=True)
        sides.append(np.log1p(counts / totals * 1e4).astype(np.float32))
    return sides, group


def ours(sides, group, target_p):
    n = group.max()
    tables, means, energy = [], [], []
    for values in sides:
        cells, control = values[group < n], values[group == n]
        tables.append(de.test_groups(cells, group[group < n], n, de.sort_control(control)))
        means.append((tables[-1].mean_pg, tables[-1].control_mean_g))
        sparse = scipy.sparse.csr_array(cells)
        energy.append(population.energy_distances(sparse, group[group < n], n, control, unbiased=False))
    real, pred = tables
    scores = full_profile.de_scores(real, pred)
    scores |= full_profile.profile_scores(*means[1], *means[0], target_p)
    scores["cell_eval/pearson_edistance"] = np.full(n, population.edistance_correlation(*energy))
    return scores


@pytest.mark.skipif(importlib.util.find_spec("cell_eval") is None, reason="cell-eval is not installed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("noise", [0.6, 3.0])
def test_every_metric_of_the_profile_equals_cell_eval(tmp_path, noise):
    import anndata
    import pandas as pd
    from cell_eval import MetricsEvaluator

    sides, group = panel(noise=noise)
    n = group.max()
    labels = np.array([*(f"g{p:03d}" for p in range(n)), "non-targeting"])
    genes = pd.DataFrame(index=[f"g{g:03d}" for g in range(sides[0].shape[1])])
    files = [
        anndata.AnnData(
            scipy.sparse.csr_matrix(values),
            obs=pd.DataFrame({"target": labels[group]}, index=[f"c{i}" for i in range(group.size)]), var=genes,
        )
        for values in sides
    ]  # fmt: skip
    evaluator = MetricsEvaluator(
        adata_pred=files[1], adata_real=files[0], control_pert="non-targeting", pert_col="target",
        outdir=str(tmp_path), num_threads=1,
    )  # fmt: skip
    results, _ = evaluator.compute(
        profile="full", write_csv=False, skip_metrics=["clustering_agreement"], break_on_error=True
    )
    table = results.to_pandas().set_index("perturbation").sort_index()
    scores = ours(sides, group, np.arange(n))
    compared = 0
    for column in table.columns:
        if column.startswith("discrimination") or f"cell_eval/{column}" in scores:
            tolerance = 1e-9
            if "spearman" in column or column in ("pearson_delta", "mse", "mae", "mse_delta", "mae_delta"):
                tolerance = 1e-6
            if column == "pearson_edistance":
                tolerance = 1e-5
            np.testing.assert_allclose(
                scores[f"cell_eval/{column}"], table[column].astype(float), rtol=0, atol=tolerance, err_msg=column
            )
            compared += 1
    assert compared == 27  # every column but clustering agreement, which is compared below


@pytest.mark.skipif(importlib.util.find_spec("cell_eval") is None, reason="cell-eval is not installed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("moved", [0, 6])
def test_clustering_agreement_equals_cell_eval_where_clusters_are_plain(moved):
    """Leiden breaks ties at random, so equality can be asked only where every run finds the same clusters."""
    import anndata
    import pandas as pd
    from cell_eval._types import PerturbationAnndataPair
    from cell_eval.metrics._anndata import ClusteringAgreement

    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(4), 18)
    guessed = label.copy()
    guessed[:: 18 // 6][:moved] = 3  # some of the first group are predicted to lie in the last
    centre = 8 * rng.normal(size=(4, 30)) + 20
    real, predicted = (centre[group] + rng.normal(size=(72, 30)) for group in (label, guessed))
    names = [*(f"g{i:03d}" for i in range(72)), "ctrl"]
    sides = {
        side: anndata.AnnData(
            np.vstack([profile, np.full(30, 20.0)]),
            obs=pd.DataFrame({"target": names}, index=names),
            var=pd.DataFrame(index=[f"x{g}" for g in range(30)]),
        )
        for side, profile in (("real", real), ("pred", predicted))
    }
    pair = PerturbationAnndataPair(**sides, pert_col="target", control_pert="ctrl")
    theirs = ClusteringAgreement()(pair)
    assert clustering.clustering_agreement(predicted, real) == pytest.approx(theirs, abs=1e-9)
    assert theirs == 1 if not moved else 0.5 < theirs < 1


def test_top_sets_by_hand():
    def table(q, lfc):
        q, lfc = np.array([q], float), np.array([lfc], float)
        return de.DeTable(u_pg=q, p_value_pg=q, q_value_pg=q, lfc_pg=lfc, mean_pg=q, control_mean_g=q[0])

    real = table([0, 0, 0, 1, 1], [3, -2, 1, 9, 9])
    predicted = table([0, 1, 0, 0, 1], [-1, 9, 2, 5, 9])
    scores = full_profile.de_scores(real, predicted)
    # Real: 0, 1, 2. Predicted: 3, 2, 0. Three of three each: genes 0 and 2 are shared.
    assert scores["cell_eval/overlap_at_N"] == pytest.approx(2 / 3)
    assert scores["cell_eval/precision_at_50"] == pytest.approx(2 / 3)
    assert scores["cell_eval/de_sig_genes_recall"] == pytest.approx(2 / 3)
    assert scores["cell_eval/de_direction_match"] == pytest.approx(1 / 3)  # 0 down, 1 up, 2 up, against up, down, up


def test_nothing_significant_is_undefined_or_zero_as_the_source_has_it():
    ones = np.ones((2, 5))
    flat = de.DeTable(u_pg=ones, p_value_pg=ones, q_value_pg=ones, lfc_pg=ones, mean_pg=ones, control_mean_g=ones[0])
    scores = full_profile.de_scores(flat, flat)
    assert (scores["cell_eval/overlap_at_N"] == 0).all()
    assert (scores["cell_eval/de_spearman_sig"] == 1).all()
    for name in ("de_direction_match", "de_sig_genes_recall", "pr_auc", "roc_auc", "de_spearman_lfc_sig"):
        assert np.isnan(scores[f"cell_eval/{name}"]).all()


@pytest.mark.parametrize("distance", ["l1", "l2", "cosine"])
def test_discrimination_equals_the_definition_gene_by_gene(distance):
    rng = np.random.default_rng(3)
    a, b, target = rng.normal(size=(8, 12)), rng.normal(size=(8, 12)), rng.integers(-1, 12, 8)
    kinds = {"l1": "cityblock", "l2": "euclidean", "cosine": "cosine"}
    for p in range(8):
        kept = np.arange(12) != target[p]
        d = scipy.spatial.distance.cdist(a[[p]][:, kept], b[:, kept], kinds[distance])[0]
        assert full_profile.discrimination(a, b, target, distance)[p] == pytest.approx(1 - (d < d[p]).sum() / 8)


def test_energy_distance_biased_and_unbiased():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(700, 6)), rng.normal(0.5, 1, (90, 6))
    within = sklearn.metrics.pairwise_distances(a)
    assert population.mean_distance(a, unbiased=False) == pytest.approx(within.mean(), rel=1e-10)
    assert population.mean_distance(a) == pytest.approx(within.sum() / (700 * 699), rel=1e-10)
    expected = 2 * scipy.spatial.distance.cdist(a, b).mean() - within.sum() / (700 * 699)
    expected -= scipy.spatial.distance.pdist(b).mean()
    assert population.energy_distance(scipy.sparse.csr_array(a), b) == pytest.approx(expected, rel=1e-9)


def test_unbiased_energy_distance_of_one_population_is_zero_on_average():
    rng = np.random.default_rng(1)
    draws = [population.energy_distance(rng.normal(size=(12, 4)), rng.normal(size=(12, 4))) for _ in range(300)]
    biased = [population.energy_distance(*rng.normal(size=(2, 12, 4)), unbiased=False) for _ in range(300)]
    assert abs(np.mean(draws)) < 3 * np.std(draws) / np.sqrt(300) + 1e-3
    assert np.mean(biased) > 0.1
