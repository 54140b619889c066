from dataclasses import replace

import numpy as np
import pytest
from vc_model.anchored import Anchored, AnchoredConfig
from vc_model.anchored.adapt import adapt
from vc_model.checkpoint import load_checkpoint, save_checkpoint
from vc_model.errors import TableError
from vc_model.testing import make_world

CONFIG = AnchoredConfig(n_folds=3)


def mse(prediction, truth):
    return float(((prediction - truth) ** 2).mean())


@pytest.fixture(scope="module")
def line():
    """A model of two lines, and everything measured in a third whose mean effect is its own."""
    world = make_world(
        n_train=40, n_test=0, n_genes=80, lines=("A", "B", "C"), mean_effect=0.4, effect=0.2, features="weak", seed=3
    )
    in_c = world.train.conditions.cell_line == "C"
    fitted = Anchored(CONFIG).fit(world.train.subset(~in_c))
    return fitted, world.train.subset(in_c), world.train_truth_pg[in_c]


def test_measured_perturbations_help_the_others_and_more_help_more(line):
    fitted, table, truth = line
    held = np.arange(25, 40)
    error = {0: mse(fitted.predict(table.conditions.subset(held)).delta_pg, truth[held])}
    for k in (5, 25):
        adapted = adapt(fitted, table.subset(np.arange(k)))
        error[k] = mse(adapted.predict(table.conditions.subset(held)).delta_pg, truth[held])
    assert error[25] < 0.5 * error[0]
    assert error[25] < error[5] < 1.02 * error[0]


def test_where_nothing_is_learnt_nothing_is_changed(line):
    fitted, table, _ = line
    two = adapt(fitted, table.subset(np.arange(2)))
    np.testing.assert_array_equal(two.predict(table.conditions).delta_pg, fitted.predict(table.conditions).delta_pg)
    rng = np.random.default_rng(0)
    said = fitted.predict(table.conditions).delta_pg
    noise = np.sqrt(table.noise_pg()) * rng.standard_normal(said.shape)
    right = replace(table, delta_pg=said + noise.astype(np.float32), check_pg=said + noise.astype(np.float32))
    adapted = adapt(fitted, right.subset(np.arange(20)))
    assert mse(adapted.predict(table.conditions).delta_pg, said) < 0.1 * float(table.noise_pg().mean())


def test_other_lines_keep_their_predictions_and_the_new_one_is_supported(line):
    fitted, table, _ = line
    adapted = adapt(fitted, table.subset(np.arange(10)))
    actions = table.conditions.actions
    elsewhere = replace(table.conditions, cell_line=np.array(["A"] * len(actions)), perturbation=())
    np.testing.assert_array_equal(adapted.predict(elsewhere).delta_pg, fitted.predict(elsewhere).delta_pg)
    assert adapted.predict(table.conditions).supported_p.all()
    assert not fitted.predict(table.conditions).supported_p.any()


def test_intervals_are_calibrated_on_the_new_line(line):
    fitted, table, _ = line
    adapted = adapt(fitted, table.subset(np.arange(25)))
    prediction = adapted.predict(table.conditions.subset(np.arange(25, 40)))
    low, high = prediction.interval(0.8, table.noise_pg(np.arange(25, 40)))
    measured = table.check_pg[25:]
    assert 0.7 < float(((measured > low) & (measured < high)).mean()) < 0.92


def test_an_adapted_model_is_saved_to_the_bit(line, tmp_path):
    fitted, table, _ = line
    adapted = adapt(fitted, table.subset(np.arange(10)))
    save_checkpoint(tmp_path / "model", adapted)
    again = load_checkpoint(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(table.conditions).delta_pg, adapted.predict(table.conditions).delta_pg)


def test_a_line_of_the_model_itself_and_other_genes_are_refused(line):
    fitted, table, _ = line
    own = replace(table, conditions=replace(table.conditions, cell_line=np.array(["A"] * len(table))))
    with pytest.raises(TableError, match="Fit the model again"):
        adapt(fitted, own)
    fewer = replace(table, contexts=replace(table.contexts, genes=table.genes[::-1]))
    with pytest.raises(TableError, match="genes"):
        adapt(fitted, fewer)
