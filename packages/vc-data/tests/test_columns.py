import pandas as pd
import pytest
from vc_data.convert.columns import guess_columns, unperturbed_cells
from vc_data.errors import ColumnError, ControlError
from vc_data.options import Columns

VAR = pd.DataFrame({"gene_id": ["a"]}, index=["A"])


def table(**columns):
    return pd.DataFrame(columns)


def guess(obs, **given):
    return guess_columns(obs, VAR, Columns(**given), path="f.h5ad")


def test_replogle_layout():
    obs = table(gem_group=[1, 2], gene=["non-targeting", "TP53"], UMI_count=[1.0, 2.0])
    columns, statements = guess(obs, cell_line_name="K562")
    assert (columns.perturbation, columns.control, columns.batch) == ("gene", ("non-targeting",), "gem_group")
    assert columns.total_counts is None
    assert "perturbation column: 'gene' (guessed)" in statements
    assert "cell line: 'K562' (given)" in statements


def test_scperturb_layout_prefers_perturbation_over_gene():
    obs = table(perturbation=["control", "TP53"], gene=["non-targeting", "TP53"], cell_line=["K562"] * 2)
    assert guess(obs)[0].perturbation == "perturbation"


def test_tahoe_layout():
    obs = table(drug=["DMSO_TF", "Aspirin"], cell_line=["CVCL_1"] * 2, plate=["p1"] * 2)
    columns, _ = guess(obs)
    assert (columns.perturbation, columns.control, columns.batch) == ("drug", ("DMSO_TF",), "plate")


def test_kolf_control_is_matched_whole():
    obs = table(gene_target=["NTC", "KNTC1"], channel=[1, 2])
    assert guess(obs, cell_line_name="KOLF2.1J")[0].control == ("NTC",)


def test_numbered_controls_are_one_kind():
    obs = table(guide_identity=["NegCtrl0", "NegCtrl1", "A"], celltype=["K562"] * 3)
    assert guess(obs)[0].control == ("NegCtrl0", "NegCtrl1")


def test_boolean_column_decides_and_a_given_label_overrules_it():
    obs = table(condition=["x", "y"], is_control=[True, False], cell_type=["B"] * 2)
    columns, _ = guess(obs)
    assert (columns.is_control, columns.control) == ("is_control", ())
    columns, _ = guess(obs, control=("y",))
    assert (columns.is_control, columns.control) == (None, ("y",))


def test_missing_values_everywhere_are_no_labels():
    obs = table(perturbation=["control", None, "A"], cell_line=["K562"] * 3)
    assert guess(obs)[0].control == ("control",)


@pytest.mark.parametrize(
    ("columns", "given", "error", "words"),
    [
        ({"x": [1]}, {}, ColumnError, ["--perturbation", "'x'"]),
        ({"perturbation": ["control"]}, {}, ColumnError, ["--cell-line", "'perturbation'"]),
        ({"gene": ["ctrl"], "drug": ["DMSO"], "line": ["l"]}, {}, ColumnError, ["'gene'", "'drug'", "--perturbation"]),
        ({"perturbation": ["A", "B"], "line": ["l", "l"]}, {}, ControlError, ["--control", "'A'"]),
        ({"perturbation": ["DMSO", "untreated"], "line": ["l"] * 2}, {}, ControlError, ["several", "--control"]),
        ({"perturbation": ["A", "nontarg"], "line": ["l"] * 2}, {"control": ("non-targ",)}, ControlError, ["nontarg"]),
        (
            {"perturbation": ["ctrl"], "line": ["l"]},
            {"batch": "lines"},
            ColumnError,
            ["--batch", "Did you mean 'line'"],
        ),
        (
            {"perturbation": ["ctrl"], "line": ["l"]},
            {"cell_line": "line", "cell_line_name": "K562"},
            ColumnError,
            ["--cell-line-name"],
        ),
    ],
)
def test_unclear_columns_are_refused(columns, given, error, words):
    with pytest.raises(error) as caught:
        guess(table(**columns), **given)
    for word in ["f.h5ad", *words]:
        assert word in str(caught.value)


def test_cells_that_nothing_was_done_to_are_told_by_column_label_or_not_at_all():
    obs = pd.DataFrame({"target_gene": ["NTC", "TP53", "NTC", "MYC"]}, index=list("abcd"))
    kept, how = unperturbed_cells(obs, "f.h5ad")
    assert kept.tolist() == [True, False, True, False] and "NTC" in how
    kept, how = unperturbed_cells(obs.assign(is_control=["no", "no", "yes", "no"]), "f.h5ad")
    assert kept.tolist() == [False, False, True, False] and "is_control" in how
    kept, how = unperturbed_cells(pd.DataFrame({"donor": list("xyxy"), "condition": "healthy"}), "f.h5ad")
    assert kept.all() and how == ""
    with pytest.raises(ControlError, match="a label of control cells"):
        unperturbed_cells(obs.assign(target_gene=["KLF1", "TP53", "EGFR", "MYC"]), "f.h5ad")
