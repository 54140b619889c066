"""Viability read off predicted expression: planted lethal pairs are found, shuffled viability says nothing."""

import numpy as np
import pytest
from vc_model.plan.errors import PlanError
from vc_model.plan.query import Scores
from vc_model.plan.viability import fit_head, lethal_by_model
from vc_model.table.effects import Action


class Gated:
    """Knows singles exactly; pairs of the first four targets lose more than both, through one gene program."""

    def __init__(self, fitted, names):
        rng = np.random.default_rng(0)
        self.fitted, self.contexts = fitted, fitted.contexts
        n_genes = len(fitted.contexts.genes)
        self.program_g = rng.standard_normal(n_genes)
        self.strength = dict(zip(names, rng.uniform(-0.5, 0.5, len(names)), strict=True))
        self.own = {name: 0.3 * rng.standard_normal(n_genes) for name in names}

    def effect(self, action):
        hit = len(action.targets) == 2 and {int(name[1:]) for name in action.targets} <= {0, 1, 2, 3}
        along = sum(self.strength[name] for name in action.targets) - 3 * hit
        return along * self.program_g + sum(self.own[name] for name in action.targets)

    def predict(self, conditions):
        from dataclasses import replace

        said = self.fitted.predict(conditions)
        delta = np.stack([self.effect(action) for action in conditions.actions]).astype(np.float32)
        return replace(said, delta_pg=delta, var_pg=np.full_like(delta, 1e-3))


@pytest.fixture(scope="module")
def gated(fitted):
    names = [f"G{row}" for row in range(40)]
    return Gated(fitted, names), names


def test_planted_pairs_are_called_and_others_are_not(gated):
    model, names = gated
    value = np.array([model.strength[name] for name in names]) + 0.05 * np.random.default_rng(1).standard_normal(40)
    scores = Scores(tuple(names), value)
    decision = lethal_by_model(model, "line A", [Action((n,), 0) for n in names], scores, floor=-9)
    first = decision.table.head(6)["name"]
    assert {frozenset(name.split("+")) <= {"G0", "G1", "G2", "G3"} for name in first} == {True}
    assert decision.table["called"].sum() == 6


def test_singles_that_harm_alone_are_not_called(gated):
    model, names = gated
    value = np.array([model.strength[name] for name in names])
    decision = lethal_by_model(model, "line A", [Action((n,), 0) for n in names], Scores(tuple(names), value), floor=9)
    assert not decision.called
    assert set(decision.table["doubts"]) == {"a single is harmful alone"}


def test_shuffled_viability_says_nothing(gated):
    model, names = gated
    value = np.array([model.strength[name] for name in names])
    called = [
        lethal_by_model(model, "line A", [Action((n,), 0) for n in names],
                        Scores(tuple(names), np.random.default_rng(seed).permutation(value)), floor=-9).called
        for seed in range(10)
    ]  # fmt: skip
    assert np.mean(called) <= 0.2


def test_refusals(gated, fitted):
    model, names = gated
    actions = [Action((n,), 0) for n in names]
    with pytest.raises(PlanError, match="at least 20 are needed"):
        lethal_by_model(model, "line A", actions, Scores(tuple(names[:5]), np.arange(5.0)))
    with pytest.raises(PlanError, match="adds single effects"):
        lethal_by_model(fitted, "line A", actions, Scores(tuple(names), np.arange(40.0)))


def test_a_head_finds_the_direction():
    rng = np.random.default_rng(0)
    delta, weight = rng.standard_normal((200, 30)), rng.standard_normal(30)
    head = fit_head(delta, delta @ weight + 2 + 0.1 * rng.standard_normal(200))
    assert np.corrcoef(head.weight_g, weight)[0, 1] > 0.99
    assert abs(head.middle - 2) < 0.1
    assert head.signal[1] < 1e-6
