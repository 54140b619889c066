from dataclasses import replace

import anndata
import numpy as np
import pytest
import scipy.sparse
from vc_eval import testing
from vc_eval.contracts import read_splits
from vc_eval.errors import VcEvalError
from vc_eval.metrics import expression
from vc_eval.split.truth import log1p_cp10k, make_truth, measure, measured_genes


def test_cp10k_divides_by_the_stated_library_size():
    counts = scipy.sparse.csr_array(np.array([[1, 0, 4], [0, 0, 0]], np.float32))
    values = log1p_cp10k(counts, np.array([20_000.0, 0.0])).toarray()
    np.testing.assert_allclose(values, [[np.log(1.5), 0, np.log(3)], [0, 0, 0]], rtol=1e-6)


def test_equal_rates_are_ties():
    counts = np.arange(1, 400)
    values = log1p_cp10k(
        scipy.sparse.csr_array(np.outer([1, 3, 7], counts)), np.array([1234.0, 3702.0, 8638.0])
    ).toarray()
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_array_equal(values[0], values[2])


def test_delta_weighs_controls_by_the_batches_of_the_cells():
    cells = scipy.sparse.csr_array(np.array([[4.0], [6.0], [8.0]]))
    control = scipy.sparse.csr_array(np.array([[1.0], [1.0], [5.0]]))
    effects = measure(cells, np.zeros(3, int), 1, np.array([0, 0, 1]), control, np.array([0, 0, 1]), 3)
    # mean 6; control 2/3 * 1 + 1/3 * 5; all controls together 7/3.
    np.testing.assert_allclose(effects.delta_pg, [[6 - 7 / 3]])
    effects = measure(cells, np.zeros(3, int), 1, np.array([1, 1, 1]), control, np.array([0, 0, 1]), 3)
    np.testing.assert_allclose(effects.delta_pg, [[1.0]])
    np.testing.assert_allclose(effects.control_g, [7 / 3])
    # A batch without controls takes the mean of all controls.
    effects = measure(cells, np.zeros(3, int), 1, np.array([2, 2, 2]), control, np.array([0, 0, 1]), 3)
    np.testing.assert_allclose(effects.delta_pg, [[6 - 7 / 3]])


def test_truth_matches_a_plain_computation_on_counts(world):
    screen, content, _ = world
    splits = read_splits(content, screen)
    genes = measured_genes(screen)
    truth = make_truth(screen, splits, "A", genes)
    obs = screen.obs
    x = np.log1p(screen[:, genes].X.toarray().astype(float) / obs["total_counts"].to_numpy()[:, None] * 1e4)
    evaluation = obs.index.isin(splits.controls["evaluation"]) & (obs["cell_line"] == "A")
    for p, name in enumerate(truth.perturbations):
        mask = ((obs["perturbation"] == name) & (obs["cell_line"] == "A")).to_numpy()
        expected = x[mask].mean(0)
        for batch, share in obs["batch"][mask].value_counts(normalize=True).items():
            expected = expected - share * x[evaluation & (obs["batch"] == batch)].mean(0)
        np.testing.assert_allclose(truth.effects.delta_pg[p], expected, atol=1e-5)
        assert truth.sizes[p] == mask.sum()
        assert set(truth.genes[truth.excluded_pg[p]]) == set(name.split("+"))
        assert truth.target_p[p] == (-1 if "+" in name else list(genes).index(name))
        assert truth.is_combo[p] == ("+" in name)


def test_noise_variance_is_the_spread_of_repeated_screens():
    deltas, stated = [], []
    for seed in range(40):
        screen = testing.make_screen(n_genes=40, n_perturbations=3, effect=0.0, seed=0, n_cells=25, n_controls=90)
        rng = np.random.default_rng(seed)
        rows = rng.permutation(screen.n_obs)  # resample cells within each group: same world, other cells
        lambda_ = np.asarray(screen.X.mean(0)).ravel()
        counts = rng.poisson(np.tile(lambda_, (screen.n_obs, 1))).astype(np.float32)
        fresh = anndata.AnnData(
            scipy.sparse.csr_matrix(counts), obs=screen.obs.copy(), var=screen.var.copy(), uns=dict(screen.uns)
        )
        fresh.obs["total_counts"] = np.float32(lambda_.sum())
        assert rows.size == fresh.n_obs
        truth = make_truth(fresh, read_splits(testing.make_splits(screen, n_test=1), fresh), "A", measured_genes(fresh))
        deltas.append(truth.effects.delta_pg[0])
        stated.append(truth.noise_var_pg[0])
    ratio = np.mean(stated, axis=0).sum() / np.var(deltas, axis=0, ddof=1).sum()
    assert 0.9 < ratio < 1.15


def test_shared_controls_make_noise_look_like_prediction():
    """With no effect at all, subtracting one control mean from prediction and truth correlates them (model.md B1)."""
    shared, disjoint = [], []
    for seed in range(4):
        screen = testing.make_screen(
            n_genes=400, n_perturbations=30, effect=0.0, n_cells=30, n_controls=270, n_batches=1, seed=seed
        )
        splits = read_splits(testing.make_splits(screen, n_test=6, seed=seed), screen)
        leaky = replace(splits, controls=splits.controls | {"evaluation": splits.controls["input"]})
        train = splits.conditions.query("part == 'train'")["perturbation"]
        population = log1p_cp10k(screen.X, screen.obs["total_counts"].to_numpy())[
            screen.obs["perturbation"].isin(train).to_numpy()
        ].mean(axis=0)
        for kind, result in ((leaky, shared), (splits, disjoint)):
            truth = make_truth(screen, kind, "A", measured_genes(screen))
            predicted = np.tile(np.asarray(population) - np.asarray(truth.input.mean(axis=0)), (6, 1))
            result.append(expression.pearson(predicted, truth.effects.delta_pg, ~truth.excluded_pg).mean())
    # cov = 1/90, var(truth) = 1/30 + 1/90, var(prediction) = 1/690 + 1/90 in units of the cells' variance: r = 0.47.
    assert abs(np.mean(shared) - 0.47) < 0.06
    assert abs(np.mean(disjoint)) < 0.1


def test_targets_are_found_by_symbol_and_by_id(world):
    screen, splits, _ = world
    renamed = screen.copy()
    renamed.var_names = [f"ENSG{k:011d}" for k in range(screen.n_vars)]
    truth = make_truth(renamed, read_splits(splits, renamed), "A", measured_genes(renamed))
    assert (truth.excluded_pg.sum(1) == np.where(truth.is_combo, 2, 1)).all()


def test_a_line_without_evaluation_controls_is_refused(world):
    screen, content, _ = world
    splits = read_splits(content, screen)
    of_b = set(screen.obs_names[screen.obs["cell_line"] == "B"])
    kept = [name for name in splits.controls["evaluation"] if name not in of_b]
    with pytest.raises(VcEvalError, match=r"'B'.*no evaluation controls"):
        make_truth(
            screen, replace(splits, controls=splits.controls | {"evaluation": kept}), "B", measured_genes(screen)
        )


def test_training_means_weigh_labels_equally(world):
    screen, content, _ = world
    splits = read_splits(content, screen)
    truth = make_truth(screen, splits, "B", measured_genes(screen))
    x = log1p_cp10k(screen[:, truth.genes].X, screen.obs["total_counts"].to_numpy()).toarray().astype(float)
    in_b = (screen.obs["cell_line"] == "B").to_numpy()
    train = splits.conditions.query("part == 'train' and cell_line == 'B'")["perturbation"]
    means = [x[in_b & (screen.obs["perturbation"] == name).to_numpy()].mean(0) for name in train]
    control = x[in_b & screen.obs_names.isin(splits.controls["reference"])].mean(0)
    np.testing.assert_allclose(truth.mean_baseline_g, np.mean([*means, control], axis=0), atol=1e-6)
    np.testing.assert_allclose(truth.train_delta_g, np.mean(means, axis=0) - control, atol=1e-6)
