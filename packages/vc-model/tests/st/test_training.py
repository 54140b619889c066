"""What training must reach on worlds whose answer is known, and what it must not."""

import jax
import numpy as np
import pytest
from vc_model.errors import TableError, VcModelError
from vc_model.st.losses import energy_distance
from vc_model.st.mapper import bind_mapper
from vc_model.st.sets import CellSets, SetBatches
from vc_model.st.testing import fit_tiny, make_sets, make_table, tiny_config
from vc_model.table.effects import Action


def score(config, params, sets, table, unknown=False):
    """Mean energy distance of mapped controls to measured cells, over perturbations."""
    rows, total = sets.rows(), []

    @jax.jit
    def distance(params, batch, measured):
        return energy_distance(bind_mapper(config, params)(batch).y, measured)[0]

    for at, action in enumerate(sets.action_p):
        if not action.targets:
            continue
        batch = {"x_control": sets.x_ng[rows[0]][None], "pert_feature": table.features([action])}
        batch["pert_id"] = table.ids([action]) * (not unknown)
        total.append(float(distance(params, batch, sets.x_ng[rows[at]][None])))
    return np.mean(total)


def unchanged(sets):
    rows, distance = sets.rows(), jax.jit(energy_distance)
    return np.mean([float(distance(sets.x_ng[rows[0]][None], sets.x_ng[r][None])[0]) for r in rows[1:]])


def test_controls_alone_are_learnt_to_nothing(tmp_path):
    sets, table = make_sets(n_perturbations=1), make_table(1)
    config = tiny_config(n_perturbations=1, width=32, loss="pseudobulk")
    alone = sets.without({1})
    params = fit_tiny(alone, table, config, tmp_path, steps=250)
    batch = SetBatches(alone, table, config, n_sets=1, seed=5).at(0)
    mapped = jax.jit(lambda params, batch: bind_mapper(config, params)(batch).y)(params, batch)
    change = np.asarray(mapped).mean(axis=1) - batch["x_control"].mean(axis=1)
    assert (change**2).mean() < 1e-3


def test_effects_are_learnt_and_random_ids_gain_nothing(tmp_path):
    sets, table, config = make_sets(), make_table(), tiny_config(width=32)
    learnt = score(config, fit_tiny(sets, table, config, tmp_path / "a"), sets, table)
    assert learnt < 0.7 * unchanged(sets)
    # Labels that say nothing: every perturbation's cells come from all perturbations.
    rng = np.random.default_rng(1)
    code = sets.condition_n.copy()
    code[code > 0] = rng.permutation(code[code > 0])
    mixed = CellSets(sets.x_ng, code, sets.line_p, sets.action_p)
    params = fit_tiny(mixed, table, config, tmp_path / "b")
    fresh = make_sets(seed=9)
    with_ids, without = score(config, params, fresh, table), score(config, params, fresh, table, unknown=True)
    assert with_ids > learnt and with_ids > 0.9 * without


def test_features_carry_what_ids_cannot(tmp_path):
    table = make_table(width=6)
    config = tiny_config(width=32, feature_width=table.width)
    sets = make_sets()
    params = fit_tiny(sets, table, config, tmp_path)
    assert score(config, params, sets, table, unknown=True) < 0.8 * unchanged(sets)


def test_random_genes_are_worse_than_variable_ones(tmp_path):
    sets, table = make_sets(n_genes=48), make_table()
    variable = sets.x_ng.var(axis=0).argsort()[::-1][:12]
    chance = np.random.default_rng(0).choice(48, 12, replace=False)
    ratio = []
    for at, genes in enumerate((variable, chance)):
        part = CellSets(sets.x_ng[:, genes], sets.condition_n, sets.line_p, sets.action_p)
        config = tiny_config(n_genes=12, width=32)
        params = fit_tiny(part, table, config, tmp_path / str(at))
        ratio.append(unchanged(part) - score(config, params, part, table))
    assert ratio[0] > ratio[1]


def test_training_goes_on_from_a_save_to_the_same_bytes(tmp_path):
    sets, table, config = make_sets(), make_table(), tiny_config()
    whole = fit_tiny(sets, table, config, tmp_path / "a", steps=6)
    again = fit_tiny(sets, table, config, tmp_path / "a", steps=6)
    same = fit_tiny(sets, table, config, tmp_path / "b", steps=6)
    for other in (again, same):
        jax.tree.map(np.testing.assert_array_equal, whole, other)


def test_batches_are_a_function_of_seed_and_step():
    sets, table, config = make_sets(), make_table(), tiny_config()
    one, two = (SetBatches(sets, table, config, n_sets=4, seed=3) for _ in range(2))
    list(zip(range(3), one, strict=False))
    two.set_state({"step": 2})
    for key, value in next(iter(two)).items():
        np.testing.assert_array_equal(value, SetBatches(sets, table, config, n_sets=4, seed=3).at(2)[key])


def test_conditions_without_cells_or_controls_are_refused():
    sets = make_sets(n_perturbations=2)
    with pytest.raises(TableError, match="found none of"):
        CellSets(sets.x_ng, sets.condition_n, (*sets.line_p, "A"), (*sets.action_p, Action(("Q",)))).rows()
    with pytest.raises(TableError, match="controls of every line"):
        sets.without({0}).rows()
    with pytest.raises(VcModelError, match="loss: expected"):
        tiny_config(loss="mse")
