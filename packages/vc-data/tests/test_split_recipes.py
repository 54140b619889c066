"""Folds, GEARS' draw, cell-load's files, compounds, and the promises about leaks."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vc_data.errors import ColumnError, OptionError, SourceError, TooFewError
from vc_data.split import (
    LeakError,
    by_cell_line,
    by_dose,
    by_perturbation,
    by_scaffold,
    cell_load,
    check_corpus,
    few_shot,
    follow,
    gears,
    kfold,
    read_structures,
)
from vc_data.split.chemical import murcko
from vc_data.split.leakage import with_targets

GENES = [f"G{i:02d}" for i in range(40)]


def make_screen(labels, *, lines=("A",), cells=20, dataset="mine", dose=None):
    """A stand-in with the obs of a screen: every label in every line, and thirty controls a line."""
    rows = [(line, label, "b0", False) for line in lines for label in labels for _ in range(cells)]
    rows += [(line, "control", "b0", True) for line in lines for _ in range(30)]
    obs = pd.DataFrame(rows, columns=["cell_line", "perturbation", "batch", "is_control"])
    obs["target"] = obs["perturbation"].str.split("@").str[0]
    obs["dataset"] = dataset
    obs["total_counts"] = np.random.default_rng(sum(dataset.encode())).integers(1000, 9000, len(obs)).astype(np.float32)
    doses = obs["perturbation"].str.split("@").str[1].astype(float)
    obs["dose"] = (doses if dose is None else dose(obs)).astype(np.float32)
    obs.index = [f"c{i}" for i in range(len(obs))]
    return SimpleNamespace(obs=obs)


def parts(splits):
    return {(c["cell_line"], c["perturbation"]): c["part"] for c in splits.conditions}


def pairs_of(genes, n, seed=0):
    rng = np.random.default_rng(seed)
    return sorted({"+".join(sorted(rng.choice(genes, 2, replace=False).tolist())) for _ in range(n)})


# ------------------------------------------------------------------ folds


def test_every_target_is_tested_in_exactly_one_fold():
    screen = make_screen(GENES, lines=("A", "B"))
    folds = [kfold(screen, fold=i, n_folds=4, val=True, seed=2) for i in range(4)]
    tested = [{label for _, label in fold.part("test")} for fold in folds]
    assert sorted(len(labels) for labels in tested) == [10] * 4 and set().union(*tested) == set(GENES)
    for i, fold in enumerate(folds):
        assert {label for _, label in fold.part("val")} == tested[(i + 1) % 4]
        assert len(fold.part("test")) == 20  # both lines


def test_one_fold_across_screens_that_share_only_some_targets():
    one, other = make_screen(GENES[:30]), make_screen(GENES[15:], dataset="other")
    for fold in range(5):
        made = [kfold(one, fold=fold, others=[other], seed=1), kfold(other, fold=fold, others=[one], seed=1)]
        assert check_corpus([(one, made[0]), (other, made[1])], trust_names=True)
        held = [{label for _, label in splits.part("test")} for splits in made]
        shared = set(GENES[15:30])
        assert held[0] & shared == held[1] & shared


def test_complexes_are_never_cut():
    groups = {gene: f"complex{i // 4}" for i, gene in enumerate(GENES[:20])}
    for fold in range(5):
        tested = {label for _, label in kfold(make_screen(GENES), fold=fold, groups=groups).part("test")}
        cut = [name for name in set(groups.values()) if 0 < sum(groups.get(g) == name for g in tested) < 4]
        assert not cut and 6 <= len(tested) <= 10


def test_folds_that_cannot_be():
    with pytest.raises(OptionError, match="--fold"):
        kfold(make_screen(GENES), fold=5)
    with pytest.raises(TooFewError, match="fewer --folds"):
        kfold(make_screen(GENES[:3]), fold=0)


def test_follow_takes_over_what_another_screen_holds_out():
    one, other = make_screen(GENES[:30]), make_screen([*GENES[15:], "G15+G39"], dataset="other")
    first = by_perturbation(one, test=0.3, val=0.2, seed=3)
    second = follow(other, [(one, first)])
    expected = {label: part for (_, label), part in parts(first).items()}
    for (_, label), part in parts(second).items():
        assert part == expected.get(label.split("+")[0], "train")
    assert check_corpus([(one, first), (other, second)], trust_names=True)
    with pytest.raises(TooFewError, match="in common"):
        follow(make_screen(GENES[30:]), [(one, first)])


def test_a_corpus_that_leaks_is_refused():
    one, other = make_screen(GENES), make_screen(GENES, dataset="other")
    splits = [by_perturbation(one, seed=0), by_perturbation(other, seed=1)]
    with pytest.raises(LeakError, match=r"held out, but k562.zarr|held out, but act.zarr"):
        check_corpus([(one, splits[0]), (other, splits[1])], ["k562.zarr", "act.zarr"])


def test_two_copies_of_one_study_are_refused():
    one, copy = (make_screen(GENES, dataset=key) for key in ("norman19_k562", "scperturb_norman19_k562"))
    with pytest.raises(LeakError, match=r"'norman19_k562'.*Leave one"):
        check_corpus([(one, by_perturbation(one)), (copy, by_perturbation(copy))])


def test_the_same_cells_under_another_name_are_refused():
    one, copy = make_screen(GENES), make_screen(GENES)
    copy.obs["dataset"] = "theirs"
    copy.obs.loc[copy.obs.index[::20], "total_counts"] += 1  # filtered a little differently
    split = by_perturbation(one, seed=0)
    with pytest.raises(LeakError, match="same name and total count"):
        check_corpus([(one, split), (copy, split)], ["a.zarr", "b.zarr"])
    copy.obs.index = "x" + copy.obs.index
    assert check_corpus([(one, split), (copy, split)], trust_names=True)


# ------------------------------------------------------------------ cell lines


def test_targets_seen_nowhere_and_elsewhere():
    screen = make_screen(GENES, lines=("A", "B", "C"))
    splits = by_cell_line(screen, test_lines=["C"], unseen=0.25)
    groups = {c["perturbation"]: c["group"] for c in splits.conditions if c["part"] == "test"}
    trained = {label for _, label in splits.part("train")}
    assert {label for label, group in groups.items() if group == "seen elsewhere"} == trained
    assert len(groups) == 40 and sum(group == "seen nowhere" for group in groups.values()) == 10
    assert "test, seen nowhere: 10" in splits.lines()


def test_a_learning_curve_keeps_its_test_targets():
    screen = make_screen(GENES, lines=("A", "B"))
    sizes = (0, 10, 20)
    curve = [few_shot(screen, "A", n_train=n, n_val=5, n_test=10, seed=4) for n in sizes]
    tested = [set(splits.part("test")) for splits in curve]
    assert tested[0] == tested[1] == tested[2] and len(tested[0]) == 10
    assert [sum(line == "A" for line, _ in splits.part("train")) for splits in curve] == list(sizes)


@pytest.mark.parametrize(
    "make",
    [
        lambda s: few_shot(s, "K562"),
        lambda s: by_cell_line(s, test_lines=["RPE"]),
        lambda s: by_cell_line(s, test_lines=["k562 "]),
    ],
)
def test_typos_name_the_nearest(make):
    screen = make_screen(GENES, lines=("k562", "RPE1"))
    with pytest.raises(OptionError, match=r"Nearest: for '(K562|RPE|k562 )': '(k562|RPE1)'"):
        make(screen)


def test_empty_parts_say_why():
    screen = make_screen(GENES[:6], cells=3)
    with pytest.raises(TooFewError, match=r"none of 6.*6 unused \(fewer than 20 cells\)"):
        gears(screen, min_cells=20)


# ------------------------------------------------------------------ GEARS


def published(conditions, seed, gene_share=0.75, pair_share=0.75):
    """The published procedure, restated from its description: numpy's global generator, sets and sorted lists.

    Written apart from the package, for draws of any size; what GEARS itself gave is compared below.
    """

    def cut(names, share, share_pairs):
        alone = lambda name: "ctrl" in name.split("+")  # noqa: E731
        genes = np.unique([gene for name in names for gene in name.split("+") if gene != "ctrl"])
        np.random.seed(seed)
        seen = set(np.random.choice(genes, int(len(genes) * share), replace=False))
        n_seen = {name: len(seen & set(name.split("+"))) for name in names}
        subgroup = {
            "combo_seen1": {n for n in names if not alone(n) and n_seen[n] == 1},
            "combo_seen0": {n for n in names if not alone(n) and n_seen[n] == 0},
            "unseen_single": {n for n in names if alone(n) and n_seen[n] == 0},
        }
        both = np.unique([n for n in names if not alone(n) and n_seen[n] == 2])
        np.random.seed(seed)
        kept = set(np.random.choice(both, int(len(both) * share_pairs), replace=False)) if len(both) else set()
        subgroup["combo_seen2"] = set(both) - kept
        return {n for n in names if alone(n) and n_seen[n] == 1} | kept, subgroup

    train, test_groups = cut(sorted(conditions), gene_share, pair_share)
    train, val_groups = cut(sorted(train), 0.9, 0.9)
    return train, val_groups, test_groups


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(0, 60), st.integers(12, 40), st.booleans())
def test_gears_picks_the_published_conditions(seed, n_pairs, n_genes, turned):
    pairs = pairs_of(GENES[:n_genes], n_pairs, seed)
    screen = make_screen([*GENES[:n_genes], *pairs], cells=1)
    name_of = {gene: f"{gene}+ctrl" for gene in GENES[:n_genes]} | {pair: pair for pair in pairs}
    if turned:
        # The reference spells some pairs the other way round, which moves them in its sorted list.
        name_of |= {pair: "+".join(reversed(pair.split("+"))) for pair in pairs[::2]}
    splits = gears(screen, seed=seed, names=list(name_of.values()) if turned else None)
    train, val, test = published(list(name_of.values()), seed)
    expected = dict.fromkeys(train, ("train", None))
    expected |= {name: ("val", group) for group, names in val.items() for name in names}
    expected |= {name: ("test", group) for group, names in test.items() for name in names}
    found = {name_of[c["perturbation"]]: (c["part"], c.get("group")) for c in splits.conditions}
    assert found == expected


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_gears_picks_what_the_package_itself_picked(seed):
    """`gears/simulation.json` is what cell-gears gave (`gears/make_golden.py`)."""
    golden = json.loads((Path(__file__).parent / "gears" / "simulation.json").read_text())
    name_of = {"+".join(sorted(g for g in name.split("+") if g != "ctrl")): name for name in golden["conditions"]}
    splits = gears(make_screen(list(name_of), cells=1), seed=seed, names=golden["conditions"])
    found = {"train": [], "val": {}, "test": {}}
    for condition in splits.conditions:
        part, name = condition["part"], name_of[condition["perturbation"]]
        names = found["train"] if part == "train" else found[part].setdefault(condition["group"], [])
        names.append(name)
    expected = golden["seeds"][str(seed)]
    assert sorted(found["train"]) == expected["train"] and len(name_of) == len(golden["conditions"]) == 120
    for part in ("val", "test"):
        assert {g: sorted(names) for g, names in found[part].items()} == {g: n for g, n in expected[part].items() if n}


def test_gears_draw_ignores_sizes_and_leaves_out_what_the_reference_lacks():
    screen = make_screen(GENES, cells=5)
    large = parts(gears(screen, seed=3))
    obs = screen.obs
    few_cells = SimpleNamespace(obs=obs.drop(obs.index[obs["perturbation"] == "G07"][1:]))
    small = parts(gears(few_cells, seed=3, min_cells=2))
    assert small.pop(("A", "G07")) == "unused" and small == {k: v for k, v in large.items() if k != ("A", "G07")}
    listed = gears(screen, seed=3, names=[f"ctrl+{gene}" for gene in GENES[:20]])
    why = {c["perturbation"]: c.get("why") for c in listed.conditions}
    assert {gene for gene in GENES if why[gene]} == set(GENES[20:])


# ------------------------------------------------------------------ cell-load

TOML = """
[datasets]
replogle = "/somewhere/replogle"
other = "/somewhere/other"

[training]
replogle = "train"

[zeroshot]
"replogle.jurkat" = "test"
"other.HeLa" = "val"

[fewshot]

[fewshot."replogle.rpe1"]
val = ["G00", "G01"]
test = ["G01", "G02"]
"""


@pytest.fixture
def toml(tmp_path):
    (tmp_path / "split.toml").write_text(TOML)
    return tmp_path / "split.toml"


def test_cell_load_files_are_read_as_they_are(toml):
    screen = make_screen(GENES[:6], lines=("jurkat", "rpe1", "k562"), dataset="replogle")
    splits = cell_load(screen, toml)
    found = parts(splits)
    assert {part for (line, _), part in found.items() if line == "jurkat"} == {"test"}
    assert {part for (line, _), part in found.items() if line == "k562"} == {"train"}
    own = {label: part for (line, label), part in found.items() if line == "rpe1"}
    assert own == {"G00": "val", "G01": "test", "G02": "test", **dict.fromkeys(GENES[3:6], "train")}
    assert splits.config["leaks"] == 0


def test_cell_load_says_where_its_file_leaks(toml):
    screen = make_screen([*GENES[:6], "G02+G05"], lines=("jurkat", "rpe1", "k562"), dataset="replogle")
    splits = cell_load(screen, toml)
    assert splits.config["leaks"] == 1 and any("held out in a cell line that trains" in line for line in splits.lines())


def test_cell_load_refusals(toml, tmp_path):
    screen = make_screen(GENES[:6], lines=("Jurkat", "rpe1"), dataset="replogle")
    with pytest.raises(OptionError, match="for 'jurkat': 'Jurkat'"):
        cell_load(screen, toml)
    screen = make_screen(["G00", "G01", "G2", "G05"], lines=("jurkat", "rpe1"), dataset="replogle")
    with pytest.raises(OptionError, match=r"unknown: 'G02'.*'G2'"):
        cell_load(screen, toml)
    assert cell_load(screen, toml, allow_absent=True).part("val") == [("rpe1", "G00")]
    with pytest.raises(OptionError, match="--toml-dataset"):
        cell_load(make_screen(GENES[:6]), toml)
    with pytest.raises(OptionError, match="for 'replogl': 'replogle'"):
        cell_load(screen, toml, dataset="replogl")
    for text, word in (
        ("[zeroshot]\n'a.b' = 'tset'", "tset"),
        ("[fewshot]\n'a.b' = ['x']", "val and test"),
        ("[", "TOML"),
    ):
        (tmp_path / "bad.toml").write_text(text)
        with pytest.raises(SourceError, match=word):
            cell_load(screen, tmp_path / "bad.toml")


# ------------------------------------------------------------------ compounds

SMILES = {
    "benzoic acid": "OC(=O)c1ccccc1",
    "toluene": "Cc1ccccc1",
    "phenol sodium": "[Na+].[O-]c1ccccc1",
    "naphthol": "Oc1cccc2ccccc12",
    "pyridine": "c1ccncc1",
    "nicotine": "CN1CCCC1c1cccnc1",
    "ethanol": "CCO",
    "acetone": "CC(C)=O",
}


def test_scaffolds():
    pytest.importorskip("rdkit")
    benzene = murcko("c1ccccc1")
    assert [murcko(SMILES[name]) == benzene for name in ("benzoic acid", "toluene", "phenol sodium")] == [True] * 3
    assert murcko(SMILES["naphthol"]) == murcko("c1ccc2ccccc2c1") != benzene
    assert murcko(SMILES["ethanol"]) == ""
    with pytest.raises(OptionError, match=r"'x'.*Mend|x: expected a molecule"):
        murcko("not smiles", "x")


@pytest.mark.parametrize("seed", range(5))
def test_no_scaffold_is_in_two_parts(seed):
    pytest.importorskip("rdkit")
    screen = make_screen([f"{name}@{dose}" for name in [*SMILES, "mystery"] for dose in (1, 10)], lines=("A", "B"))
    splits = by_scaffold(
        screen, {name.upper().replace(" ", "-"): s for name, s in SMILES.items()}, test=0.3, val=0.2, seed=seed
    )
    rows = with_targets(screen, splits)
    seen = {}
    for row in rows:
        (name,) = row["targets"]
        if name == "mystery":
            assert row["part"] == "unused" and row["why"] == "no structure in the table"
        else:
            assert seen.setdefault(murcko(SMILES[name]) or name, row["part"]) == row["part"]
    assert set(seen.values()) == {"train", "val", "test"}


def test_real_structures(shared):
    pytest.importorskip("rdkit")
    structures = read_structures(shared / "side" / "drugs" / "drugs_tahoe_sciplex3_op3_smiles.tsv.gz")
    names = sorted(structures)[:60]
    splits = by_scaffold(make_screen(names, cells=2), structures, min_cells=2)
    scaffolds = [{murcko(structures[n]) or n for _, n in splits.part(part)} for part in ("train", "test")]
    assert not scaffolds[0] & scaffolds[1] and 8 <= len(splits.part("test")) <= 22


def test_structures_without_the_columns_are_refused(tmp_path):
    (tmp_path / "s.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(SourceError, match="smiles"):
        read_structures(tmp_path / "s.tsv")


@pytest.mark.parametrize(
    ("doses", "held"), [("highest", {100.0}), ("lowest", {1.0}), ([10], {10.0}), ("random", {1.0, 10.0, 100.0})]
)
def test_unseen_dose(doses, held):
    labels = [f"{name}@{dose}" for name in ("a", "b", "c", "d", "e") for dose in (1, 10, 100)] + ["single@10"]
    splits = by_dose(make_screen(labels, lines=("A", "B")), doses=doses)
    tested = {label for _, label in splits.part("test")}
    assert {float(label.split("@")[1]) for label in tested} <= held and len(tested) == 5
    assert "single@10" not in tested
    # In both lines, and every tested compound also trains.
    assert len(splits.part("test")) == 10
    assert {label.split("@")[0] for label in tested} <= {label.split("@")[0] for _, label in splits.part("train")}


def test_doses_that_cannot_be_held_out():
    labels = [f"{name}@{dose}" for name in ("a", "b") for dose in (1, 10)]
    with pytest.raises(OptionError, match=r"'1.0', '10.0'"):
        by_dose(make_screen(labels), doses=[5])
    with pytest.raises(OptionError, match="highest, lowest"):
        by_dose(make_screen(labels), doses="middle")
    with pytest.raises(TooFewError, match="one each"):
        by_dose(make_screen(["a@1", "b@1"]))
    with pytest.raises(ColumnError, match="--dose-in-label"):
        by_dose(make_screen(["a", "b"], dose=lambda obs: pd.Series(np.arange(len(obs)) % 2, obs.index)))
