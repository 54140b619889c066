import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vc_contracts.rules import CONTROL_SETS
from vc_data.errors import ContractError, OptionError, TooFewError
from vc_data.split import by_cell_line, by_perturbation, cut_controls, few_shot
from vc_data.split.file import read_splits, write_splits

GENES = [f"G{i}" for i in range(12)]


def make_screen(conditions, controls):
    """A stand-in with the obs of a screen: {(line, label): cells}, {(line, batch): control cells}."""
    rows = [(line, label, "b0", False) for (line, label), n in conditions.items() for _ in range(n)]
    rows += [(line, "control", batch, True) for (line, batch), n in controls.items() for _ in range(n)]
    obs = pd.DataFrame(rows, columns=["cell_line", "perturbation", "batch", "is_control"])
    obs["target"] = obs["perturbation"].str.split("@").str[0]
    obs.index = [f"c{i}" for i in range(len(obs))]
    return SimpleNamespace(obs=obs)


@st.composite
def screens(draw, n_lines=3):
    lines = [f"L{i}" for i in range(draw(st.integers(2, n_lines)))]
    singles = draw(st.lists(st.sampled_from(GENES), min_size=5, unique=True))
    pairs = draw(st.lists(st.tuples(st.sampled_from(GENES), st.sampled_from(GENES)), max_size=6))
    labels = singles + sorted({"+".join(sorted(pair)) for pair in pairs if pair[0] != pair[1]})
    size = st.integers(1, 6)
    conditions = {(line, label): draw(size) for line in lines for label in labels if draw(st.booleans())}
    conditions |= {(lines[0], label): 5 for label in singles}
    conditions |= {(lines[1], singles[0]): 5}
    controls = {(line, f"b{b}"): draw(st.integers(0, 9)) for line in lines for b in range(3)}
    controls |= {(line, "b9"): 3 for line in lines}
    return make_screen(conditions, controls)


def targets(pairs):
    return {(line, target) for line, label in pairs for target in label.split("@")[0].split("+")}


def check_partition(splits, screen):
    obs = screen.obs[~screen.obs["is_control"]]
    held = Counter((c["cell_line"], c["perturbation"]) for c in splits.conditions)
    assert held == Counter(set(zip(obs["cell_line"], obs["perturbation"], strict=True)))
    sizes = obs.groupby(["cell_line", "perturbation"]).size()
    for line, label in splits.part("train") + splits.part("val") + splits.part("test"):
        assert sizes[line, label] >= 3


def check_controls(splits, screen):
    cells = [set(splits.controls[name]) for name in CONTROL_SETS]
    assert sum(map(len, cells)) == len(set().union(*cells))
    controls = screen.obs[screen.obs["is_control"]]
    assert set().union(*cells) == set(controls.index)
    for (line, batch), members in controls.groupby(["cell_line", "batch"]):
        counts = [len(group & set(members.index)) for group in cells]
        # Even within a batch, but for a cell moved to fill a set that a line would lack.
        assert max(counts) - min(counts) <= 2, (line, batch)
    for line, members in controls.groupby("cell_line"):
        counts = [len(group & set(members.index)) for group in cells]
        assert min(counts) > 0 and max(counts) - min(counts) <= 1, line


@settings(deadline=None)
@given(screens(), st.integers(0, 5), st.sampled_from([0.0, 0.2]))
def test_by_perturbation_holds_out_targets_in_every_line(screen, seed, val):
    splits = by_perturbation(screen, seed=seed, test=0.3, val=val, min_cells=3)
    check_partition(splits, screen)
    check_controls(splits, screen)
    held_out = {label for _, label in splits.part("test") + splits.part("val") if "+" not in label}
    assert held_out and not held_out & {target for _, target in targets(splits.part("train"))}
    tested = {label for _, label in splits.part("test") if "+" not in label}
    assert not tested & {target for _, target in targets(splits.part("val"))}
    parts = {}
    for condition in splits.conditions:
        if condition["part"] != "unused":
            assert parts.setdefault(condition["perturbation"], condition["part"]) == condition["part"]


@settings(deadline=None)
@given(screens(), st.integers(0, 5))
def test_by_cell_line_keeps_lines_apart_and_the_test_lines_controls(screen, seed):
    splits = by_cell_line(screen, test_lines=["L1"], seed=seed, min_cells=3)
    check_partition(splits, screen)
    check_controls(splits, screen)
    assert {line for line, _ in splits.part("test")} == {"L1"}
    assert "L1" not in {line for line, _ in splits.part("train")}
    line_of = screen.obs["cell_line"]
    for name in CONTROL_SETS:
        assert "L1" in set(line_of[splits.controls[name]])


@settings(deadline=None)
@given(screens(), st.integers(0, 5))
def test_few_shot_shows_a_few_targets_of_one_line(screen, seed):
    splits = few_shot(screen, "L0", n_train=2, n_val=1, n_test=1, seed=seed, min_cells=3)
    check_partition(splits, screen)
    check_controls(splits, screen)
    own = {part: {label for line, label in splits.part(part) if line == "L0"} for part in ("train", "val", "test")}
    single = {part: {label for label in labels if "+" not in label} for part, labels in own.items()}
    assert {part: len(labels) for part, labels in single.items()} == {"train": 2, "val": 1, "test": 1}
    train = {target for line, target in targets(splits.part("train")) if line == "L0"}
    assert not train & (single["val"] | single["test"])
    assert {c["part"] for c in splits.conditions if c["cell_line"] != "L0"} <= {"train", "unused"}


def test_sizes_of_few_shot_shrink_in_proportion():
    screen = make_screen({("A", f"G{i}"): 20 for i in range(30)} | {("B", "G0"): 20}, {("A", "x"): 9, ("B", "x"): 9})
    splits = few_shot(screen, "A")
    sizes = Counter(c["part"] for c in splits.conditions if c["cell_line"] == "A")
    assert sizes == {"train": 15, "val": 5, "test": 10}
    assert splits.config["n_train"] == 15
    tiny = make_screen({("A", "G0"): 20, ("A", "G1"): 20}, {("A", "x"): 9})
    with pytest.raises(TooFewError, match="3 targets or more, found 2"):
        few_shot(tiny, "A")


def test_doses_of_a_compound_stay_together():
    labels = {("A", f"D{i}@{dose}"): 20 for i in range(8) for dose in (1, 10, 100)}
    splits = by_perturbation(make_screen(labels, {("A", "x"): 9}), test=0.25)
    tested = [label for _, label in splits.part("test")]
    assert len(tested) == 6 and len({label.split("@")[0] for label in tested}) == 2


def test_pairs_with_both_singles_are_held_out_on_their_own():
    labels = {("A", gene): 20 for gene in GENES} | {("A", f"{a}+{b}"): 20 for a in GENES for b in GENES if a < b}
    splits = by_perturbation(make_screen(labels, {("A", "x"): 9}), test=0.25, seed=4)
    train = {label for _, label in splits.part("train")}
    seen = [label for _, label in splits.part("test") if "+" in label and set(label.split("+")) <= train]
    assert len(seen) > 3


def test_small_conditions_and_lines_without_controls_are_unused_and_say_why():
    conditions = {("A", gene): 20 for gene in GENES} | {("A", "RARE"): 19, ("B", "G0"): 50}
    splits = by_perturbation(make_screen(conditions, {("A", "x"): 9, ("B", "x"): 2}))
    why = {(c["cell_line"], c["perturbation"]): c["why"] for c in splits.conditions if c["part"] == "unused"}
    assert why == {
        ("A", "RARE"): "fewer than 20 cells",
        ("B", "G0"): "fewer than 3 control cells in the cell line",
    }


def test_same_seed_same_split_and_another_seed_another(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    screen = make_screen({("A", gene): 20 for gene in GENES}, {("A", "x"): 30})
    for name, seed in (("1", 0), ("2", 0), ("3", 1)):
        write_splits(by_perturbation(screen, seed=seed), tmp_path / name)
    one, two, three = ((tmp_path / name).read_bytes() for name in "123")
    assert one == two != three


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=6),
    st.sampled_from([(1 / 3, 1 / 3, 1 / 3), (0.5, 0.25, 0.25), (0.8, 0.1, 0.1)]),
)
def test_controls_are_cut_near_their_shares(sizes, shares):
    screen = make_screen({("A", "G0"): 1}, {("A", f"b{i}"): n for i, n in enumerate(sizes)})
    cut = cut_controls(screen.obs, shares, np.random.default_rng(0))
    counts = np.array([len(cut[name]) for name in CONTROL_SETS])
    assert counts.sum() == sum(sizes)
    if sum(sizes) >= 3:
        assert (counts > 0).all()
    assert (np.abs(counts - np.multiply(shares, sum(sizes))) < 2).all()


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda s: by_perturbation(s, test=0.7, val=0.4), OptionError),
        (lambda s: by_perturbation(s, min_cells=100), TooFewError),
        (lambda s: by_cell_line(s, test_lines=["Z"]), OptionError),
        (lambda s: by_cell_line(s, test_lines=["A"]), TooFewError),
        (lambda s: few_shot(s, "Z"), OptionError),
        (lambda s: few_shot(s, "A", n_test=0), OptionError),
        (lambda s: by_perturbation(s, control_shares=(1, 1, 1)), OptionError),
    ],
)
def test_impossible_splits_are_refused(make, error):
    screen = make_screen({("A", gene): 20 for gene in GENES}, {("A", "x"): 9})
    with pytest.raises(error, match="split"):
        make(screen)


@pytest.fixture
def written(tmp_path):
    screen = make_screen({("A", gene): 20 for gene in GENES}, {("A", "x"): 9})
    splits = by_perturbation(screen)
    write_splits(splits, tmp_path / "s.json", parents={"a.zarr": "0" * 64})
    return tmp_path / "s.json", screen, splits


def test_round_trip(written):
    path, screen, splits = written
    again = read_splits(path, screen)
    assert (again.conditions, again.controls, again.seed) == (splits.conditions, splits.controls, splits.seed)
    assert again.header["parents"] == {"a.zarr": "0" * 64}
    assert again.lines()[0] == "conditions: 9 train, 0 val, 3 test, 0 unused"


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda c: c.pop("contract"), "contract"),
        (lambda c: c["contract"].update(version="2.0"), "version"),
        (lambda c: c["contract"].update(name="screen"), "name"),
        (lambda c: c.update(recipe=""), "recipe"),
        (lambda c: c.update(seed="0"), "seed"),
        (lambda c: c.update(conditions={}), "conditions"),
        (lambda c: c["conditions"][0].update(part="holdout"), "part"),
        (lambda c: c["conditions"][0].update(part="unused"), "why"),
        (lambda c: c["conditions"][0].pop("cell_line"), "cell_line"),
        (lambda c: c["conditions"].append(dict(c["conditions"][0])), "once"),
        (lambda c: c["conditions"].append({"cell_line": "A", "perturbation": "NEW", "part": "train"}), "others"),
        (lambda c: c["conditions"].pop(), "missing"),
        (lambda c: [x.update(part="train") for x in c["conditions"]], "'test'"),
        (lambda c: [x.update(part="test") for x in c["conditions"]], "'train'"),
        (lambda c: c.pop("controls"), "controls"),
        (lambda c: c["controls"].pop("input"), "controls"),
        (lambda c: c["controls"].update(input=[]), "input"),
        (lambda c: c["controls"]["input"].append(c["controls"]["reference"][0]), "share no cell"),
        (lambda c: c["controls"]["input"].append("c0"), "others"),
        (lambda c: c["controls"]["input"].append(7), "names"),
    ],
)
def test_breaches_are_refused(written, damage, word):
    path, screen, _ = written
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ContractError, match=word):
        read_splits(path, screen)


def test_files_that_are_no_json_are_refused(tmp_path):
    (tmp_path / "s.json").write_text("{")
    for name in ("s.json", "no.json"):
        with pytest.raises(ContractError, match=name):
            read_splits(tmp_path / name)
