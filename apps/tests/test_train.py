"""`vc train` and `vc predict`: one pair of commands for both models, and what they refuse."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest
from vc_apps.cli import main
from vc_apps.models import train_and_predict_biojepa
from vc_apps.train import biojepa
from vc_apps.train.feed import CellBatches, PairBatches
from vc_apps.train.recipes import RECIPES
from vc_apps.train.settings import BioJepa
from vc_data.convert.run import convert
from vc_data.options import ConvertOptions
from vc_data.screen.file import read_screen
from vc_data.simulate import PRESETS, write_simulation
from vc_data.split import by_perturbation, write_splits
from vc_featurize.bank import FeatureBank, write_features
from vc_model.biojepa.config import BioJepaConfig, param_counts
from vc_model.checkpoint import load_checkpoint
from vc_model.contracts import read_predictions
from vc_model.table.folds import BINS
from vc_model.table.pseudobulk import load_tables

FEW = [
    "--preset",
    "tiny",
    "--pretrain-steps",
    "3",
    "--align-steps",
    "3",
    "--ac-steps",
    "3",
    "--decode-steps",
    "3",
    "--batch",
    "4",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny screen, its split, guides for most of its targets."""
    path = tmp_path_factory.mktemp("train")
    config = replace(PRESETS["tiny"], n_genes=60, n_singles=12, n_pairs=2, cells_per_condition=20, controls_per_line=60)
    write_simulation(config, 0, path / "simulated")
    convert(path / "simulated" / "screen.h5ad", path / "screen.zarr", ConvertOptions(seed=0))
    screen = read_screen(path / "screen.zarr")
    write_splits(by_perturbation(screen, seed=0, test=0.25, min_cells=5), path / "splits.json", parents={})
    targets = sorted({t for label in screen.obs["target"].astype(str).unique() for t in label.split("+")} - {"control"})
    rng = np.random.default_rng(0)
    missing = np.arange(len(targets)) == 0
    guides = FeatureBank(
        vectors_ef=np.where(missing[:, None], 0, rng.standard_normal((len(targets), 20))).astype(np.float32),
        entities=tuple(targets),
        kinds=("guide",) * len(targets),
        sources=("",) * len(targets),
        missing=missing,
        dims=tuple(f"d{i}" for i in range(20)),
        encoder={"id": "random", "revision": "0", "pooling": "", "dtype": "float32", "dim": 20, "licence": "none"},
    )
    write_features(path / "guides.zarr", guides)
    return path


def vc(folder, command, *args):
    kind, *rest = command.split()
    return main([kind, *rest, *(str(folder / name) for name in ("screen.zarr", "splits.json")), *map(str, args)])


@pytest.fixture(scope="module")
def model(folder):
    out = folder / "model"
    assert vc(folder, "train biojepa", "-o", out, *FEW, "--sequences", folder / "guides.zarr") == 0
    return out


def test_a_run_leaves_a_checkpoint_with_its_metrics_and_nothing_else(model):
    assert {path.name for path in model.iterdir()} == {"params", "config.json", "meta.json", "metrics"}
    assert not model.with_name("model.train").exists()
    for stage in ("pretrain", "align", "ac", "decode"):
        (row,) = [json.loads(line) for line in (model / "metrics" / f"{stage}.jsonl").read_text().splitlines()]
        assert row["step"] == 3 and np.isfinite([row["loss"], row["rate"], row["grad_norm"], row["cells_per_s"]]).all()
    row = json.loads((model / "metrics" / "pretrain.jsonl").read_text())
    assert {"cell_rank", "cell_std", "teacher_drift"} <= set(row)
    meta = json.loads((model / "meta.json").read_text())
    assert np.isfinite(meta["metrics"]["decode/loss"])
    assert set(meta["contract"]["parents"]) == {"screen.zarr", "splits.json", "guides.zarr"}


def test_its_predictions_cover_the_test_conditions_and_no_target_is_no_change(model, folder):
    assert (
        main(
            [
                "predict",
                str(model),
                str(folder / "screen.zarr"),
                str(folder / "splits.json"),
                "-o",
                str(folder / "p.zarr"),
            ]
        )
        == 0
    )
    file = read_predictions(folder / "p.zarr")
    _, _, test = load_tables(folder / "screen.zarr", folder / "splits.json")
    assert file.model == "biojepa"
    assert [str(p) for p in file.perturbation[~file.is_control]] == list(test.perturbation)
    fitted = load_checkpoint(model)
    assert fitted.encode_contexts().shape == (len(fitted.cells.lines), fitted.config.width)
    nothing = replace(
        test.subset(np.array([0])), actions=(replace(test.actions[0], targets=()),), perturbation=("none",)
    )
    np.testing.assert_array_equal(fitted.predict(nothing).delta_pg, 0)


@pytest.fixture(scope="module")
def stages(folder):
    """The checkpoint of every stage, trained one by one from the one before."""
    bank, start, made = ["--sequences", folder / "guides.zarr"], [], {}
    for stage in ("pretrain", "align", "ac", "decode"):
        made[stage] = folder / f"only-{stage}"
        args = [*FEW, *(bank if not start else []), *start]
        assert vc(folder, f"train biojepa-{stage}", "-o", made[stage], *args) == 0
        start = ["--start", made[stage]]
    return made


def test_stages_one_by_one_give_the_same_model(model, stages):
    one, other = load_checkpoint(model), load_checkpoint(stages["decode"])
    assert one.stages == other.stages == ("pretrain", "align", "ac", "decode")
    jax.tree.map(np.testing.assert_array_equal, one.parts, other.parts)


def test_it_starts_from_the_anchored_model_and_knows_how_far_to_trust_itself(model, folder):
    fitted = load_checkpoint(model)
    assert fitted.config.by_condition and fitted.base.name == "anchored"
    assert fitted.gate_b.shape == (len(BINS),) and (fitted.gate_b >= 0).all() and (fitted.gate_b <= 1).all()
    _, _, test = load_tables(folder / "screen.zarr", folder / "splits.json")
    closed = replace(fitted, gate_b=np.zeros_like(fitted.gate_b))
    np.testing.assert_array_equal(closed.predict(test).delta_pg, fitted.base.predict(test).delta_pg)
    said = fitted.predict(test)
    assert np.isfinite(said.delta_pg).all() and np.isfinite(said.var_pg).all()


def test_fit_trains_it_with_the_same_defaults(folder, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(biojepa, "train_biojepa", lambda settings: asked.append(settings) or "wrote it")
    screen, splits = folder / "screen.zarr", folder / "splits.json"
    args = ["fit", str(screen), "-o", str(folder / "fitted"), "--model", "biojepa"]
    assert main([*args, "--split", str(splits), "--seed", "3"]) == 0
    assert asked == [BioJepa(screen=screen, splits=splits, out=folder / "fitted", seed=3)]
    assert main(args) == 2 and "expected --split" in capsys.readouterr().err


def test_the_published_way_to_learn_is_a_choice(stages, folder):
    out = folder / "pairs"
    start = ["--start", stages["align"], "--objective", "pairs"]
    assert vc(folder, "train biojepa-ac", "-o", out, *FEW, *start) == 0
    fitted = load_checkpoint(out)
    assert not fitted.config.by_condition and fitted.base is None
    row = json.loads((out / "metrics" / "ac.jsonl").read_text())
    assert "loss_nll" in row and "loss_effect" not in row


def test_an_interrupted_run_says_how_to_go_on_and_does(model, folder, monkeypatch, capsys):
    out, args = folder / "again", [*FEW, "--sequences", folder / "guides.zarr"]
    with monkeypatch.context() as patch:
        patch.setattr("vc_model.train.interrupt.catch_interrupts", lambda: contextlib.nullcontext(lambda: True))
        assert vc(folder, "train biojepa", "-o", out, *args) == 130
    assert "pretrain: stopped after 1 of 3 steps" in capsys.readouterr().err and not out.exists()
    assert vc(folder, "train biojepa", "-o", out, *args) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"wrote {out}/: biojepa after pretrain, align, ac, decode. Next: vc predict")
    jax.tree.map(np.testing.assert_array_equal, load_checkpoint(out).parts, load_checkpoint(model).parts)


def test_inside_quickstart_no_folder_of_an_inner_step_is_named(folder, capsys):
    out = folder / "inner" / "biojepa.h5ad"
    out.parent.mkdir()
    screen, splits = folder / "screen.zarr", folder / "splits.json"
    train_and_predict_biojepa(screen, splits, None, folder / "inner" / "model", out, seed=0, steps=2)
    said = capsys.readouterr()
    assert said.out == "" and "inner" not in said.err and "pretrain" in said.err
    assert read_predictions(out).model == "biojepa"


def vc_processes(folder, command, *args):
    """Two processes of one job, and what each printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    kind, recipe = command.split()
    files = [str(folder / name) for name in ("screen.zarr", "splits.json")]
    job = ["--coordinator", address, "--processes", "2"]
    command = [sys.executable, "-m", "vc_apps.cli", kind, recipe, *files, *map(str, args), *job]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    started = [subprocess.Popen([*command, "--process", str(at)], **pipes) for at in (0, 1)]
    with started[0], started[1]:
        said = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    return said


def test_two_processes_train_what_one_does(stages, folder):
    """Alignment, whose batches do not depend on how many processes share them; parameters lie on both."""
    out = folder / "by-two"
    said = vc_processes(folder, "train biojepa-align", "-o", out, *FEW, "--start", stages["pretrain"], "--fsdp", "2")
    # The library of collectives says a line of its own.
    first, second = (text.splitlines()[-1] for text, _ in said)
    assert first.startswith(f"wrote {out}/: biojepa after pretrain, align.")
    assert second == f"process 1 of 2 is done; process 0 writes {out}/"
    assert "align 3 steps" in said[0][1] and "align" not in said[1][1]
    two, one = (
        json.loads((path / "metrics" / "align.jsonl").read_text().splitlines()[-1]) for path in (out, stages["align"])
    )
    for name in ("loss", "grad_norm", "tau"):
        assert two[name] == pytest.approx(one[name], rel=1e-4), name
    # Adam magnifies the rounding of gradients near zero, so weights agree less well than the loss.
    shapes, expected = (jax.tree.map(np.shape, load_checkpoint(path).parts) for path in (out, stages["align"]))
    assert shapes == expected
    assert not out.with_name("by-two.train").exists()


def test_a_model_without_decoder_does_not_predict(stages, folder, capsys):
    args = [str(stages["ac"]), str(folder / "screen.zarr"), str(folder / "splits.json"), "-o", "p.zarr"]
    assert main(["predict", *args]) == 2
    assert "all four stages trained" in capsys.readouterr().err


def test_anchored_has_the_same_commands(folder, capsys):
    out = folder / "anchored"
    assert vc(folder, "train anchored", "-o", out) == 0
    assert "Next: vc predict" in capsys.readouterr().out
    assert (
        main(
            [
                "predict",
                str(out),
                str(folder / "screen.zarr"),
                str(folder / "splits.json"),
                "-o",
                str(folder / "a.h5ad"),
            ]
        )
        == 0
    )
    assert read_predictions(folder / "a.h5ad").model == "anchored"


def test_pairs_are_training_cells_with_controls_of_their_batch(folder, model):
    table, val, test = load_tables(folder / "screen.zarr", folder / "splits.json")
    fitted = load_checkpoint(model)
    action_of = dict(zip(table.conditions.perturbation, table.conditions.actions, strict=True))
    effect_of = dict(zip(table.conditions.labels, table.delta_pg, strict=True))
    pairs = PairBatches(
        folder / "screen.zarr",
        folder / "splits.json",
        table.genes,
        fitted.bank,
        action_of,
        batch_size=8,
        seed=0,
        effect_of=effect_of,
    )
    held_out = {*test.perturbation, *val.perturbation}
    assert not set(pairs.loader.perturbations) & held_out
    raw, batch = pairs.loader[0], next(iter(pairs))
    obs = read_screen(folder / "screen.zarr").obs
    case, control = obs.iloc[raw["row"][:, 0]], obs.iloc[raw["input_row"][:, 0]]
    assert control["is_control"].all() and not case["is_control"].any()
    assert (case["batch"].astype(str).to_numpy() == control["batch"].astype(str).to_numpy()).all()
    np.testing.assert_allclose(np.expm1(batch["total_case"]), case["total_counts"], rtol=1e-4)
    np.testing.assert_array_equal(batch["mode"][:, 0], case["mode"])
    labels = case["cell_line"].astype(str) + "|" + case["perturbation"].astype(str)
    np.testing.assert_array_equal(batch["x_effect"], [effect_of[label] for label in labels])
    n_targets = [len(str(target).split("+")) for target in case["target"]]
    np.testing.assert_array_equal(batch["pert_mask"].sum(axis=1), n_targets)
    first = fitted.bank.entities.index(str(case["target"].iloc[0]).split("+")[0])
    np.testing.assert_array_equal(batch["target_emb"][0, 0], fitted.bank.target_et[first])
    assert (batch["dose"] == -1).all() and fitted.bank.has_target_e[first]
    cells = CellBatches(folder / "screen.zarr", folder / "splits.json", table.genes, batch_size=8, seed=0)
    rows = np.concatenate([cells.loader[step]["row"] for step in range(cells.loader.steps_per_epoch)])
    seen = obs.iloc[rows]
    assert not set(seen["perturbation"].astype(str)) & held_out
    evaluation = json.loads((folder / "splits.json").read_text())["controls"]["evaluation"]
    assert not set(seen.index) & set(evaluation) and seen["is_control"].any()


def test_published_training_makes_room_for_the_richest_cell_and_learns_the_same(folder, tmp_path, monkeypatch):
    asked = []

    def once(cfg, most_expressed):
        asked.append(most_expressed)
        return replace(cfg, room=most_expressed)

    losses = []
    for name, for_cells in (("once", once), ("every", lambda cfg, most_expressed: cfg)):
        monkeypatch.setattr(BioJepaConfig, "for_cells", for_cells)
        assert vc(folder, "train biojepa-pretrain", "-o", tmp_path / name, "--faithful", *FEW[:4], "--batch", "4") == 0
        losses.append(json.loads((tmp_path / name / "metrics/pretrain.jsonl").read_text())["loss"])
    counts = read_screen(folder / "screen.zarr").X
    assert set(asked) == {np.diff(counts.indptr).max()}
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_targets_that_nothing_is_known_of_share_one_vector(folder, capsys):
    table, val, test = load_tables(folder / "screen.zarr", folder / "splits.json")

    def rename(conditions):
        actions = tuple(replace(a, targets=tuple(f"X{target}" for target in a.targets)) for a in conditions.actions)
        return replace(conditions, actions=actions)

    settings = BioJepa(screen=folder / "screen.zarr", splits=folder / "splits.json", out=folder / "x", preset="tiny")
    strange = replace(table, conditions=rename(table.conditions))
    _, fitted = biojepa._start(settings, strange, rename(val), rename(test))
    assert "nothing is known of any target" in capsys.readouterr().err
    action = fitted.bank.arrays(rename(test).actions)
    assert action["pert_mask"].any() and not (action["has_seq"] | action["has_target"]).any()


@pytest.mark.parametrize(
    ("command", "args", "message"),
    [
        ("train biojepa", ["--features", "absent.zarr"], "--features absent.zarr: no such file"),
        ("train biojepa-ac", [], "--start: expected the checkpoint of the stage before"),
        ("train biojepa-align", ["--start", "MODEL"], "needs --sequences"),
        ("train biojepa", ["--batch", "0"], "batch"),
        ("train biojepa", ["--faithful", "--objective", "conditions"], "the published form learns from pairs"),
        ("train biojepa", ["--folds", "1"], "--folds 1: expected 2 or more"),
        ("train biojepa", ["--data", "64"], "product is the number of devices"),
        ("train biojepa", ["--processes", "2"], "a HOST:PORT exactly where there are several"),
        ("train biojepa", ["--process", "1"], "a process in 0..processes - 1"),
        ("train biojepa", ["--tracker", "paper"], "expected 'wandb' or none"),
        ("train biojepa", ["--sequences", "SCREEN"], "features"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(command, args, message, folder, model, capsys):
    plain = folder / "plain"
    places = {"MODEL": plain, "SCREEN": folder / "screen.zarr"}
    if "MODEL" in args and not plain.exists():
        assert vc(folder, "train biojepa-pretrain", "-o", plain, *FEW) == 0
    capsys.readouterr()
    assert vc(folder, command, "-o", folder / "refused", *FEW, *(places.get(arg, arg) for arg in args)) == 2
    error = capsys.readouterr().err
    assert message in error and not (folder / "refused").exists()


def test_a_folder_that_is_no_checkpoint_is_kept(folder, capsys):
    (folder / "thesis.train").mkdir()
    (folder / "thesis.train" / "notes.txt").write_text("mine")
    assert vc(folder, "train biojepa", "-o", folder / "thesis", *FEW) == 2
    assert "notes.txt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("preset", "published"),
    [("v0.6", (7_979_266, 10_036_224, 1_478_976)), ("v1.0", (7_979_650, 2_565_760, 444_224))],
)
def test_the_published_recipes_are_the_published_models(preset, published):
    recipe = RECIPES[preset](10_000, faithful=True)
    counts = param_counts(recipe.model)
    assert (counts["encoder"], counts["predictor"], counts["composer"]) == published
    assert recipe.steps == {} and recipe.stages["ac"].learning_rates == {"predictor": 1e-4, "composer": 1e-5}


def test_every_recipe_says_where_it_comes_from_and_what_to_expect():
    for make in RECIPES.values():
        assert all(
            f"{word}" in make.__doc__ for word in ("Paper:", "Hardware and time:", "Expected:", "Command: vc train")
        )


@pytest.mark.parametrize("command", ["train", "train biojepa", "train biojepa-align", "train anchored", "predict"])
def test_help_has_examples(command, capsys):
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    assert f"vc {command.split()[0]}" in capsys.readouterr().out.split("For example:")[1]


def test_finished_work_that_was_being_removed_is_never_gone_on_from(tmp_path, monkeypatch):
    from vc_apps.train import work
    from vc_contracts import whole

    def killed(_):
        raise KeyboardInterrupt

    with work.work_folder(tmp_path / "model") as folder:
        (folder / "saves" / "4" / "record").mkdir(parents=True)
        monkeypatch.setattr(whole, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            work.close(folder)
    monkeypatch.undo()
    assert not (tmp_path / "model.train" / "saves").exists()
    with work.work_folder(tmp_path / "model") as folder:
        assert list(folder.iterdir()) == []
