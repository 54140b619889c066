"""Labels and columns as published screens have them: which cells are controls, what a label means, what is asked or refused."""

import pandas as pd
import pytest
from vc_data.convert.columns import guess_columns, pooled_columns
from vc_data.convert.controls import find_controls
from vc_data.convert.series import labels_of
from vc_data.convert.targets import link_targets
from vc_data.errors import ColumnError, ControlError
from vc_data.genes.link import GeneIndex
from vc_data.options import Columns
from vc_data.text.controls import CONTROL, control_rank, resembles_control
from vc_data.text.labels import read_labels
from vc_data.text.values import is_no_label, read_amounts, tidy_unit

GENES = ["TP53", "MYC", "KLF1", "GATA1", "HLA-A", "NKX2-5", "CREB1", "JAK2", "CD46"]
VAR = pd.DataFrame(index=GENES)


def known(genes=GENES):
    return GeneIndex(genes, [""] * len(genes), genes)


def read(labels, *, control=(), genes=GENES, **options):
    """Label -> target, and everything that is said or asked."""
    controls = find_controls(pd.Series(labels, dtype=object), control, "perturbation", "f.h5ad")
    found = read_labels(labels, controls, known=known(genes), **options)
    return found.target_of, [*found.statements, *found.questions]


@pytest.mark.parametrize(
    "labels",
    [
        ["non-targeting_00001", "non-targeting_00028"], ["NTC_1", "NTC_2|NTC_3"], ["negative_control_1"], ["NegControl_3"],
        ["NonTargeting_Human_0001"], ["Non-Targeting Human|CTRL0004"], ["Scramble_1", "Scramble_2"], ["ntc-guide-12"],
        ["non-targeting control 3"], ["NTC;NTC"], ["non\u2011targeting"], ["non\u2013targeting"], ["NT-sgRNA"],
        ["DMSO (0.1%)"], ["0.1% DMSO"], ["DMSO_24h"], ["Vehicle (DMSO)"], ["Dimethyl Sulfoxide"], ["Untreated cells"],
        ["CTRL0001", "CTRL0002"], ["sgNT1", "sgNT2"], ["NTg1", "NTg2"], ["sgNTC-1"], ["siControl"], ["shScr"], ["Control_sgRNA_1"],
        ["No treatment"], ["Media"], ["unstim"], ["NO-TARGET"],
    ],
)  # fmt: skip
def test_controls_of_published_screens_are_found_without_a_flag(labels):
    target_of, _ = read([*labels, "TP53", "MYC", "KLF1"])
    assert [target_of[label] for label in labels] == [CONTROL] * len(labels)
    assert target_of["TP53"] == "TP53"


@pytest.mark.parametrize(
    "label",
    ["NT5E", "KNTC1", "SCRG1", "GNT1", "CTRL+", "control-like", "SCRIB", "TP53", "NTN1", "WT1", "Neg", "SHMT1", ""],
)
def test_genes_and_words_that_are_no_controls(label):
    assert control_rank(label) == 0


@pytest.mark.parametrize(
    "label", ["NT_1", "CTRL1", "AAVS1+AAVS1", "Safe_1", "NO_SITE_3", "EV", "WT", "sgLACZ", "water"]
)
def test_names_that_may_be_controls_are_asked_about_beside_usual_ones(label):
    target_of, said = read(["non-targeting", label, "TP53", "MYC"])
    assert resembles_control(label) and target_of[label] != CONTROL
    assert any(label in line and "--control" in line for line in said)


def test_a_pattern_names_many_controls_and_a_refusal_names_those_that_may_be_meant():
    labels = [*(f"Safe_{n}" for n in range(40)), "TP53", "MYC"]
    with pytest.raises(ControlError, match=r"resemble controls: 'Safe_0'.*--control LABEL"):
        read(labels)
    target_of, _ = read(labels, control=("Safe*",))
    assert {label for label, target in target_of.items() if target == CONTROL} == set(labels[:40])


@pytest.mark.parametrize(
    "label",
    ["-", "--", "\u2013", "N.D.", "None;None", "nan_nan", "multi-guide", "0 sgRNA", "2 sgRNAs", ">1", ">=2", "low_conf", "ambig",
     "no_guide_detected", "unassigned_2", "not assigned", "failed", "filtered"],
)  # fmt: skip
def test_words_of_callers_for_no_guide(label):
    assert is_no_label(label)
    assert read(["NTC", label, "TP53", "MYC"])[0][label] == ""


@pytest.mark.parametrize("label", ["ND1", "TP53_1", "1", "MULTI1X", "NA+1"])
def test_names_that_are_no_such_words(label):
    assert not is_no_label(label)


@pytest.mark.parametrize(
    ("label", "target"),
    [
        ("TP53 KO", "TP53"), ("TP53_KO", "TP53"), ("TP53KO", "TP53"), ("TFORF0023-KLF1", "KLF1"), ("TP53_TSS", "TP53"),
        ("JAK2g2", "JAK2"), ("TP53_P1P2_A|TP53_P1P2_B", "TP53"), ("TP53_+_7590745.23-P1P2|TP53_-_7590845.23-P1P2", "TP53"),
        ("TP53|NTC", "TP53"), ("NTC_3|TP53_2", "TP53"), ("HLA\u2013A", "HLA-A"), ("NKX2-5-1", "NKX2-5"), ("MY\u200bC", "MYC"),
        ("HLA-A_NKX2-5", "HLA-A+NKX2-5"), ("GATA1+NT_4", "GATA1"),
    ],
)  # fmt: skip
def test_guides_and_pairs_of_published_screens(label, target):
    assert read(["NTC", label])[0][label] == target


def test_guides_of_genes_that_are_not_measured_follow_the_style_of_the_others():
    pairs = [f"{gene}_+_1.23-P1P2|{gene}_-_2.23-P1P2" for gene in ("TP53", "MYC", "KLF1", "A1BG")]
    target_of, _ = read([*pairs, "non-targeting_1|non-targeting_2"])
    assert [target_of[label] for label in pairs] == ["TP53", "MYC", "KLF1", "A1BG"]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["TP53 KO", "TP53 OE"], "several: 'KO', 'OE'"), (["JAK2 NP", "MYC"], "--drop LABEL"), (["CD46.MYC.NT"], "--combo-separator"),
        (["TP53 x MYC"], "--combo-separator"), (["['TP53', 'MYC']"], "--combo-separator"), (["ES.sg28.CREB1"], "--combo-separator"),
        (["Tcrlibrary_JAK2_1_b"], "--combo-separator"),
    ],
)  # fmt: skip
def test_labels_that_no_rule_reads_stop_and_name_the_flag(labels, words):
    with pytest.raises(ColumnError, match=words):
        read(["NTC", *labels])


@pytest.mark.parametrize(
    ("labels", "question"),
    [
        (["TP53-and-MYC"], "behind a '-'"), (["dropout", "TP53", "MYC", "KLF1"], "words beside genes: .*'dropout'|'dropout'"),
        (["AAVS1+TP53", "MYC"], "parts of combinations that resemble controls are targets: 'AAVS1'"),
    ],
)  # fmt: skip
def test_labels_that_may_mean_something_else_are_asked_about(labels, question):
    assert pd.Series(read(["NTC", *labels])[1]).str.contains(question).any()


def test_a_joined_label_that_is_given_as_control_names_its_parts():
    labels = ["AAVS1+AAVS1", "AAVS1+TP53", "MYC+AAVS1", "KLF1+GATA1"]
    target_of, said = read(labels, control=("AAVS1+AAVS1",))
    assert list(target_of.values()) == [CONTROL, "TP53", "MYC", "GATA1+KLF1"]
    assert any("name controls left out: 2" in line for line in said)


def test_numbers_that_a_program_put_behind_repeated_genes_are_no_names():
    target_of, _ = read(["NTC", "TP53-1", "TP53-2"], genes=["TP53", "TP53-1", "MYC"])
    assert target_of["TP53-1"] == target_of["TP53-2"] == "TP53"
    assert read(["NTC", "HPX-2"], genes=["HPX", "HPX-2"])[0]["HPX-2"] == "HPX-2"


def columns(given=None, **obs):
    return guess_columns(pd.DataFrame(obs), VAR, given or Columns(cell_line_name="A"), path="f.h5ad")[0]


def test_the_column_of_many_labels_is_the_screen_and_arms_are_not():
    guessed = columns(cytokine=["PBS", "IL-2", "IL-4", "TNF"], treatment=["PBS", *["cytokine"] * 3])
    assert (guessed.perturbation, guessed.control) == ("cytokine", ("PBS",))
    guessed = columns(condition=["Control", "Coculture", "Control", "Control"], gene=["NT_1", "TP53", "MYC", "KLF1"])
    assert (guessed.perturbation, guessed.control) == ("gene", ("NT_1",))
    with pytest.raises(ColumnError, match="--perturbation gene_A,gene_B"):
        columns(gene_A=["control", "TP53"], gene_B=["control", "MYC"])


def test_a_column_that_marks_positive_controls_is_no_rule_for_controls():
    drugs = ["Dimethyl Sulfoxide", "Belinostat", "Dabrafenib", "Trametinib"]
    with pytest.raises(ControlError, match=r"'Belinostat'.*--control.*--is-control"):
        columns(sm_name=drugs, control=[True, True, True, False])
    assert columns(sm_name=drugs, control=[True, False, False, False]).is_control == "control"


@pytest.mark.parametrize(
    "name",
    [
        "dose_nM",
        "conc_uM",
        "concentration (uM)",
        "Dose [nM]",
        "drug_conc_nM",
        "dose(uM)",
        "conc",
        "dosage",
        "final_conc_uM",
        "pert_dose",
    ],
)
def test_columns_of_doses(name):
    assert columns(drug=["DMSO", "A", "B", "C"], **{name: [0, 1, 2, 3]}).dose == name


def test_a_dose_that_no_column_rule_reads_is_pooled_aloud():
    obs = pd.DataFrame(
        {"drug": ["DMSO", "A", "A", "B"], "drugname_drugconc": ["D0", "A1", "A2", "B1"], "log10_dose": [0, -5, -6, -6]}
    )
    used = Columns(perturbation="drug", cell_line_name="A")
    assert pooled_columns(pd.concat([obs] * 4), used, labels_of(pd.concat([obs] * 4), "drug")) == [
        "drugname_drugconc",
        "log10_dose",
    ]


@pytest.mark.parametrize(
    ("texts", "values", "unit"),
    [
        (["0 ng/mL", "100 ng/mL", "1 ug/mL"], [0, 0.1, 1], "ug/ml"), (["[('Aspirin', 0.05, 'uM')]"], [0.05], "um"),
        (["10 nmol/L", "1 umol/L"], [0.01, 1], "um"), (["1e-06 M"], [1e-6], "m"),
    ],
)  # fmt: skip
def test_doses_of_published_screens(texts, values, unit):
    amounts = read_amounts(texts)
    assert ([amounts.values[text] for text in texts], amounts.unit, amounts.problem) == (
        pytest.approx(values),
        unit,
        "",
    )
    assert tidy_unit("uM (micromolar)") == tidy_unit("\u03bcM") == tidy_unit("umol/l") == "um"


@pytest.mark.parametrize(
    "name", ["Trametinib_10uM", "Dacinostat (10 nM)", "Trametinib_24h", "[('Aspirin', 0.05, 'uM')]"]
)
def test_doses_and_times_inside_names_of_compounds_are_asked_about(name):
    _, notes = link_targets({name: name}, known(), compounds=True)
    assert "hold a dose or a time" in notes.questions[0]
