"""Answers: verdict before the number, no number where nothing is known, files that the contract's readers take."""

import json
import subprocess
import sys

import anndata as ad
import numpy as np
import pyarrow.parquet as pq
import pytest
import vc_model as vm
from vc_contracts import OutputError
from vc_model.ask import rules as answering
from vc_model.ask.blocks import forget_blocks
from vc_model.ask.model import AskModel
from vc_model.ask.questions import QuestionError, read_names
from vc_model.ask.rules import AnswerRules
from vc_model.ask.stream import write_tables
from vc_model.contracts import read_predictions
from vc_model.errors import CheckpointError, VcModelError


def row(table, name, line="A"):
    at = next(
        at
        for at, pair in enumerate(zip(table["perturbation"], table["cell_line"], strict=True))
        if pair == (name, line)
    )
    return {column: values[at] for column, values in table.items()}


def test_numbers_are_the_models_own(model, world):
    asked = model.questions(["G3", "G33", "G3+G33"], cell_line="A")
    table, said = model.answers(asked).table, model.fitted.predict(asked.conditions)
    for at, name in enumerate(table["perturbation"]):
        best = model.fitted.contexts.genes[int(said.delta_pg[at].argmax())]
        assert table["up"][at].split(" ")[0] == best, name
        assert table["effect_size_lower"][at] <= table["effect_size"][at] <= table["effect_size_upper"][at]
    far = np.abs(said.delta_pg[0]) > 5 * np.sqrt(said.var_pg[0]) + 0.1
    assert table["genes_expected_to_change"][0] >= 0.9 * far.sum()


def test_a_made_up_name_gets_no_number_unless_forced_and_then_is_said_to_be_the_mean(model):
    asked = model.questions(["made-up", "other made-up"], cell_line="A")
    assert any("nothing is known of made-up" in note for note in asked.notes)
    table = model.answers(asked).table
    assert table["answered"] == [False, False] and table["effect_size"] == [None, None]
    assert all(note.startswith("no answer: nothing is known") for note in table["note"])
    forced = model.answers(asked, AnswerRules(force=True)).table
    assert forced["effect_size"][0] == forced["effect_size"][1] is not None
    assert all("this is the mean of all perturbations" in note for note in forced["note"])
    assert "nowhere" in forced["support"]


def test_a_measured_target_moved_the_answer_and_its_neighbours_are_named(model):
    found = row(model.answers(model.questions(["G3"], cell_line="A")).table, "G3")
    assert found["support"] == "seen here" and found["moved_from_mean"] > 0.1 and found["closest"].startswith("G3 1.00")


def test_below_the_limit_there_is_no_number(model):
    asked = model.questions(["G33"], cell_line="A")
    assert model.answers(asked, AnswerRules(limit=1)).table["answered"] == [False]
    assert model.answers(asked, AnswerRules(limit=0)).table["answered"] == [True]


def test_blocks_do_not_change_answers(model, monkeypatch):
    asked = model.questions(["G3", "G33", "made-up", "G4", "G35", "G5+G6"])
    whole = model.answers(asked)
    monkeypatch.setattr(answering, "ROWS_AT_ONCE", 2)
    parts = model.answers(asked)
    assert whole.table["up"] == parts.table["up"] and whole.table["note"] == parts.table["note"]
    np.testing.assert_allclose(whole.genes["effect"], parts.genes["effect"], atol=1e-6)


def test_the_files_are_what_the_contract_and_a_spreadsheet_take(model, tmp_path):
    asked = model.questions(["G3", "G33", "made-up"])
    answers = model.write(asked, tmp_path / "predictions.h5ad", AnswerRules(), parents={"model": "0"})
    write_tables(answers, tmp_path)
    file, adata = read_predictions(tmp_path / "predictions.h5ad"), ad.read_h5ad(tmp_path / "predictions.h5ad")
    assert sorted(file.perturbation) == ["G3", "G3", "G33", "G33", "control", "control"]
    said = model.fitted.predict(asked.conditions)
    np.testing.assert_array_equal(file.mean_ng[2], said.mean_pg[0])
    np.testing.assert_allclose(file.sd_ng[2], np.sqrt(said.var_pg[0]), rtol=1e-6)
    assert json.loads(adata.uns["contract"])["parents"] == {"model": "0"}
    lines = (tmp_path / "answers.tsv").read_text().splitlines()
    assert len(lines) == 7 and "support" in lines[0].split("\t")
    assert pq.read_table(tmp_path / "answers.parquet").num_rows == 6
    assert set(pq.read_table(tmp_path / "genes.parquet")["perturbation"].to_pylist()) == {"G3", "G33"}


class Stops:
    """The model, until it has answered so many blocks."""

    def __init__(self, fitted, most):
        self.fitted, self.most, self.asked = fitted, most, []

    def __getattr__(self, name):
        return getattr(self.fitted, name)

    def predict(self, conditions):
        if "nothing is known" not in conditions.perturbation[0]:
            self.asked.append(conditions.perturbation)
        if len(self.asked) > self.most:
            raise KeyboardInterrupt
        return self.fitted.predict(conditions)


def test_a_start_that_was_cut_off_goes_on_with_the_same_bytes(model, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    monkeypatch.setattr(answering, "ROWS_AT_ONCE", 3)
    asked, keep = model.questions([f"G{n}" for n in range(8)] + ["made-up"], cell_line="A"), tmp_path / "keep"
    whole = model.write(asked, tmp_path / "whole.h5ad", AnswerRules())
    slow = AskModel(Stops(model.fitted, 3), model.memory)  # the first call is for the control row
    with pytest.raises(KeyboardInterrupt, match=r"2 of 3 blocks .* goes on"):
        slow.write(asked, tmp_path / "half.h5ad", AnswerRules(), keep=keep)
    damaged = sorted(keep.glob("*.npz"))[1]
    damaged.write_bytes(damaged.read_bytes()[:-100])
    rest = AskModel(Stops(model.fitted, 99), model.memory)
    again = rest.write(asked, tmp_path / "again.h5ad", AnswerRules(), keep=keep)
    assert rest.fitted.asked[1:] == [tuple(asked.conditions.perturbation[at:stop]) for at, stop in ((3, 6), (6, 8))]
    assert (again.table, again.genes) == (whole.table, whole.genes)
    assert (tmp_path / "again.h5ad").read_bytes() == (tmp_path / "whole.h5ad").read_bytes()
    other = AskModel(Stops(model.fitted, 99), model.memory)
    other.write(asked, tmp_path / "other.h5ad", AnswerRules(top=2), keep=keep)
    assert len(other.fitted.asked) == 4, "another question takes nothing over"
    (keep / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="thesis"):
        forget_blocks(keep)


def test_five_lines_of_python(saved, model):
    table = vm.load(saved).effects(["G3", "G4"], cell_line="A")
    expected = model.effects(["G3", "G4"], cell_line="A")
    assert table["effect_size"].tolist() == expected["effect_size"].tolist() and len(table) == 2


def test_a_question_needs_neither_jax_nor_anndata(saved):
    code = (
        "import sys, vc_model as vm; m = vm.load(sys.argv[1]); m.answers(m.questions(['G3'])); "
        "print([name for name in ('jax', 'orbax', 'anndata', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(saved)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_checkpoint_without_memory_says_what_to_do(model, tmp_path):
    vm.save_checkpoint(tmp_path / "old", model.fitted)
    with pytest.raises(CheckpointError, match="vc fit"):
        vm.load(tmp_path / "old")
    with pytest.raises(CheckpointError, match="expected a folder"):
        vm.load(tmp_path / "nothing")


def test_the_map_agrees_with_single_questions(model):
    names = ["G3", "G33", "made-up"]
    found = model.support(names)
    assert found.cell_lines == ("A", "B") and found.kind_nc.shape == (3, 2)
    table = model.answers(model.questions(names)).table
    for at, (name, line) in enumerate(zip(table["perturbation"], table["cell_line"], strict=True)):
        kind = found.kind_nc[names.index(name), found.cell_lines.index(line)]
        assert vm_verdict(kind) == table["support"][at]


def vm_verdict(kind):
    from vc_model.ask.verdict import VERDICTS

    return VERDICTS[kind]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"names": []}, "empty list"),
        ({"names": ["G3"], "mode": "crispra"}, "trained one, crispri"),
        ({"names": ["G3"], "mode": "crisprx"}, "crispra|crispri"),
        ({"names": ["G3"], "cell_line": "a"}, "Nearest: A.*--cells"),
        ({"names": ["G3"], "cell_line": "HepG2"}, "--cells"),
        ({"names": ["G1+G2+G3+G4+G5"]}, "at most 4"),
        ({"names": ["G1+"]}, "joined by"),
        ({"names": ["G1+G1"]}, "found one twice"),
        ({"names": ["control"]}, "a change from"),
        ({"names": ["G3"], "dose": 10}, "Leave --dose out"),
        ({"names": ["G3@10"]}, "Leave --dose out"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_a_remedy(model, given, words):
    names = given.pop("names")
    with pytest.raises(QuestionError, match=words):
        model.questions(names, **given)


def test_an_untrained_mode_is_asked_when_forced(model):
    asked = model.questions(["G3"], mode="crispra", force=True, cell_line="A")
    assert any("never trained" in note for note in asked.notes)
    assert model.answers(asked, AnswerRules(force=True)).table["support"] == ["seen elsewhere"]


def test_near_names_are_offered(model):
    assert any("did you mean G3" in note for note in model.questions(["g3"]).notes)


def test_lists_are_read_and_refused(tmp_path):
    (tmp_path / "a.txt").write_text("# mine\nTP53\n\nMYC+KLF1\nTP53\n")
    (tmp_path / "b.csv").write_text("target_gene,n_cells\nTP53,100\nnon-targeting,5\nMYC,3\n")
    (tmp_path / "empty.txt").write_text("\n")
    assert read_names(tmp_path / "a.txt") == ["TP53", "MYC+KLF1"]
    assert read_names(tmp_path / "b.csv") == ["TP53", "MYC"]
    for name, words in (("empty.txt", "empty list"), ("absent.txt", "no such file")):
        with pytest.raises(QuestionError, match=words):
            read_names(tmp_path / name)
    with pytest.raises(QuestionError, match="column"):
        read_names(tmp_path / "b.csv", "symbol")


@pytest.mark.parametrize("rules", [{"limit": 2}, {"level": 1.0}, {"top": 0}, {"change": 0}])
def test_rules_out_of_range_are_refused(rules):
    with pytest.raises(VcModelError, match=next(iter(rules))):
        AnswerRules(**rules)
