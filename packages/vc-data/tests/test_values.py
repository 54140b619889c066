"""Words in foreign files, of every kind, and what they mean."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vc_contracts.errors import Refusal
from vc_contracts.text.plain import clean, compound_name
from vc_data.convert.controls import as_bool
from vc_data.convert.series import as_text
from vc_data.errors import ColumnError, ControlError
from vc_data.genes.link import GeneIndex
from vc_data.genes.tables import read_panel
from vc_data.text.guides import gene_of_guide
from vc_data.text.labels import read_labels
from vc_data.text.modes import parse_mode
from vc_data.text.values import is_no_label, read_amounts, read_booleans

GENES = ["TP53", "MYC", "HLA-A", "HLA-B", "NKX2-5", "MT-ND1", "KLF1", "AHR", "SEPTIN7", "7SK"]


def index(genes=GENES, ids=None, **tables):
    return GeneIndex(genes, ids or [""] * len(genes), genes, **tables)


@pytest.mark.parametrize(
    "text",
    ["", " ", "nan", "NaN", "None", "NA", "N/A", "<NA>", "null", "+", ".", "unassigned", "Not_assigned", "Negative",
     "Doublet", "doublets", "Multiplet", "MULTI", "ambiguous", "no guide", "nan+nan", "NA|NA", "Doublet_2", "\u00a0"],
)  # fmt: skip
def test_words_for_no_label(text):
    assert is_no_label(clean(text))


@pytest.mark.parametrize("text", ["TP53", "NANS", "NONO", "control", "MULTIMERIN", "NA+1", "DMSO", "none-like"])
def test_names_that_only_look_like_no_label(text):
    assert not is_no_label(text)


@pytest.mark.parametrize(
    ("values", "meaning"),
    [
        ([True, False, None], [True, False, None]),
        (["TRUE", "f", "yes", "N", ""], [True, False, True, False, None]),
        ([1.0, 0.0, float("nan")], [True, False, None]),
        ([b"True", b"F"], [True, False]),
    ],
)
def test_booleans_in_any_spelling(values, meaning):
    found = read_booleans([value for value in values if value is not None and value == value])
    assert [found.get(value) for value in values] == meaning
    assert read_booleans(["TRUE", "2"]) is None


def test_columns_of_any_kind_become_text():
    for column in (
        pd.Series([b" a", None, "b\ufeff"], dtype=object),
        pd.Categorical(["a", None, "b "]),
        pd.array(["a", pd.NA, "b"], dtype="string"),
    ):
        assert as_text(pd.Series(column)).tolist() == ["a", "", "b"]
    marked, unsaid = as_bool(pd.Series(pd.array([True, None, False], dtype="boolean")))
    assert marked.tolist() == [True, False, False] and unsaid.tolist() == [False, True, False]
    with pytest.raises(ColumnError, match="perhaps"):
        as_bool(pd.Series(["TRUE", "perhaps"], name="is_control"))


@pytest.mark.parametrize(
    ("texts", "values", "unit"),
    [
        (["0.1uM", "5 \u00b5M", "5 \u03bcM", "100nM"], [0.1, 5, 5, 0.1], "um"),
        (["0,05", "1,5"], [0.05, 1.5], ""),
        (["1e-3", "10", ".5"], [0.001, 10, 0.5], ""),
        (["10 ng/ml", "20 ng/mL"], [10, 20], "ng/ml"),
        (["1 mM", "1 M"], [1e3, 1e6], "um"),
    ],
)
def test_doses_with_units_and_commas(texts, values, unit):
    amounts = read_amounts(texts)
    assert [amounts.values[text] for text in texts] == pytest.approx(values) and amounts.unit == unit
    assert not amounts.problem and not amounts.unread


def test_doses_that_may_mean_two_things_are_named():
    assert "thousands" in read_amounts(["1,000", "10,000"]).problem
    assert "units" in read_amounts(["1 uM", "1 ng/ml"]).problem
    assert "units" in read_amounts(["1 uM", "1"]).problem
    assert read_amounts(["high", "low"]).unread == ("high", "low")


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("dCas9-KRAB", 0), ("KRAB-dCas9", 0), ("dCas9-Zim3", 0), ("CRISPR interference", 0), ("dCas9-VPR", 1),
        ("SunTag-VP64", 1), ("CRISPR activation", 1), ("CRISPRn", 3), ("Cas9", 3), ("dCas9", 8), ("RNA interference", 8),
    ],
)  # fmt: skip
def test_modes_of_constructs(text, mode):
    assert parse_mode(text) == mode


@pytest.mark.parametrize(
    "label",
    ["TP53-1", "sgTP53-1", "sgTP53", "TP53_1", "TP53_sg1", "TP53.2", "TP53_g3", "TP53_+_7687550.23-P1P2", "TP53_P1P2",
     "TP53_ACGTACGTACGTACGTACGT", "TP53 (2)", "sg-TP53_2", "gTP53_1", "tp53_1", "TP53#3"],
)  # fmt: skip
def test_guides_of_known_genes(label):
    assert index().find(gene_of_guide(label, index())[0]).name == "TP53"


@pytest.mark.parametrize("label", ["NKX2-5", "HLA-A", "MT-ND1", "UNKNOWN-1", "HS2", "chr9.3633_top_two", "TP53"])
def test_names_that_are_no_guides(label):
    assert gene_of_guide(label, index()) is None


@pytest.mark.parametrize(
    ("label", "target"),
    [
        ("HLA-A-HLA-B", "HLA-A+HLA-B"), ("HLA-A_MYC", "HLA-A+MYC"), ("TP53 + MYC", "MYC+TP53"), ("TP53;MYC;KLF1", "KLF1+MYC+TP53"),
        ("TP53_1|MYC_2", "MYC+TP53"), ("TP53/nan", "TP53"), ("TP53_NA", "TP53"), ("TP53+nan", "TP53"), ("ctrl_TP53", "TP53"),
        ("TP53&TP53", "TP53"), ("NKX2-5", "NKX2-5"), ("HLA-A", "HLA-A"),
    ],
)  # fmt: skip
def test_combinations(label, target):
    assert read_labels([label, "ctrl"], ["ctrl"], known=index()).target_of[label] == target


def test_labels_that_may_be_pairs_or_guides_are_asked_about():
    for labels in (["TP53_XYZ1"], ["TP53|XYZ1"], ["TP53-MYC", "TP53-XYZ1"]):
        with pytest.raises(ColumnError, match="--combo-separator"):
            read_labels([*labels, "c"], ["c"], known=index())
    for label in ("TP53~MYC", "TP53 and MYC", "(TP53,MYC)", "TP53_1_2", "TP53.MYC"):
        with pytest.raises(ColumnError, match="--combo-separator"):
            read_labels([label, "c"], ["c"], known=index())
    with pytest.raises(ColumnError, match="--guide-labels"):
        read_labels(["AB_1", "AB_2", "CD_1", "CD_2", "c"], ["c"], known=index())
    kept = read_labels(["AB_1", "AB_2", "CD_1", "CD_2", "c"], ["c"], known=index(), guides="collapse")
    assert set(kept.target_of.values()) == {"AB", "CD", "control"}


def test_nothing_is_a_control_but_by_rule():
    labels = read_labels(["DMSO", "NT_1", "AAVS1", "non-targeting", "NT+NTC", "TP53"], ["DMSO"], known=index())
    assert [label for label, target in labels.target_of.items() if target == "control"] == ["DMSO"]
    assert "'NT_1'" in labels.questions[0] and "'AAVS1'" in labels.questions[0] and "--drop" in labels.questions[0]
    for second in ("control", "Control", " control "):
        with pytest.raises(ControlError, match="--control"):
            read_labels(["DMSO", second], ["DMSO"])


def test_compounds():
    labels = ["NAD", "NAD+", "(+)-JQ1", "Trametinib ", "Trametinib", "A,B", "Trametinib+NAD", "DMSO"]
    found = read_labels(labels, ["DMSO"], compounds=True).target_of
    assert found["Trametinib "] == found["Trametinib"] == "Trametinib" and found["Trametinib+NAD"] == "NAD+Trametinib"
    assert [found[name] for name in ("NAD", "NAD+", "(+)-JQ1")] == ["NAD", "NADplus", "(plus)-JQ1"]
    assert all(found[name] == compound_name(name) for name in ("NAD", "NAD+", "(+)-JQ1", "A,B"))


def test_links_go_by_id_symbol_r_excel_alias_and_case(tmp_path):
    table = tmp_path / "aliases.tsv"
    table.write_text("Symbol\tApproved.Symbol\nP53\tTP53\nTP53\tTP53\nCMYC\tMYC\nMYC\tMYC\nNEW1\tNEW1\nOLD1\tNEW1\n")
    ids = [f"ENSG{i:011d}" for i in range(len(GENES))]
    genes = index(ids=ids, aliases=table)
    rules = {
        ids[0] + ".12": ("TP53", "id"), "TP53": ("TP53", "symbol"), "HLA.A": ("HLA-A", "R"), "X7SK": ("7SK", "R"),
        "7-Sep": ("SEPTIN7", "Excel"), "SEPT7": ("SEPTIN7", "Excel"), "P53": ("TP53", "alias"), "Tp53": ("TP53", "case"),
        "OLD1": ("NEW1", "table"), "nothing": ("nothing", ""),
    }  # fmt: skip
    for name, (gene, how) in rules.items():
        link = genes.find(name)
        assert (link.name, link.how) == (gene, how), name
    assert not GeneIndex(["1-Mar"], [""], ["1-Mar"]).find("MARCH1").how
    shared = GeneIndex(["A", "B"], ["A", "B"], ["TP53", "TP53"])
    assert shared.find("TP53").how == ""


@given(
    st.permutations(["TP53", "MYC", "HLA-A", "KLF1", "G\u00f6del"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["{}", '"{}"', " {} ", "{}\n"]),
    st.sampled_from(["", "gene_name", "Gene Symbol", "index,gene", ",gene_names"]),
)
@settings(deadline=None)
def test_lists_are_read_alike(tmp_path_factory, names, encoding, end, form, header):
    path = tmp_path_factory.mktemp("list") / "panel.csv"
    indexed = "," in header
    rows = [(f"{i}," if indexed else "") + form.format(name) for i, name in enumerate(names)]
    path.write_bytes((end.join(([header] if header else []) + rows) + end * 2).encode(encoding))
    assert read_panel(path) == list(names)


def test_lists_that_are_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"ABC\0\0\0\1")
    with pytest.raises(Refusal, match="NUL"):
        read_panel(tmp_path / "a.txt")
