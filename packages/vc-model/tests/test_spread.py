from dataclasses import replace

import numpy as np
from vc_model.baselines import BASELINES
from vc_model.doubt.spread import fit_spread
from vc_model.table.folds import BINS, OutOfFold
from vc_model.testing import make_world


def test_variance_is_the_error_without_the_noise_of_measurement():
    rng = np.random.default_rng(0)
    table = make_world(n_train=300, n_genes=100, features="none").train
    sd_g = np.linspace(0.05, 0.3, 100)
    noise_pg = table.noise_pg()
    error = sd_g * rng.standard_normal((300, 100)) + np.sqrt(noise_pg) * rng.standard_normal((300, 100))
    table = replace(table, check_pg=error.astype(np.float32))
    oof = OutOfFold(np.arange(300), np.full(300, BINS.index("unseen")), {})
    spread = fit_spread(table, oof, np.zeros((300, 100), dtype=np.float32))
    unseen = np.array([BINS.index("unseen")])
    var_g = spread.variance(unseen, np.zeros((1, 100), dtype=np.float32))[0]
    np.testing.assert_allclose(np.sqrt(var_g[20:]), sd_g[20:], rtol=0.25)
    assert np.abs(np.log(var_g / sd_g**2)).mean() < 0.25


def test_intervals_cover_their_share_of_the_truth():
    inside = {0.68: [], 0.9: []}
    for seed in range(4):
        world = make_world(n_train=150, n_test=50, n_genes=150, features="weak", seed=seed)
        prediction = BASELINES["feature_ridge"]().fit(world.train).predict(world.test)
        z = np.abs(prediction.delta_pg - world.truth_qg) / np.sqrt(prediction.var_pg)
        for level, width in ((0.68, 0.9945), (0.9, 1.645)):
            inside[level].append((z < width).mean())
    assert abs(np.mean(inside[0.68]) - 0.68) < 0.07
    assert abs(np.mean(inside[0.9]) - 0.9) < 0.05


def test_every_bin_has_a_positive_variance_and_borrows_where_it_must():
    table = make_world(n_train=30, n_genes=50, features="none").train
    oof = OutOfFold(np.arange(30), np.full(30, BINS.index("unseen")), {})
    spread = fit_spread(table, oof, np.zeros((30, 50), dtype=np.float32))
    assert (spread.var_bg > 0).all()
    unseen, combo = BINS.index("unseen"), BINS.index("combo_unmeasured")
    np.testing.assert_array_equal(spread.var_bg[BINS.index("new_line")], spread.var_bg[unseen])
    np.testing.assert_allclose(spread.var_bg[combo], 2 * spread.var_bg[unseen], rtol=1e-6)
