"""No model has an advantage that is no knowledge: same controls for all, and nothing to gain where labels are shuffled."""

from dataclasses import replace

import numpy as np
import pytest
from vc_model.anchored import Anchored, AnchoredConfig
from vc_model.baselines import EFFECTS
from vc_model.table.effects import Conditions
from vc_model.testing import make_world

PLAIN = AnchoredConfig(n_folds=3)
MEANS = ("no_change", "mean_effect", "context_mean", "txpert_general")


def shuffled(world, seed):
    """The world's training effects under each other's names, and its held-out conditions measured anew.

    Training and evaluation share no control: what is held out has noise of its own.
    """
    rng = np.random.default_rng(seed)
    actions = np.array(world.train.conditions.actions, dtype=object)[rng.permutation(len(world.train))]
    conditions = Conditions(world.train.conditions.cell_line, tuple(actions), world.train.contexts)
    return replace(world.train, conditions=conditions)


def pearson(a_qg, b_qg):
    a_qg, b_qg = (part - part.mean(axis=1, keepdims=True) for part in (a_qg, b_qg))
    norm_q = np.sqrt((a_qg**2).sum(axis=1) * (b_qg**2).sum(axis=1))
    return (a_qg * b_qg).sum(axis=1) / np.where(norm_q > 0, norm_q, 1)


@pytest.fixture(scope="module")
def null_gains():
    """Gains of `anchored` and `blup` over the best of the means, one row a world: few controls, no knowledge of targets."""
    rows = []
    for seed in range(6):
        world = make_world(
            n_train=24, n_test=16, n_genes=150, effect=0.15, mean_effect=0.1, noise=1.5, features="useless", seed=seed
        )
        train = shuffled(world, seed)
        said = {"anchored": Anchored(PLAIN).fit(train).predict(world.test).delta_pg}
        said |= {name: EFFECTS[name](train).delta(world.test) for name in (*MEANS, "blup")}
        r = {name: pearson(delta_qg, world.truth_qg).mean() for name, delta_qg in said.items()}
        best = max(r[name] for name in MEANS)
        rows.append([r["anchored"] - best, r["blup"] - best])
    return np.array(rows)


@pytest.mark.parametrize("column", [0, 1], ids=["anchored", "blup"])
def test_shuffled_labels_give_no_gain_in_correlation_over_a_plain_mean(null_gains, column):
    gain_s = null_gains[:, column]
    assert gain_s.mean() - 1.96 * gain_s.std(ddof=1) / np.sqrt(len(gain_s)) <= 0


def test_every_model_is_fitted_on_the_same_effects():
    world = make_world(n_train=24, n_test=4, n_genes=60, features="none")
    everything = world.train
    # Only the effects against all controls may speak in a baseline; what judges is left alone.
    other = replace(everything, half_pg=everything.half_pg + 1, check_pg=everything.check_pg - 1)
    for name in (*MEANS, "blup", "additive", "kernel_ridge", "knn", "pls", "lowrank_ridge"):
        np.testing.assert_array_equal(
            EFFECTS[name](other).delta(world.test), EFFECTS[name](everything).delta(world.test)
        )
    fitted, same = (Anchored(replace(PLAIN, direct=False)).fit(table) for table in (other, everything))
    np.testing.assert_array_equal(fitted.gp.basis_pg, same.gp.basis_pg)
