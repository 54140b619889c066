import pytest
from hypothesis import given
from hypothesis import strategies as st
from vc_data.errors import ColumnError
from vc_data.text.controls import CONTROL, is_control_name
from vc_data.text.labels import read_labels
from vc_data.text.modes import is_chemical, parse_mode

GENES = st.sampled_from(["TP53", "KLF1", "MYC", "BAK1", "KNTC1"])


@pytest.mark.parametrize(
    "name",
    ["control", "ctrl", "non-targeting", "Non_Targeting", "NTC", "NegCtrl0", "DMSO_TF", "Vehicle", "mock", "ctrl+ctrl"],
)
def test_usual_control_names(name):
    assert is_control_name(name)


@pytest.mark.parametrize("name", ["KNTC1", "NT5E", "CTRL1", "TP53", "ctrl+TP53", "control-like"])
def test_names_that_only_look_like_controls(name):
    assert not is_control_name(name)


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("CRISPRi (high MOI)", 0),
        ("CRISPRa", 1),
        ("overexpression", 2),
        ("CRISPRko", 3),
        ("knockout", 3),
        ("HDAC inhibitor", 4),
        ("receptor antagonist", 4),
        ("agonist", 5),
        ("PROTAC", 6),
        ("CRISPR", 8),
        ("drug", 8),
        ("cytokine", 8),
    ],
)
def test_modes(text, mode):
    assert parse_mode(text) == mode


@given(st.lists(GENES, min_size=1, max_size=4), st.randoms())
def test_combinations_do_not_depend_on_the_order_or_repeats(genes, random):
    shuffled = [*genes, genes[0], "ctrl"]
    random.shuffle(shuffled)
    label = "+".join(shuffled)
    assert read_labels([label], ["ctrl"]).target_of[label] == "+".join(sorted(set(genes)))


def test_pairs_with_a_control_are_singles():
    labels = read_labels(["ctrl", "ctrl+A", "A+ctrl", "A_ctrl", "ctrl+ctrl"], ["ctrl"], known={"A"})
    assert labels.target_of == {"ctrl": CONTROL, "ctrl+A": "A", "A+ctrl": "A", "A_ctrl": "A", "ctrl+ctrl": CONTROL}


def test_underscore_splits_only_between_known_genes():
    labels = read_labels(["BAK1_KLF1", "chr9.3633_top_two", "HLA_A", "ctrl"], ["ctrl"], known={"BAK1", "KLF1", "HLA_A"})
    assert labels.target_of["BAK1_KLF1"] == "BAK1+KLF1"
    assert labels.target_of["chr9.3633_top_two"] == "chr9.3633_top_two"
    assert labels.target_of["HLA_A"] == "HLA_A"


def test_names_of_compounds_stay_whole_and_lose_the_plus():
    labels = read_labels(["(+)-JQ1", "a,b_c", "DMSO"], ["DMSO"], separator="none")
    assert labels.target_of == {"(+)-JQ1": "(plus)-JQ1", "a,b_c": "a,b_c", "DMSO": CONTROL}
    assert "'plus'" in labels.statements[0]


def test_chemical_words():
    assert is_chemical("drug") and is_chemical("small molecule")
    assert not is_chemical("CRISPRi") and not is_chemical("cytokine")


KNOWN = frozenset(["TP53", "MDM2", "MYC", "Myc"])


@pytest.mark.parametrize("label", ["TP53xMDM2", "MYCXTP53", "TP53a", "koTP53", "MYCkd2"])
def test_letters_glued_to_a_gene_are_refused_with_the_flag_that_decides(label):
    with pytest.raises(ColumnError, match=r"beside other words.*--combo-separator"):
        read_labels(["MYC", label, "ctrl"], ["ctrl"], known=KNOWN)


@pytest.mark.parametrize("label", ["MYCN", "C9orf72", "TP53BP1", "Mycn", "NKX2-5"])
def test_other_genes_whose_names_begin_alike_are_themselves(label):
    assert read_labels([label, "ctrl"], ["ctrl"], known=KNOWN).target_of[label] == label


@pytest.mark.parametrize("label", ["TP53g1", "siTP53", "shTP53_2", "crRNA_TP53_1"])
def test_guides_of_other_methods_become_their_gene(label):
    assert read_labels([label, "ctrl"], ["ctrl"], known=KNOWN).target_of[label] == "TP53"


def test_a_part_that_names_nothing_is_left_out_and_said():
    read = read_labels(["TP53+nan", "MYC", "ctrl"], ["ctrl"], known=KNOWN)
    assert read.target_of["TP53+nan"] == "TP53"
    assert any("left out: 1 ('TP53+nan' is 'TP53')" in said for said in read.statements)


@pytest.mark.parametrize(("label", "why"), [("0", "bare numbers"), ("untransduced", "resemble controls")])
def test_labels_that_may_mean_no_perturbation_are_asked_about(label, why):
    read = read_labels([label, "MYC", "ctrl"], ["ctrl"], known=KNOWN)
    assert [why in question for question in read.questions] == [True]
