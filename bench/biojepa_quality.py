"""BioJEPA as published and as repaired, beside `anchored` and every baseline: the same splits, files and metrics.

    uv run python bench/biojepa_quality.py models simulated:small scores/            # an hour on 2 cores
    uv run python bench/biojepa_quality.py models ../shared/data/single_cell/norman2019_k562_crispra_500g.h5ad scores/
    uv run python bench/biojepa_quality.py contexts scores/                          # the encoder as a description of lines
    uv run python bench/biojepa_quality.py page scores/ docs/log/biojepa.md

`models`: each split holds out other perturbations and is one seed of everything. Every model writes a predictions-v1 file
and vc-eval scores the files. `contexts`: every line of a simulated screen is held out in turn; `anchored` describes lines by
their control profiles, by an encoder that was pretrained without the held-out line's perturbed cells, by the same encoder
before training, or by the trained one with its vectors dealt out among the wrong lines. Intervals resample perturbations.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small decompositions wait for threads longer than they work

import jax
import numpy as np
import pandas as pd
import tyro
from quality_gates import best_on_validation
from vc_apps.models import OURS, fit_and_predict
from vc_apps.train.biojepa import train_biojepa
from vc_apps.train.settings import BioJepa, Pretrain
from vc_data import split as splitting
from vc_data.convert import ConvertOptions, convert
from vc_data.screen import read_screen
from vc_data.simulate import PRESETS, SimulatorConfig, write_simulation
from vc_eval.score import SplitScores, paired_differences, score_split, summarise
from vc_featurize.bank import write_features
from vc_featurize.geneset import geneset_features
from vc_model.anchored import Anchored
from vc_model.baselines import BASELINES, effect_factories
from vc_model.biojepa.config import param_counts
from vc_model.biojepa.fitted import FittedBioJepa
from vc_model.biojepa.stages import init_part
from vc_model.checkpoint import load_checkpoint
from vc_model.contracts import write_predictions
from vc_model.output import make_prediction_file, predict_checkpoint
from vc_model.pseudobulk import load_tables

KINDS = {"biojepa_faithful": True, "biojepa": False}
MODELS = (*KINDS, "anchored")
METRICS = {
    "pearson_delta": ("Pearson delta", 1),
    "mse_delta": ("MSE delta x 1000", 1000),
    "r2_top50_test_delta": ("R2 top 50", 1),
    "centroid_accuracy": ("centroid acc.", 1),
    "vcc2025/des": ("DES", 1),
    "vcc2025/pds": ("PDS", 1),
    "calibration/spearman": ("Spearman of predicted error", 1),
}
PUBLISHED = (
    ("pearson_delta", "all", "Pearson of the change", "0.216"),
    ("centroid_top1", "all", "nearest centroid is the right one", "0.034 (chance 0.001)"),
    ("beat_pearson/no_change", "all", "beats the control profile, by Pearson of profiles", "0.009"),
    ("r2_top50_abs", "all", "R2 of the top 50 genes, of profiles", "0.816"),
    ("pearson_delta", "combo", "Pearson of the change, combinations", "0.286 (additive 0.781)"),
    ("uncertainty/ece_biojepa", "all", "ECE as the seed computes it", "0.572"),
)
LINES = ("none", "encoder", "untrained encoder", "encoder, lines swapped")
MANY_LINES = replace(
    PRESETS["tiny"],
    n_genes=500,
    n_pathways=12,
    cell_lines=tuple(f"Line{letter}" for letter in "ABCDEF"),
    n_singles=60,
    n_pairs=0,
    controls_per_line=300,
)
N_BOOT = 2000


@dataclass(frozen=True, kw_only=True)
class Models:
    """Train and score every model on one screen."""

    source: tyro.conf.Positional[str]
    """An .h5ad with raw counts, or simulated:PRESET."""
    keep: tyro.conf.Positional[Path]
    """Folder for the scores."""
    genesets: Path | None = None
    """A .gmt file that describes the targets of a real screen."""
    splits: int = 3
    preset: str = "tiny"
    """Recipe of BioJEPA (`vc train biojepa --preset`)."""
    pretrain_steps: int = 300
    ac_steps: int = 600
    decode_steps: int = 300


@dataclass(frozen=True, kw_only=True)
class Contexts:
    """Fit `anchored` with and without the encoder's description of lines, each line held out in turn."""

    keep: tyro.conf.Positional[Path]
    """Folder for the scores."""
    pretrain_steps: int = 300
    seeds: int = 3
    """Worlds that are simulated."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Make the page of all scores that were kept."""

    keep: tyro.conf.Positional[Path]
    out: tyro.conf.Positional[Path]


def prepare(args: Models, folder: Path) -> tuple[Path, Path | None]:
    """The screen, and a bank of gene sets of its targets."""
    if args.source.startswith("simulated:"):
        return simulate(PRESETS[args.source.split(":")[1]], 0, folder, name_of(args.source))
    options = ConvertOptions(dataset=name_of(args.source), seed=0)
    screen_fpath = convert(Path(args.source), folder / "screen.zarr", options).path
    return screen_fpath, None if args.genesets is None else describe_targets(screen_fpath, args.genesets)


def simulate(config: SimulatorConfig, world_seed: int, folder: Path, name: str) -> tuple[Path, Path]:
    """A simulated screen and the bank of its gene sets."""
    write_simulation(config, world_seed, folder / "simulated")
    options = ConvertOptions(dataset=name, seed=0)
    screen_fpath = convert(folder / "simulated" / "screen.h5ad", folder / "screen.zarr", options).path
    return screen_fpath, describe_targets(screen_fpath, folder / "simulated" / "pathways.gmt")


def describe_targets(screen_fpath: Path, genesets: Path) -> Path:
    """The bank of gene sets of a screen's targets, beside the screen."""
    labels = read_screen(screen_fpath).obs["target"].astype(str).unique()
    targets = sorted({target for label in labels for target in label.split("+")} - {"control"})
    return write_features(screen_fpath.with_name("features.zarr"), geneset_features(genesets, targets), config={})


def name_of(source: str) -> str:
    """Name of the data in titles and file names."""
    return source.replace(":", "-") if source.startswith("simulated:") else Path(source).stem


def run_models(args: Models) -> None:
    """Train, predict and score on every split; keep the tables."""
    name = name_of(args.source)
    started, scored, validation, seconds = time.time(), [], [], []
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        screen_fpath, features_fpath = prepare(args, folder)
        screen = read_screen(screen_fpath)
        for seed in range(args.splits):
            splits_fpath = folder / f"split-{seed}.json"
            splitting.write_splits(splitting.by_perturbation(screen, seed=seed, test=0.25), splits_fpath, parents={})
            work = folder / str(seed)
            fpaths = fit_and_predict(screen_fpath, splits_fpath, features_fpath, work, checkpoint_dpath=None, seed=seed)
            for kind, faithful in KINDS.items():
                start = time.time()
                out = work / kind
                train_biojepa(
                    BioJepa(
                        screen=screen_fpath,
                        splits=splits_fpath,
                        out=out,
                        features=features_fpath,
                        seed=seed,
                        preset=args.preset,
                        faithful=faithful,
                        pretrain_steps=args.pretrain_steps,
                        ac_steps=args.ac_steps,
                        decode_steps=args.decode_steps,
                    )
                )
                seconds.append((kind, time.time() - start))
                fpaths[kind] = work / f"{kind}.h5ad"
                predict_checkpoint(out, screen_fpath, splits_fpath, fpaths[kind])
                n_parameters = sum(param_counts(load_checkpoint(out).config).values())
                print(f"{name} split {seed} {kind}: {time.time() - start:.0f} s", flush=True)
                jax.clear_caches()
            train, _, test = load_tables(screen_fpath, splits_fpath, features_fpath)
            validation.append(best_on_validation(train, test, effect_factories(list(BASELINES))))
            scored.append(score_split(screen_fpath, splits_fpath, fpaths, seed=seed, split=f"split-{seed}"))
    best = sum(validation) / len(validation)
    facts = {
        "best": {"mse_delta": best["mse_delta"].idxmin(), "pearson_delta": best["pearson_delta"].idxmax()},
        "seconds": pd.DataFrame(seconds, columns=["model", "s"]).groupby("model")["s"].mean().to_dict(),
        "sizes": [len(train), len(test), len(train.genes)],
        "parameters": n_parameters,
        "steps": [args.pretrain_steps, args.ac_steps, args.decode_steps],
        "preset": args.preset,
    }
    baselines = [model for model in scored[0].models if model not in (*OURS, *KINDS)]
    against = list(dict.fromkeys([*facts["best"].values(), "no_change", "anchored", "biojepa_faithful"]))
    keep(args.keep, name, scored, baselines, MODELS, against, facts, started)


def run_contexts(args: Contexts) -> None:
    """Hold out every line in turn, with each description of lines; keep the tables."""
    started, scored, ranks = time.time(), [], []
    for world in range(args.seeds):
        with tempfile.TemporaryDirectory() as folder_name:
            folder = Path(folder_name)
            screen_fpath, features_fpath = simulate(MANY_LINES, world, folder, "simulated-six-lines")
            screen = read_screen(screen_fpath)
            for at, line in enumerate(MANY_LINES.cell_lines):
                splits_fpath = folder / f"{line}.json"
                made = splitting.by_cell_line(screen, test_lines=[line], seed=world)
                splitting.write_splits(made, splits_fpath, parents={})
                out = folder / f"encoder-{line}"
                train_biojepa(
                    Pretrain(
                        screen=screen_fpath,
                        splits=splits_fpath,
                        out=out,
                        seed=world,
                        preset="tiny",
                        pretrain_steps=args.pretrain_steps,
                    )
                )
                vectors = context_vectors(load_checkpoint(out), at)
                ranks.append(json.loads((out / "metrics" / "pretrain.jsonl").read_text().splitlines()[-1])["cell_rank"])
                jax.clear_caches()
                train, _, test = load_tables(screen_fpath, splits_fpath, features_fpath)
                fpaths = {}
                for name in LINES:
                    model = Anchored().fit(train, vectors.get(name))
                    asked = (
                        test if name == "none" else replace(test, contexts=test.contexts.described_by(vectors[name]))
                    )
                    fpaths[name] = folder / f"{line}-{at}-{LINES.index(name)}.h5ad"
                    write_predictions(fpaths[name], make_prediction_file(model, asked), parents={}, config={})
                for name, model in ((b, m) for b, m in baselines_of(train).items()):
                    fpaths[name] = folder / f"{line}-{name}.h5ad"
                    write_predictions(fpaths[name], make_prediction_file(model, test), parents={}, config={})
                scored.append(score_split(screen_fpath, splits_fpath, fpaths, seed=world, split=f"{world}-{line}"))
                print(f"world {world}, {line} held out, {time.time() - started:.0f} s", flush=True)
    baselines = [model for model in scored[0].models if model not in LINES]
    facts = {
        "sizes": [len(train), len(test), len(train.genes)],
        "steps": args.pretrain_steps,
        "cell_rank": float(np.mean(ranks)),
        "worlds": args.seeds,
        "best": {},
    }
    keep(args.keep, "contexts", scored, baselines, LINES, ["none", *baselines], facts, started)


def baselines_of(train) -> dict:
    """The baselines that say the most of a new line."""
    from vc_model.models import fit_models

    return fit_models(train, ["no_change", "mean_effect", "pert_mean", "txpert_general"])


def context_vectors(fitted: FittedBioJepa, held_out: int) -> dict[str, dict[str, np.ndarray]]:
    """What describes each line, by name of the description; the swap gives the held-out line another one's vector too."""
    lines = fitted.cells.lines
    untrained = init_part("encoder", fitted.config, 0)
    fresh = replace(fitted, parts=fitted.parts | {"encoder": untrained, "teacher": untrained})
    trained_cd = fitted.encode_contexts()
    swapped_cd = np.roll(trained_cd, 1 + held_out % (len(lines) - 1), axis=0)
    found = {LINES[1]: trained_cd, LINES[2]: fresh.encode_contexts(), LINES[3]: swapped_cd}
    return {name: dict(zip(lines, vectors_cd, strict=True)) for name, vectors_cd in found.items()}


def keep(
    folder: Path, name: str, scored: list[SplitScores], baselines: list[str], models, against: list[str], facts, started
) -> None:
    """Write the tables of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    summary = summarise(scored, baselines=baselines, seed=0, n_boot=N_BOOT)
    paired = paired_differences(
        scored, models=list(models), baselines=against, metrics=[m for m in METRICS if "/spearman" not in m], seed=0
    )
    commit = _git("rev-parse", "--short", "HEAD")
    commit += " with local changes" if _git("diff", "HEAD", "--stat", "--", "bench", "packages", "apps") else ""
    facts |= {
        "models": [*models, *(["stacked"] if "stacked" in scored[0].models else [])],
        "baselines": baselines,
        "splits": len(scored),
        "command": shlex.join(["uv", "run", "python", "bench/biojepa_quality.py", *sys.argv[1:]]),
        "commit": commit,
        "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "minutes": (time.time() - started) / 60,
    }
    summary[summary["group"].isin(["all", "single", "combo"])].to_parquet(folder / f"{name}.summary.parquet")
    paired.to_parquet(folder / f"{name}.paired.parquet")
    (folder / f"{name}.json").write_text(json.dumps(facts))
    print(f"kept {folder / name}: {facts['minutes']:.1f} minutes")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    command = tyro.extras.subcommand_cli_from_dict(
        {
            name: Annotated[kind, tyro.conf.arg(name="")]
            for name, kind in {"models": Models, "contexts": Contexts, "page": Page}.items()
        },
        description=__doc__,
    )
    {Models: run_models, Contexts: run_contexts, Page: None}[type(command)](command)
