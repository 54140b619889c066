"""Verbs that ask a fitted model."""

import numpy as np
import pytest
from vc_model.models import fit_models
from vc_model.plan.ask_model import join_actions
from vc_model.plan.bank import make_bank, model_bank
from vc_model.plan.combo import combo
from vc_model.plan.errors import PlanError
from vc_model.plan.escape import escape
from vc_model.plan.mechanism import mechanism
from vc_model.plan.safety import safety
from vc_model.plan.steer import steer
from vc_model.plan.target import target
from vc_model.table.effects import Action


def test_target_on_a_model_finds_held_out_perturbations(world, fitted):
    names = [action.label for action in (*world.train.conditions.actions, *world.test.actions)]
    bank = model_bank(fitted, "line A", names)
    ranks = []
    for row in range(15):
        table = target(world.train.genes, world.truth_qg[row], bank).table
        ranks.append(int(table.loc[table["name"] == world.test.actions[row].label, "rank"].iloc[0]))
    assert np.mean(np.array(ranks) <= 10) > 3 * 10 / len(names)


def test_combo_refuses_a_model_that_adds(fitted):
    actions = [Action((f"G{row}",), 0) for row in range(6)]
    with pytest.raises(PlanError, match="predicts no interaction"):
        combo(fitted, "line A", actions)


def test_combo_ranks_by_a_goal(world, fitted):
    actions = [Action((f"G{row}",), 0) for row in range(6)]
    goal = world.train_truth_pg[1] + world.train_truth_pg[4]
    table = combo(fitted, "line A", actions, goal_g=goal).table
    assert "G1+G4" in set(table["name"].head(3))


def test_safety_abstains_outside_support_and_keeps_the_front(fitted):
    actions = [*(Action((f"G{row}",), 0) for row in range(10)), Action(("stranger",), 0)]
    table = safety(fitted, actions, {"panel": [f"G{row}" for row in range(50, 80)]}).table.set_index("name")
    assert table.loc["stranger", "support"] == "no support"
    assert not table.loc["stranger", "on_front"]
    assert table["on_front"].any()
    assert table.index[-1] == "stranger"
    with pytest.raises(PlanError, match="none of 1"):
        safety(fitted, actions, {"panel": ["x", "y", "z"]})


def test_escape_ranks_what_undoes_the_effect(world, fitted):
    library = [Action((f"G{row}",), 0) for row in range(12)]
    table = escape(fitted, "line A", library[0], library).table
    said = {row["name"]: row["effect"] for _, row in table.iterrows()}
    truth = {
        f"G{row}": 1
        - np.linalg.norm(world.train_truth_pg[0] + world.train_truth_pg[row]) / np.linalg.norm(world.train_truth_pg[0])
        for row in range(1, 12)
    }
    both = np.array([(said[name], truth[name]) for name in truth])
    assert np.corrcoef(both.T)[0, 1] > 0.5
    assert "G0" not in said


def test_steer_reaches_a_goal_that_needs_two_steps(world, fitted):
    library = [Action((f"G{row}",), 0) for row in range(12)]
    goal = world.train_truth_pg[2] + world.train_truth_pg[7]
    table = steer(fitted, "line A", goal, library, steps=2).table
    best = table.loc[table["effect"].idxmax()]
    assert set(best["name"].split(" > ")) == {"G2", "G7"}
    one, two = table[table["steps"] == 1]["sd"].mean(), table[table["steps"] == 2]["sd"].mean()
    assert two > one


def test_joined_actions_keep_their_mode():
    assert join_actions(Action(("B",), 3), Action(("A",), 3)) == Action(("A", "B"), 3)


def test_mechanism_needs_two_data_sets_and_a_hidden_regulator():
    rng = np.random.default_rng(0)
    genes = [f"G{row}" for row in range(300)]
    banks = []
    loading = rng.choice([-1, 1], 150) * rng.uniform(2, 4, 150)
    for name in ("one", "two"):
        x_kg = rng.standard_normal((80, 300))
        x_kg[:, 150:] = 0.3 * x_kg[:, 150:] + x_kg[:, [5]] * loading
        banks.append(make_bank([f"P{row}" for row in range(80)], genes, x_kg, name))
    assert "One data set" in mechanism("G5", banks[:1]).answer
    assert mechanism("G5", banks).called
    assert not mechanism("G6", banks).called
    with pytest.raises(PlanError, match="nearest"):
        mechanism("G5x", banks)


def test_a_model_is_asked_in_its_own_words(world):
    both = fit_models(world.train, ["lowrank_ridge"])["lowrank_ridge"]
    assert len(model_bank(both, "line A", ["G1", "G2", "G3"]).names) == 3
