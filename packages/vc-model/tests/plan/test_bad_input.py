"""One clear message for each kind of bad input."""

import numpy as np
import pandas as pd
import pytest
from vc_model.plan.bank import make_bank, model_bank
from vc_model.plan.errors import PlanError
from vc_model.plan.library import make_library, read_gmt, read_source
from vc_model.plan.query import read_scores, shared_genes
from vc_model.plan.target import target

GENES = tuple(f"G{row}" for row in range(60))


def _write(tmp_path, frame: pd.DataFrame):
    frame.to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def test_scores_with_nan_are_refused_by_name(tmp_path):
    with pytest.raises(PlanError, match=r"found 1 that are not \(B\)"):
        read_scores(_write(tmp_path, pd.DataFrame({"gene": ["A", "B"], "score": [1.0, np.nan]})))


def test_repeated_genes_are_refused_by_name(tmp_path):
    with pytest.raises(PlanError, match=r"more than once \(A\)"):
        read_scores(_write(tmp_path, pd.DataFrame({"gene": ["A", "A"], "score": [1.0, 2.0]})))


def test_scores_that_are_all_equal_are_refused(tmp_path):
    with pytest.raises(PlanError, match="all 2 numbers are 1"):
        read_scores(_write(tmp_path, pd.DataFrame({"gene": ["A", "B"], "score": [1.0, 1.0]})))


def test_an_absent_column_or_file_is_named(tmp_path):
    fpath = _write(tmp_path, pd.DataFrame({"gene": ["A"], "score": [1.0]}))
    with pytest.raises(PlanError, match="column 'lfc': not there"):
        read_scores(fpath, score="lfc")
    with pytest.raises(PlanError, match="no such file"):
        read_scores(tmp_path / "no.csv")


def test_of_several_columns_of_numbers_the_effect_is_taken_aloud_or_none(tmp_path, caplog):
    deseq = pd.DataFrame(
        {"gene": ["A", "B"], "baseMean": [90.0, 7.0], "log2FoldChange": [-1.0, 2.0], "padj": [0.1, 0.2]}, index=[4, 5]
    )
    assert read_scores(_write(tmp_path, deseq)).score_n.tolist() == [-1, 2]
    assert "'log2FoldChange' is taken" in caplog.text and "baseMean" in caplog.text
    with pytest.raises(PlanError, match="expected one column of numbers, found baseMean, padj"):
        read_scores(_write(tmp_path, deseq.drop(columns="log2FoldChange")))
    deseq[["gene", "baseMean"]].to_csv(tmp_path / "i.csv")
    assert read_scores(tmp_path / "i.csv").score_n.tolist() == [90, 7], "an index without a name is no score"


def test_names_may_be_numbers(tmp_path):
    found = read_scores(_write(tmp_path, pd.DataFrame({"gene": [7157, 4609], "score": [1.0, 2.0]})))
    assert found.names == ("7157", "4609") and found.score_n.tolist() == [1, 2]


def test_features_of_another_species_are_recognised():
    names = [f"GENE{row}" for row in range(100)]
    mouse = [name.capitalize() for name in names]
    with pytest.raises(PlanError, match="another species"):
        make_library(names, {"mouse": (mouse, np.ones((100, 3)))})


def test_a_signature_of_too_few_measured_genes_says_how_many_are_needed():
    with pytest.raises(PlanError, match="at least 20 are needed"):
        shared_genes(GENES[:5], np.ones(5), GENES, "signature")


def test_a_goal_equal_to_the_start_is_refused():
    with pytest.raises(PlanError, match="the goal equals the start"):
        shared_genes(GENES, np.zeros(60), GENES, "signature")


def test_a_bank_with_nan_or_repeats_is_refused():
    with pytest.raises(PlanError, match="more than once"):
        make_bank(["A", "A", "B"], GENES, np.ones((3, 60)))
    with pytest.raises(PlanError, match="finite"):
        make_bank(["A", "B", "C"], GENES, np.full((3, 60), np.nan))


def test_a_signature_without_overlap_is_refused():
    bank = make_bank(["A", "B", "C"], GENES, np.random.default_rng(0).standard_normal((3, 60)))
    with pytest.raises(PlanError, match="0 of its 60 genes are measured"):
        target(tuple(f"H{row}" for row in range(60)), np.ones(60), bank)


def test_unknown_context_names_the_nearest(fitted):
    with pytest.raises(PlanError, match=r"lineA.*nearest: line A"):
        model_bank(fitted, "lineA", ["G1", "G2", "G3"])


def test_a_library_without_support_is_refused(fitted):
    with pytest.raises(PlanError, match="supports none"):
        model_bank(fitted, "line A", ["nothing", "like", "it"])


def test_a_broken_gmt_names_its_line(tmp_path):
    (tmp_path / "a.gmt").write_text("one\tx\tA\tB\tC\ntwo\n")
    with pytest.raises(PlanError, match="line 2"):
        read_gmt(tmp_path / "a.gmt")
    with pytest.raises(PlanError, match="no such file"):
        read_source(tmp_path / "b.gmt")
