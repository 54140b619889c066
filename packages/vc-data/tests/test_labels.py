import pytest
from hypothesis import given
from hypothesis import strategies as st
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
