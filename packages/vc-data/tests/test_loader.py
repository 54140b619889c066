import hashlib
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vc_contracts.rules import promise_of
from vc_data.contract import sha256_tree
from vc_data.errors import ContractError
from vc_data.loader import Loader, LoaderError, NaiveLoader, Weights, pack_screen
from vc_data.screen.file import read_screen, write_screen
from vc_data.split import (
    LeakError,
    Splits,
    by_cell_line,
    by_dose,
    by_perturbation,
    by_scaffold,
    cell_load,
    few_shot,
    follow,
    gears,
    kfold,
    read_splits,
    write_splits,
)
from vc_data.split.file import RECIPES
from vc_data.split.leakage import HELD_OUT, find_leaks, with_targets

N_GENES = 700
LABELS = ["control", "P0", "P1", "P2", "P3", "P4", "P0+P1"]


def make_screen(path: Path, *, seed=0, n_cells=900, lines=("A", "B"), labels=tuple(LABELS), genes=None) -> Path:
    """Batch b2 of the second line has no controls; library sizes exceed row sums; some gaps and counts exceed a byte."""
    rng = np.random.default_rng(seed)
    obs = pd.DataFrame(
        {
            "cell_line": rng.choice(lines, n_cells),
            "perturbation": rng.choice(labels, n_cells),
            "batch": rng.choice(["b0", "b1", "b2"], n_cells),
        },
        index=[f"cell{seed}_{i}" for i in range(n_cells)],
    )
    bare = (obs["cell_line"] == lines[-1]) & (obs["batch"] == "b2") & (obs["perturbation"] == "control")
    obs.loc[bare, "batch"] = "b1"
    obs["target"] = obs["perturbation"].str.replace("@.*", "", regex=True)
    obs["is_control"] = obs["perturbation"] == "control"
    obs["mode"] = np.where(obs["is_control"], 8, 0)
    dose = [label.partition("@")[2] or 2.5 for label in obs["perturbation"]]
    obs["dose"] = np.where(obs["is_control"], np.nan, np.array(dose, float))
    obs["dataset"] = path.stem
    counts = sp.random(n_cells, N_GENES, 0.02, format="csr", random_state=rng)
    counts.data = rng.geometric(0.4, counts.nnz).astype(np.int64)
    counts.data[::31] = rng.choice([31, 32, 254, 255, 256, 65_535, 65_536, 100_000], len(counts.data[::31]))
    obs["total_counts"] = 1 + 1.5 * np.asarray(counts.sum(axis=1)).ravel()
    names = genes or [f"gene{i}" for i in range(N_GENES)]
    var = pd.DataFrame({"gene_id": "", "symbol": names, "measured": True}, index=names)
    write_screen(obs, var, counts.__getitem__, path, alignment={})
    return path


@pytest.fixture(scope="module")
def screen(tmp_path_factory) -> Path:
    return make_screen(tmp_path_factory.mktemp("loader") / "one.zarr")


@pytest.fixture(scope="module")
def obs(screen) -> pd.DataFrame:
    return read_screen(screen).obs


@pytest.fixture(scope="module")
def split(screen) -> Path:
    path = screen.with_name("one.json")
    write_splits(by_perturbation(read_screen(screen), test=0.25, val=0.2, seed=3), path)
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("other") / "two.zarr"
    return make_screen(path, seed=5, n_cells=500, lines=("B", "C"), labels=("control", "P1", "P2", "P6", "P2+P6"))


def same(one: dict, two: dict) -> bool:
    return one.keys() == two.keys() and all(np.array_equal(one[key], two[key], equal_nan=True) for key in one)


def epoch(loader: Loader) -> list[dict]:
    return [loader[step] for step in range(loader.steps_per_epoch)]


@pytest.mark.parametrize("mode", ["sets", "cells"])
def test_fast_loader_brings_what_the_naive_one_brings(screen, split, mode):
    loader = Loader.open([screen], [split], mode=mode, set_size=9, batch_size=5, controls=("input", "reference"))
    with NaiveLoader(loader) as naive:
        for step in (0, 1, loader.steps_per_epoch - 1, loader.steps_per_epoch + 3):
            batch, reference = loader[step], naive[step]
            for key, value in reference.items():
                assert batch[key].shape == value.shape
                np.testing.assert_allclose(batch[key], value, rtol=2e-6, atol=0)


def test_counts_beyond_a_byte_and_gaps_beyond_a_byte_survive(screen):
    loader = Loader.open([screen], mode="cells", batch_size=900, epochs=1)
    (batch,) = loader
    adata = read_screen(screen)
    counts = adata.X.toarray()[batch["row"]] / adata.obs["total_counts"].to_numpy()[batch["row"], None] * 1e4
    np.testing.assert_allclose(batch["x"], np.log1p(counts), rtol=2e-6)
    assert adata.X.max() == 100_000
    assert np.diff(np.concatenate([[-1], adata.X[0].indices])).max() < adata.X.shape[1]
    assert max(np.diff(row.indices).max() for row in adata.X) > 255


def test_same_seed_same_batches_other_seed_others(screen, split):
    open_with = lambda seed, threads: Loader.open([screen], [split], set_size=8, seed=seed, read_threads=threads)  # noqa: E731
    first, again, other = open_with(1, 1), open_with(1, 0), open_with(2, 1)
    for step, (one, two, three) in enumerate(zip(first, again, other, strict=False)):
        assert same(one, two)
        assert not np.array_equal(one["row"], three["row"])
        if step == first.steps_per_epoch + 1:
            break


def test_epochs_differ_in_order_and_in_the_make_up_of_sets(screen, split):
    loader = Loader.open([screen], [split], set_size=8)
    sets = [{tuple(sorted(rows)) for batch in one for rows in batch["row"].tolist()} for one in (
        [loader[step] for step in range(e * loader.steps_per_epoch, (e + 1) * loader.steps_per_epoch)] for e in (0, 1)
    )]  # fmt: skip
    assert len(sets[0] & sets[1]) < 0.02 * len(sets[0])


@pytest.mark.parametrize("stop", [0, 1, 7])
@pytest.mark.parametrize("threads", [0, 1, 2])
def test_restored_loader_goes_on_as_the_interrupted_one_would_have(screen, split, stop, threads):
    open_again = lambda: Loader.open([screen], [split], set_size=8, batch_size=6, seed=4, read_threads=threads)  # noqa: E731
    straight, interrupted, restored = open_again(), open_again(), open_again()
    expected = [next(straight) for _ in range(stop + 9)][stop:]
    for _ in range(stop):
        next(interrupted)
    state = json.loads(json.dumps(interrupted.get_state()))
    next(restored)
    restored.set_state(state)
    assert all(same(one, next(restored)) for one in expected)


def test_state_of_other_settings_is_refused(screen, split):
    state = Loader.open([screen], [split], set_size=8, seed=4).get_state()
    for change in ({"seed": 5}, {"set_size": 9}, {"process_count": 2}, {"weights": Weights(perturbation={"P0": 2})}):
        with pytest.raises(LoaderError, match="fingerprint"):
            Loader.open([screen], [split], **{"set_size": 8, "seed": 4, **change}).set_state(state)


EPOCH = """
import hashlib, json, os, signal, sys, time
from pathlib import Path
from vc_data.loader import Loader, kernel
screen, split = sys.argv[1:]
saved, log = Path("state.json"), Path("log.txt")
log.touch()

def train():
    loader = Loader.open([screen], [split], set_size=8, batch_size=4, seed=3, epochs=1, read_threads=2)
    if saved.exists():
        loader.set_state(json.loads(saved.read_text()))
    for batch in loader:
        state = loader.get_state()
        digest = hashlib.sha256(b"".join(batch[key].tobytes() for key in sorted(batch))).hexdigest()
        with log.open("a") as file:
            file.write(f"{os.getpid()} {state['step'] - 1} {digest}\\n")
        new = saved.with_suffix(".new")
        new.write_text(json.dumps(state))
        new.replace(saved)
        time.sleep(0.01)

for more in (3, 4, None):
    before = len(log.read_text().splitlines())
    position = json.loads(saved.read_text())["step"] if saved.exists() else 0
    print("from", position)
    pid = os.fork()
    if pid == 0:
        train()
        os._exit(0)
    while more and len(log.read_text().splitlines()) < before + more:
        time.sleep(0.002)
    if more:
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    assert status == (signal.SIGKILL if more else 0), status
"""


def test_kill_9_in_an_epoch_loses_and_repeats_nothing(screen, split, tmp_path):
    """A training process saves its position after each batch, is killed twice, and goes on with exactly what is left."""
    loader = Loader.open([screen], [split], set_size=8, batch_size=4, seed=3, epochs=1)
    command = [sys.executable, "-u", "-c", EPOCH, screen, split]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert result.returncode == 0, result.stderr
    starts = [int(line.split()[1]) for line in result.stdout.splitlines()]
    runs: dict[str, list] = {}
    for line in (tmp_path / "log.txt").read_text().splitlines():
        pid, step, digest = line.split()
        runs.setdefault(pid, []).append((int(step), digest))
    assert len(runs) == 3 and 0 < starts[1] < starts[2] < len(loader)
    for start, run in zip(starts, runs.values(), strict=True):
        assert [step for step, _ in run] == list(range(start, start + len(run)))
    assert list(runs.values())[-1][-1][0] == len(loader) - 1
    for step, digest in (pair for run in runs.values() for pair in run):
        batch = loader[step]
        assert digest == hashlib.sha256(b"".join(batch[key].tobytes() for key in sorted(batch))).hexdigest()


SHARD = """
import sys, numpy as np
from vc_data.loader import Loader
screen, split, index, out = sys.argv[1:]
rows = {}
for mode in ("sets", "cells"):
    loader = Loader.open([screen], [split], mode=mode, set_size=16, batch_size=3, epochs=1, read_threads=1,
                         process_index=int(index), process_count=2)
    batches = list(loader)
    rows[mode] = np.concatenate([batch["row"][batch["mask"]] for batch in batches])
    print(len(batches))
np.savez(out, **rows)
"""


def test_two_processes_cover_every_cell_exactly_once(screen, split, obs, tmp_path):
    Loader.open([screen])
    outs = [tmp_path / f"{index}.npz" for index in range(2)]
    commands = [[sys.executable, "-c", SHARD, screen, split, str(index), out] for index, out in enumerate(outs)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    steps = [process.communicate(timeout=120)[0].split() for process in running]
    assert len(steps[0]) == 2 and steps[0] == steps[1]
    train = set(read_splits(split).part("train"))
    expected = {i for i, pair in enumerate(zip(obs["cell_line"], obs["perturbation"], strict=True)) if pair in train}
    controls = read_splits(split).controls
    for mode, extra in (("sets", []), ("cells", controls["input"] + controls["reference"])):
        one, two = (np.load(out)[mode] for out in outs)
        assert 0.4 < len(one) / (len(one) + len(two)) < 0.6
        assert sorted([*one, *two]) == sorted([*expected, *obs.index.get_indexer(extra)])


@pytest.mark.parametrize(("mode", "set_size"), [("sets", 7), ("sets", 50), ("cells", 1)])
@pytest.mark.parametrize("count", [1, 3])
def test_each_epoch_of_many_blocks_holds_every_cell_once(screen, split, mode, set_size, count, monkeypatch):
    monkeypatch.setattr("vc_data.loader.sample.BLOCK_CELLS", 24)
    settings = {"mode": mode, "set_size": set_size, "batch_size": 4, "process_count": count, "shuffle_cells": 200}
    loaders = [Loader.open([screen], [split], process_index=i, **settings) for i in range(count)]
    for e in range(3):
        units, rows, blocks = [], [], 0
        for loader in loaders:
            steps = range(e * loader.steps_per_epoch, (e + 1) * loader.steps_per_epoch)
            draws = [loader.sampler.draw(step) for step in steps]
            units += [unit for d in draws for unit in np.repeat(d.unit[:, None], d.rows.shape[1], axis=1)[d.mask]]
            rows += [row for d in draws for row in d.rows[d.mask]]
            blocks = max(blocks, len(loader.sampler.plan(e).block_unit))
        sampler = loaders[0].sampler
        assert sorted(rows) == sorted(sampler.rows)
        unit_of = np.repeat(np.arange(len(sampler.conditions)), np.diff(sampler.starts))
        assert units == unit_of[np.searchsorted(sampler.rows, rows)].tolist()
        assert blocks > len(sampler.conditions) or set_size == 50
    with NaiveLoader(loaders[-1]) as naive:
        np.testing.assert_allclose(loaders[-1][1]["x"], naive[1]["x"], rtol=2e-6)


def test_sets_share_a_condition_and_controls_match_it(screen, split, obs):
    loader = Loader.open([screen], [split], set_size=8, controls=("input", "reference"), epochs=1)
    lists = read_splits(split).controls
    held = {name: set(obs.index[obs["is_control"]]) & set(cells) for name, cells in lists.items()}
    batches_with = {
        name: set(zip(*obs.loc[lists[name], ["cell_line", "batch"]].T.to_numpy(), strict=True)) for name in lists
    }
    tiers = {"input": Counter(), "reference": Counter()}
    for batch in loader:
        for i in range(len(batch["x"])):
            cells, condition = obs.iloc[batch["row"][i]], loader.conditions[batch["condition"][i]]
            assert set(cells["cell_line"]) == {condition.cell_line} == {loader.cell_lines[batch["cell_line"][i]]}
            assert set(cells["perturbation"]) == {condition.perturbation}
            assert loader.perturbations[batch["perturbation"][i]] == condition.perturbation
            assert [loader.batches[code].batch for code in batch["batch"][i]] == cells["batch"].tolist()
            for name in tiers:
                control, tier = obs.iloc[batch[f"{name}_row"][i]], batch[f"{name}_tier"][i]
                assert set(control.index) <= held[name]
                assert (control["cell_line"].to_numpy() == condition.cell_line).all()
                matched = control["batch"].to_numpy() == cells["batch"].to_numpy()
                assert matched[tier == 0].all()
                for cell_batch in cells["batch"].to_numpy()[tier == 1]:
                    assert (condition.cell_line, cell_batch) not in batches_with[name]
                tiers[name].update(tier[batch["mask"][i]].tolist())
    for name, counted in tiers.items():
        assert loader.fallbacks[name] == {"same_batch": counted[0], "same_cell_line": counted[1]}
        assert counted[1] > 0


def test_every_control_is_drawn_in_time(screen, split, obs):
    loader = Loader.open([screen], [split], set_size=8)
    drawn = set()
    for step in range(20 * loader.steps_per_epoch):
        positions, _ = loader.sampler.draw(step).controls["input"]
        drawn |= set(positions.ravel().tolist())
    assert drawn == set(range(len(read_splits(split).controls["input"])))


def test_weights_are_honoured(screen, other):
    weights = Weights(dataset={"one": 0.25, "two": 0.75}, perturbation={"P1": 3.0, "P2": 0.0})
    loader = Loader.open([screen, other], set_size=8, batch_size=4, weights=weights)
    n_sets = np.array([-(-c.n_cells // 8) * {"P1": 3.0, "P2": 0.0}.get(c.perturbation, 1.0) for c in loader.conditions])
    of = np.array([c.screen for c in loader.conditions])
    expected = sum(n_sets * (of == s) / n_sets[of == s].sum() * share for s, share in ((0, 0.25), (1, 0.75)))
    expected *= loader.sampler.items_per_epoch
    n_epochs, total = 30, np.zeros(len(expected))
    for e in range(n_epochs):
        served = np.zeros(len(expected))
        for step in range(e * loader.steps_per_epoch, (e + 1) * loader.steps_per_epoch):
            draw = loader.sampler.draw(step)
            np.add.at(served, draw.unit[draw.mask.any(axis=1)], 1)
        assert served.sum() == loader.sampler.items_per_epoch
        assert (np.abs(served - expected) < 1).all()
        total += served
    # Rounding up or down at random has a standard deviation of at most half an item per epoch.
    assert (np.abs(total - n_epochs * expected) < 5 * 0.5 * np.sqrt(n_epochs)).all()
    assert total[[c.perturbation == "P2" for c in loader.conditions]].sum() == 0


@pytest.mark.parametrize("mode", ["sets", "cells"])
def test_padded_sparse_says_the_same_as_dense(screen, split, mode):
    dense, sparse = (
        Loader.open([screen], [split], mode=mode, set_size=8, output=output) for output in ("dense", "padded_sparse")
    )
    for step in range(3):
        one, two = dense[step], sparse[step]
        for name in [key for key in one if key.startswith("x")]:
            genes, values = two[f"{name}_genes"], two[f"{name}_values"]
            assert genes.shape == values.shape == (*one[name].shape[:-1], sparse.max_nonzero)
            again = np.zeros((*genes.shape[:-1], N_GENES + 1), np.float32)
            np.put_along_axis(again, genes.astype(np.int64), values, axis=-1)
            np.testing.assert_array_equal(again[..., :-1], one[name])


def test_profiles_are_means_and_controls_are_weighed_by_batch(screen, split):
    loader = Loader.open([screen], [split], mode="pseudobulk", controls=("input", "reference"), epochs=1)
    adata = read_screen(screen)
    obs, lists = adata.obs, read_splits(split).controls
    x = np.log1p(adata.X.toarray() / obs["total_counts"].to_numpy()[:, None] * 1e4)
    seen = []
    for batch in loader:
        for i in np.flatnonzero(batch["mask"]):
            condition = loader.conditions[batch["condition"][i]]
            of = (
                (obs["cell_line"] == condition.cell_line) & (obs["perturbation"] == condition.perturbation)
            ).to_numpy()
            assert batch["n_cells"][i] == of.sum()
            np.testing.assert_allclose(batch["x"][i], x[of].mean(axis=0), rtol=1e-5, atol=1e-6)
            for name in ("input", "reference"):
                listed = obs.index.isin(lists[name]) & (obs["cell_line"] == condition.cell_line).to_numpy()
                means = []
                for cell_batch in obs["batch"][of]:
                    in_batch = listed & (obs["batch"] == cell_batch).to_numpy()
                    means.append(x[in_batch if in_batch.any() else listed].mean(axis=0))
                np.testing.assert_allclose(batch[f"x_{name}"][i], np.mean(means, axis=0), rtol=1e-4, atol=1e-6)
            seen.append(tuple(condition[1:3]))
    assert sorted(seen) == sorted(read_splits(split).part("train"))


def test_batches_that_are_kept_do_not_change(screen, split):
    loader = Loader.open([screen], [split], set_size=8)
    kept = [next(loader) for _ in range(6)]
    views = [batch["x"][0, :2] for batch in kept]
    copies, of_views = [batch["x"].copy() for batch in kept], [view.copy() for view in views]
    for batch in kept[:3]:
        del batch["x"]
    for _ in range(30):
        next(loader)
    for batch, copy in zip(kept[3:], copies[3:], strict=True):
        np.testing.assert_array_equal(batch["x"], copy)
    for view, copy in zip(views, of_views, strict=True):
        np.testing.assert_array_equal(view, copy)


def test_h5ad_screen_gives_the_same_batches(screen, split, tmp_path):
    read_screen(screen).write_h5ad(tmp_path / "one.h5ad")
    one = Loader.open([screen], [split], set_size=8)
    two = Loader.open([tmp_path / "one.h5ad"], [split], set_size=8)
    assert all(same(one[step], two[step]) for step in range(3))


@st.composite
def any_split(draw, obs: pd.DataFrame) -> Splits:
    """Any split that the contract allows, sensible or not."""
    perturbed = obs.loc[~obs["is_control"], ["cell_line", "perturbation"]].astype(str).drop_duplicates()
    pairs = list(perturbed.itertuples(index=False, name=None))
    parts = ["train", "test", *(draw(st.sampled_from(["train", "val", "test", "unused"])) for _ in pairs[2:])]
    parts = draw(st.permutations(parts))
    conditions = [
        {"cell_line": line, "perturbation": name, "part": part, "why": "drawn"}
        for (line, name), part in zip(pairs, parts, strict=True)
    ]
    controls = {"input": [], "reference": [], "evaluation": []}
    seed = draw(st.integers(0, 1000))
    for _, cells in obs[obs["is_control"]].groupby("cell_line", observed=True):
        shuffled = np.random.default_rng(seed).permutation(cells.index.to_numpy())
        for name, part in zip(controls, np.array_split(shuffled, 3), strict=True):
            controls[name] += part.tolist()
    recipe, promise = draw(st.sampled_from(["theirs", *RECIPES])), draw(st.sampled_from([None, *HELD_OUT]))
    config = {} if promise is None else {"held_out": HELD_OUT[promise]}
    return Splits(recipe, seed, conditions, controls, config)


def is_transfer(split: Splits) -> bool:
    """Whether targets that a split holds out may train in cell lines that it does not name."""
    stated = split.config.get("held_out")
    if stated is None:
        return split.recipe in ("by_cell_line", "few_shot")
    return stated in (HELD_OUT["target in line"], HELD_OUT["condition"])


def breaks_promise(split: Splits, obs: pd.DataFrame) -> bool:
    stated = split.config.get("held_out")
    promise = promise_of(split.recipe, stated)
    rows = with_targets(SimpleNamespace(obs=obs), split)
    return promise is not None and bool(find_leaks(rows, promise))


@pytest.mark.parametrize(
    "recipe", ["by_perturbation", "kfold", "gears", "by_scaffold", "by_cell_line", "few_shot", "follow"]
)
def test_a_target_held_out_by_any_recipe_trains_in_no_screen_of_the_mix(screen, other, tmp_path, recipe):
    """The recipes themselves, on the first screen; the second comes without a split of its own."""
    if recipe == "by_scaffold":
        pytest.importorskip("rdkit")
    first, path = read_screen(screen), tmp_path / "split.json"
    make = {
        "by_perturbation": lambda: by_perturbation(first, test=0.4, seed=1),
        "kfold": lambda: kfold(first, fold=1, n_folds=3),
        "gears": lambda: gears(first, seed=1),
        "by_scaffold": lambda: by_scaffold(first, {f"P{i}": "C" * (i + 1) for i in range(5)}, test=0.4),
        "by_cell_line": lambda: by_cell_line(first, test_lines=["B"]),
        "few_shot": lambda: few_shot(first, "B", n_train=1, n_val=1, n_test=2),
        "follow": lambda: follow(first, [(first, by_perturbation(first, test=0.4, seed=2))], min_cells=5),
    }
    splits = make[recipe]()
    write_splits(splits, path)
    held = {(line, name) for line, name in splits.part("val") + splits.part("test") if "+" not in name}
    assert held
    for order in ([screen, other], [other, screen]):
        files = [path if p == screen else None for p in order]
        try:
            loader = Loader.open(order, files, mode="pseudobulk", batch_size=3)
        except LoaderError as error:
            assert "one or more to train on" in str(error)
            continue
        for condition in loader.conditions:
            if recipe in ("by_cell_line", "few_shot"):
                assert not any((condition.cell_line, name) in held for name in condition.target.split("+"))
                continue
            own = order[condition.screen] == screen
            names = set() if own and "+" in condition.target else set(condition.target.split("+"))
            assert not names & {name for _, name in held}
        assert all(order[c.screen] == other for c in loader.excluded)
        assert loader.excluded or not {name for _, name in held} & {"P1", "P2"}


@pytest.fixture(scope="module")
def dosed(tmp_path_factory) -> list[Path]:
    """Two data sets with compounds at several doses; line B is in both."""
    folder, labels = tmp_path_factory.mktemp("dosed"), ("control", *(f"{c}@{d}" for c in ("C0", "C1") for d in (1, 10)))
    return [
        make_screen(folder / f"{name}.zarr", seed=seed, n_cells=600, lines=lines, labels=labels)
        for name, seed, lines in (("first", 11, ("A", "B")), ("second", 12, ("B", "C")))
    ]


@pytest.mark.parametrize("recipe", ["by_dose", "cell_load"])
def test_splits_of_conditions_lose_no_training_condition_and_leak_none(dosed, tmp_path, recipe):
    screen, path, toml = read_screen(dosed[0]), tmp_path / "split.json", tmp_path / "split.toml"
    toml.write_text(
        '[datasets]\nfirst = "/data/first/"\n[training]\nfirst = "train"\n'
        '[fewshot]\n[fewshot."first.B"]\nval = ["C1@1"]\ntest = ["C0@10"]\n'
    )
    splits = by_dose(screen, doses="highest") if recipe == "by_dose" else cell_load(screen, toml)
    write_splits(splits, path)
    held = set(splits.part("val") + splits.part("test"))
    assert held and {name.partition("@")[0] for _, name in held} == {"C0", "C1"}
    for mix, files in (dosed[:1], [path]), (dosed, [path, None]), (dosed[::-1], [None, path]):
        loader = Loader.open(mix, files, mode="sets", set_size=16, batch_size=4, epochs=1)
        own = mix.index(dosed[0])
        trained = {(c.screen == own, c.cell_line, c.perturbation) for c in loader.conditions}
        assert {(line, name) for mine, line, name in trained if mine} == set(splits.part("train"))
        brought = {
            (loader.cell_lines[line], loader.perturbations[name])
            for batch in loader
            for line, name in zip(batch["cell_line"], batch["perturbation"], strict=True)
        }
        assert not brought & held
        # What another data set shows of a held-out compound in the same cell line stays out as well.
        assert not {(line, name) for mine, line, name in trained if not mine and line == "B"} & held


def test_a_split_that_trains_on_what_it_holds_out_is_refused(screen, split, tmp_path):
    splits = read_splits(split)
    name = splits.part("test")[0][1]
    conditions = [dict(c) for c in splits.conditions]
    next(c for c in conditions if c["perturbation"] == name)["part"] = "train"
    broken = Splits(splits.recipe, splits.seed, conditions, splits.controls, splits.config)
    write_splits(broken, tmp_path / "broken.json")
    with pytest.raises(LeakError, match=rf"broken\.json.*{name} held out, but"):
        Loader.open([screen], [tmp_path / "broken.json"])


def test_two_copies_of_one_study_are_refused(tmp_path):
    paths = [
        make_screen(tmp_path / f"{key}.zarr", seed=i, n_cells=200)
        for i, key in enumerate(("norman19_k562", "scperturb_norman19_k562"))
    ]
    with pytest.raises(LeakError, match=r"'norman19_k562'.*Leave one"):
        Loader.open(paths)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_held_out_cell_reaches_a_batch_under_any_split_or_mix(screen, other, obs, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    paths, tables = [screen, other], [obs, read_screen(other).obs]
    which = data.draw(st.sampled_from([[0], [1], [0, 1], [1, 0]]))
    splits, files = [], []
    for k, i in enumerate(which):
        split = None if k and data.draw(st.booleans()) else data.draw(any_split(tables[i]))
        splits.append(split)
        files.append(None if split is None else folder / f"{k}.json")
        if split is not None:
            write_splits(split, files[-1])
    mode = data.draw(st.sampled_from(["sets", "cells", "pseudobulk"]))
    weights = data.draw(st.sampled_from([None, Weights(dataset={paths[i].stem: 1.0 + i for i in which})]))
    count = data.draw(st.integers(1, 3))
    index = data.draw(st.integers(0, count - 1))
    try:
        loader = Loader.open(
            [paths[i] for i in which], files, mode=mode, set_size=data.draw(st.integers(1, 40)), batch_size=7, epochs=1,
            process_index=index, process_count=count, weights=weights, seed=data.draw(st.integers(0, 9)), read_threads=0,
        )  # fmt: skip
    except LeakError:
        # A drawn split that trains on what it says it holds out; its own check says the same.
        assert any(
            breaks_promise(split, tables[i]) for i, split in zip(which, splits, strict=True) if split is not None
        )
        return
    except LoaderError as error:
        # Nothing is left to train on, or less than one item for each process.
        assert "one or more to train on" in str(error) or ("process_count" in str(error) and count > 1)
        return
    for batch in loader:
        for i, s in enumerate(batch["screen"]):
            table, condition = tables[which[s]], loader.conditions[batch["condition"][i]]
            targets = set(condition.target.split("+"))
            if "row" in batch:
                cells = table.iloc[np.atleast_1d(batch["row"][i])]
                assert set(cells["perturbation"]) == {condition.perturbation}
                assert set(cells["cell_line"]) == {condition.cell_line}
            own = splits[s]
            if own is not None and condition.perturbation != "control":
                assert (condition.cell_line, condition.perturbation) in own.part("train")
            elif own is not None:
                assert not set(cells.index) & set(own.controls["evaluation"])
            if own is not None and mode == "sets":
                assert set(table.index[batch["input_row"][i]]) <= set(own.controls["input"])
            for k, split in enumerate(splits):
                for line, name in [] if split is None else split.part("val") + split.part("test"):
                    same_line = line == condition.cell_line
                    assert condition.perturbation != name or not (same_line or (k != s and not is_transfer(split)))
                    if k != s and "+" not in name and (same_line or not is_transfer(split)):
                        assert name not in targets


def test_screens_of_other_genes_or_of_the_same_data_are_refused(screen, tmp_path):
    longer = make_screen(tmp_path / "longer.zarr", n_cells=200, seed=8, genes=[f"other{i}" for i in range(N_GENES)])
    with pytest.raises(LoaderError, match=r"longer\.zarr.*700 others"):
        Loader.open([screen, longer])
    with pytest.raises(LoaderError, match="dataset 'one' also in"):
        Loader.open([screen, screen])
    adata = read_screen(screen)
    adata.obs["dataset"] = pd.Categorical(["renamed"] * adata.n_obs)
    adata.obs_names = [f"renamed{i}" for i in range(adata.n_obs)]
    adata.write_zarr(tmp_path / "renamed.zarr")
    with pytest.raises(LoaderError, match=r"counts \(sha256"):
        Loader.open([screen, tmp_path / "renamed.zarr"])


def test_split_of_another_screen_is_refused(screen, other, split):
    with pytest.raises(ContractError, match=r"one\.json: conditions"):
        Loader.open([other], [split])


def test_cell_line_without_controls_is_refused(screen, tmp_path):
    adata = read_screen(screen)
    adata = adata[~(adata.obs["is_control"] & (adata.obs["cell_line"] == "B")).to_numpy()].copy()
    write_screen(adata.obs, adata.var, adata.X.__getitem__, tmp_path / "bare.zarr", alignment={})
    with pytest.raises(LoaderError, match=r"bare\.zarr.*none for 'B'"):
        Loader.open([tmp_path / "bare.zarr"])


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"mode": "set"}, "mode"),
        ({"output": "csr"}, "output"),
        ({"mode": "pseudobulk", "output": "padded_sparse"}, "output"),
        ({"controls": ("evaluation",)}, "controls"),
        ({"controls": ("input", "reference"), "splits": None}, "controls"),
        ({"set_size": 0}, "set_size"),
        ({"process_index": 2, "process_count": 2}, "process_index"),
        ({"splits": [None, None]}, "splits"),
        ({"weights": Weights(perturbation={"nothing": 1.0})}, "perturbation"),
        ({"weights": Weights(dataset={"one": -1.0})}, "dataset"),
    ],
)
def test_settings_that_make_no_sense_are_refused(screen, split, arguments, field):
    with pytest.raises(LoaderError, match=field):
        Loader.open([screen], **{"splits": [split], **arguments})


def test_packed_copy_leaves_the_screen_alone(tmp_path):
    screen = make_screen(tmp_path / "fresh.zarr", n_cells=200)
    before = sha256_tree(screen)
    Loader.open([screen])
    assert sha256_tree(screen) == before
    assert anndata.read_zarr(screen).n_obs == 200
    assert (tmp_path / "fresh.zarr.packed").is_dir()


@pytest.fixture
def packed(tmp_path) -> Path:
    Loader.open([make_screen(tmp_path / "own.zarr", n_cells=300)])
    return tmp_path / "own.zarr.packed"


def test_packing_twice_gives_the_same_bytes(packed, tmp_path):
    screen = packed.with_suffix("")
    again = pack_screen(screen, tmp_path / "elsewhere")
    files = [file.relative_to(packed) for file in packed.rglob("*") if file.is_file() and file.name != "stamp.json"]
    assert len(files) > 6
    assert all((packed / file).read_bytes() == (again / file).read_bytes() for file in files)


def break_version(packed: Path) -> None:
    text = (packed / "zarr.json").read_text()
    (packed / "zarr.json").write_text(text.replace('"version": 2', '"version": 1'))


def cut_file(packed: Path) -> None:
    file = packed / "codes" / "c" / "0"
    file.write_bytes(file.read_bytes()[:-8])


def lose_file(packed: Path) -> None:
    (packed / "codes" / "c" / "0").unlink()


def change_screen(packed: Path) -> None:
    screen = packed.with_suffix("")
    adata = read_screen(screen)
    adata.X.data[0] += 1
    shutil.rmtree(screen)
    adata.write_zarr(screen)


@pytest.mark.parametrize("damage", [break_version, cut_file, lose_file, change_screen])
def test_stale_or_incomplete_packed_copy_is_made_again(packed, damage, caplog):
    damage(packed)
    loader = Loader.open([packed.with_suffix("")], set_size=8)
    assert "made again" in caplog.text
    with NaiveLoader(loader) as naive:
        np.testing.assert_allclose(loader[0]["x"], naive[0]["x"], rtol=2e-6)


def test_damaged_bytes_are_refused_with_the_remedy(packed):
    file = packed / "codes" / "c" / "0"
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 255
    file.write_bytes(content)
    loader = Loader.open([packed.with_suffix("")], set_size=8, read_threads=0)
    with pytest.raises(ContractError, match=r"own\.zarr\.packed: codes: .*Delete that folder"):
        epoch(loader)


def test_moved_screen_is_checked_by_hash_once(packed, tmp_path, monkeypatch):
    moved = tmp_path / "moved"
    shutil.copytree(packed.with_suffix(""), moved / "own.zarr", copy_function=shutil.copyfile)
    shutil.copytree(packed, moved / "own.zarr.packed")
    hashed = []
    monkeypatch.setattr("vc_data.loader.packed.sha256_tree", lambda path: hashed.append(path) or sha256_tree(path))
    before = (moved / "own.zarr.packed" / "zarr.json").stat().st_mtime_ns
    Loader.open([moved / "own.zarr"])
    Loader.open([moved / "own.zarr"])
    assert hashed == [moved / "own.zarr"]
    assert (moved / "own.zarr.packed" / "zarr.json").stat().st_mtime_ns == before


def test_broken_screen_is_refused_when_packing(packed, tmp_path):
    adata = read_screen(packed.with_suffix(""))
    adata.X = adata.X.astype(np.float32)
    adata.X.data[5] = 0.5
    adata.write_zarr(tmp_path / "broken.zarr")
    with pytest.raises(ContractError, match=r"broken\.zarr: X.*fractional"):
        Loader.open([tmp_path / "broken.zarr"])
    assert not list(tmp_path.glob(".broken*")) + list(tmp_path.glob("broken.zarr.packed"))


def test_grain_takes_a_loader_as_a_source(screen, split):
    grain = pytest.importorskip("grain")
    loader = Loader.open([screen], [split], set_size=8, epochs=1)
    pipeline = grain.MapDataset.source(loader).to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2))
    assert all(same(one, loader[step]) for step, one in enumerate(pipeline))
