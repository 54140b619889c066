"""Compounds that a fitted model's bank did not hold."""

import json
from dataclasses import replace

import numpy as np
import pytest
from vc_model.ask.entities import bank_recipes, with_entities
from vc_model.ask.memory import make_memory
from vc_model.ask.model import AskModel, load
from vc_model.ask.questions import QuestionError
from vc_model.checkpoint import save_checkpoint
from vc_model.models import make_model
from vc_model.testing import make_world

RECIPE = {"config": {"encoder": "compound"}, "encoder": {"id": "morgan"}}


def fit(bank, table):
    table = replace(table, bank=bank)
    fitted = make_model("kernel_ridge").fit(table)
    return AskModel(fitted, make_memory(table, fitted))


@pytest.fixture(scope="module")
def pair():
    """A model whose bank lacks three entities, and one whose bank always had them; and these."""
    table = make_world(n_train=24, n_test=6, n_genes=50, measured_targets=False, seed=2).train
    bank = replace(table.bank, kind="compound", recipe=json.dumps(RECIPE, sort_keys=True))
    trained = {target for action in table.conditions.actions for target in action.targets}
    late = [name for name in bank.entities if name not in trained][:3]
    early = np.array([name not in late for name in bank.entities])
    less = replace(
        bank,
        entities=tuple(np.array(bank.entities)[early]),
        vectors_ef=bank.vectors_ef[early],
        missing_e=bank.missing_e[early],
    )
    vectors_nf = np.stack([bank.vectors_ef[bank.entities.index(name)] for name in late])
    return fit(less, table), fit(bank, table), late, vectors_nf


def test_a_new_compound_is_answered_as_if_the_bank_had_always_held_it(pair, tmp_path):
    less, whole, late, vectors_nf = pair
    save_checkpoint(tmp_path / "model", less.fitted, memory=less.memory)
    opened = load(tmp_path / "model")
    assert bank_recipes(opened) == [RECIPE]
    asked = with_entities(opened, RECIPE, late, vectors_nf)
    questions = whole.questions(late)
    expected = whole.fitted.predict(questions.conditions).delta_pg
    assert np.abs(opened.fitted.predict(questions.conditions).delta_pg - expected).max() > 0.01
    np.testing.assert_allclose(asked.fitted.predict(questions.conditions).delta_pg, expected, atol=1e-5)
    assert asked.answers(questions).table["support"] == whole.answers(questions).table["support"]


def test_vectors_of_another_width_are_refused(pair):
    less, _, late, vectors_nf = pair
    with pytest.raises(QuestionError, match="encoder that the bank was made with"):
        with_entities(less, RECIPE, late, vectors_nf[:, :3])
