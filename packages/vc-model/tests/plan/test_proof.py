"""What a model says of conditions that it did not see is held against what they measured."""

from dataclasses import replace

import numpy as np
import pytest
from vc_model.plan.combo import combo
from vc_model.plan.proof import LEAST, check_effects, check_interactions, gated
from vc_model.plan.safety import safety
from vc_model.table.effects import Action, Conditions

N = 24


class Told:
    """Knows singles, and pairs beyond their sum by `share` of what is really there."""

    name = "told"

    def __init__(self, fitted, real, share):
        self.fitted, self.contexts, self.real, self.share = fitted, fitted.contexts, real, share

    def predict(self, conditions):
        said = self.fitted.predict(conditions)
        delta = [self.real(action, self.share) for action in conditions.actions]
        return replace(said, delta_pg=np.array(delta, np.float32), supported_p=np.ones(len(delta), bool))


@pytest.fixture(scope="module")
def pairs(world, fitted):
    """Tables of measured singles and pairs, the truth behind them, and the same with interactions shuffled over pairs."""
    rng = np.random.default_rng(0)
    table = world.train
    own = {f"G{row}": rng.standard_normal(len(table.genes)) for row in range(N)}
    strong = {frozenset((f"G{a}", f"G{a + 1}")): 3 * rng.standard_normal(len(table.genes)) for a in range(N - 1)}

    def real(action, share=1.0):
        return sum(own[name] for name in action.targets) + share * strong.get(frozenset(action.targets), 0)

    def measured(targets, mixed=None):
        actions = tuple(Action(names, 0) for names in targets)
        rows = np.zeros(len(actions), int)
        effect = np.array([real(action) for action in actions])
        if mixed is not None:
            alone = np.array([real(action, 0) for action in actions])
            effect = alone + (effect - alone)[mixed]
        effect = (effect + 0.3 * rng.standard_normal(effect.shape)).astype(np.float32)
        part = table.subset(rows).with_effects(effect, half_pg=effect, check_pg=effect)
        return replace(part, conditions=Conditions(np.repeat("line A", len(actions)), actions, table.contexts))

    two = [(f"G{a}", f"G{a + 1}") for a in range(N - 1)]
    singles = measured([(name,) for name in own])
    return real, singles, measured(two), measured(two, np.random.default_rng(1).permutation(len(two)))


def test_real_interactions_are_called_and_shuffled_ones_are_not(pairs, fitted):
    real, singles, right, mixed = pairs
    model, actions = Told(fitted, real, 0.5), [Action((f"G{row}",), 0) for row in range(N)]
    proof = check_interactions(model, singles, right)
    assert proof.holds and proof.slope == pytest.approx(2, rel=0.05)
    decision = combo(model, "line A", actions, proof=proof)
    called = decision.table[decision.table["q"] <= 0.1]
    assert decision.called and len(called) == N - 1
    assert all(abs(int(a[1:]) - int(b[1:])) == 1 for a, b in (name.split("+") for name in called["name"]))
    wrong = combo(model, "line A", actions, proof=check_interactions(model, singles, mixed))
    assert not wrong.called and "no evidence" in wrong.answer


def test_interactions_that_nobody_checked_are_not_called(pairs, fitted):
    real, singles, right, _ = pairs
    model, actions = Told(fitted, real, 0.5), [Action((f"G{row}",), 0) for row in range(N)]
    assert not combo(model, "line A", actions).called
    few = check_interactions(model, singles, right.subset(np.arange(LEAST - 1)))
    assert not few.holds and not combo(model, "line A", actions, proof=few).called


def test_a_model_that_fits_others_only_by_chance_claims_nothing(world, fitted):

    test = world.train.subset(np.arange(len(world.test)))
    effect = world.truth_qg.astype(np.float32)
    unseen = replace(test.with_effects(effect), conditions=world.test)
    mixed = unseen.with_effects(np.random.default_rng(0).permutation(effect))
    panels = {"panel": [f"G{row}" for row in range(50, 80)]}
    decision = safety(fitted, [Action((f"G{row}",), 0) for row in range(10)], panels)
    assert check_effects(fitted, unseen).holds
    assert gated(decision, check_effects(fitted, unseen)).called
    assert not gated(decision, check_effects(fitted, mixed)).called
    assert "Nobody checked" in gated(decision, None).doubts[-1]
