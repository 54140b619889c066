from dataclasses import replace

import numpy as np
import pytest
from vc_model.anchored import Anchored, AnchoredConfig, ResidualConfig
from vc_model.anchored.losses import contrastive, cosine_distance, weighted_square
from vc_model.anchored.residual import _extra
from vc_model.anchored.weights import LossWeights, de_weights
from vc_model.testing import make_world

RNG = np.random.default_rng(0)


def test_de_weights_are_those_of_their_definition():
    table = make_world(n_train=5, n_test=0, n_genes=30, lines=("A", "B")).train
    weight = de_weights(table)
    row = 7  # of line B
    others = [at for at in range(len(table)) if table.conditions.cell_line[at] == "B" and at != row]
    variance = table.contexts.sigma2_cg[1] * (1 / table.n_cells_p[row] + sum(1 / table.n_cells_p[others]) / 16)
    t = np.abs(table.delta_pg[row] - table.delta_pg[others].mean(axis=0)) / np.sqrt(variance)
    expected = ((t - t.min()) / (t.max() - t.min())) ** 2
    np.testing.assert_allclose(weight[row], expected / expected.sum(), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(weight.sum(axis=1), 1, rtol=1e-5)


def test_what_is_held_out_has_no_part_in_de_weights():
    table = make_world(n_train=8, n_test=0, n_genes=30).train
    held = np.arange(8) >= 6
    rows = np.arange(8)
    direction = np.eye(30, dtype=np.float32)[:4]

    def weights(table):
        made = _extra(table, held, rows, table.delta_pg, direction, 1.0, LossWeights(wmse=1.0))
        return made["gene_weight_mg"]

    changed = table.delta_pg.copy()
    changed[held] += 5 * RNG.standard_normal(changed[held].shape).astype(np.float32)
    before, after = weights(table), weights(replace(table, delta_pg=changed))
    np.testing.assert_array_equal(before, after)
    assert not before[held].any()
    assert before[~held].any()


def test_losses_are_those_of_their_definition():
    said, truth = RNG.standard_normal((2, 4, 6)).astype(np.float32)
    weight = RNG.random((4, 6)).astype(np.float32)
    for m in range(4):
        assert weighted_square(said - truth, weight)[m] == pytest.approx(
            sum(weight[m] * (said[m] - truth[m]) ** 2), rel=1e-5
        )
        cosine = said[m] @ truth[m] / np.linalg.norm(said[m]) / np.linalg.norm(truth[m])
        assert cosine_distance(said, truth)[m] == pytest.approx(1 - cosine, rel=1e-4)
    assert cosine_distance(np.zeros((1, 6), np.float32), truth[:1])[0] == pytest.approx(1)
    line, condition, seen = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 2]), np.ones(4)
    lost = contrastive(said, truth, line, condition, seen, 2.0)
    odds = np.exp(-((said[0] - truth[:3]) ** 2).sum(axis=1) / 2)
    assert lost[0] == pytest.approx(-np.log(odds[:2].sum() / odds.sum()), rel=1e-4)
    assert lost[3] == pytest.approx(0, abs=1e-5)
    hidden = contrastive(said, truth, line, condition, np.array([1, 1, 0, 1]), 2.0)
    np.testing.assert_allclose(hidden[:3], 0, atol=1e-5)


@pytest.fixture(scope="module")
def world():
    return make_world(n_train=30, n_test=10, n_combos=60, n_test_combos=10, n_genes=40, interaction=0.3)


@pytest.mark.parametrize("loss", ["wmse", "cosine", "contrastive"])
def test_every_loss_can_be_switched_on_and_learns(world, loss):
    residual = ResidualConfig(hidden=16, rank=8, directions=16, steps=60, losses=LossWeights(mse=0.5, **{loss: 0.5}))
    config = AnchoredConfig(
        gp=None,
        members=0,
        direct=False,
        dose=False,
        n_folds=2,
        anchors=("mean_effect", "additive"),
        measured=(),
        residual=residual,
    )
    fitted = Anchored(config).fit(world.train)
    without = Anchored(replace(config, residual=None)).fit(world.train)
    combos = world.test.sizes == 2
    error, before = (
        float(((model.predict(world.test).delta_pg - world.truth_qg)[combos] ** 2).mean())
        for model in (fitted, without)
    )
    assert fitted.gate_b2.max() > 0
    assert error < before
