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
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from vc_apps.models import OURS, fit_and_predict
from vc_apps.train.biojepa import train_biojepa
from vc_apps.train.settings import BioJepa, Pretrain
from vc_data import split as splitting
from vc_data.convert.run import convert
from vc_data.options import ConvertOptions
from vc_data.screen.file import read_screen
from vc_data.simulate import PRESETS, SimulatorConfig, write_simulation
from vc_eval.split.score import score_split
from vc_eval.stats.conditions import SplitScores
from vc_eval.stats.summary import paired_differences, summarise
from vc_featurize.bank import write_features
from vc_featurize.geneset import geneset_features
from vc_model.anchored import Anchored
from vc_model.baselines import BASELINES, effect_factories
from vc_model.biojepa.config import param_counts
from vc_model.biojepa.fitted import FittedBioJepa
from vc_model.biojepa.losses import participation
from vc_model.biojepa.stages import init_part
from vc_model.checkpoint import load_checkpoint
from vc_model.contracts import read_context_vectors, write_predictions
from vc_model.emit.output import encode_checkpoint, make_prediction_file, predict_checkpoint
from vc_model.models import fit_models
from vc_model.table.pseudobulk import load_tables

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


INTRODUCTION = """# BioJEPA as published, repaired, and beside the rest

Made by `bench/biojepa_quality.py`. `biojepa_faithful` is the published v0.6 with its faults, `biojepa` the repaired one
(`docs/decisions/0004-biojepa-repairs.md`), `anchored` the model they have to be compared with. All see the same training
conditions and write the same kind of file, which vc-eval scores; intervals are 95 %, resampled by perturbation. "beats": share
of conditions with a smaller squared error. The Spearman correlation ranks realised errors by predicted ones.
"""


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
    started, scored, probes = time.time(), [], []
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
                lines_fpath = folder / f"{line}.zarr"
                encode_checkpoint(out, screen_fpath, splits_fpath, lines_fpath)
                fitted = load_checkpoint(out)
                vectors = describe_lines(fitted, read_context_vectors(lines_fpath), at)
                probes.append(pd.DataFrame(probe(fitted)))
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
                for name, model in fit_models(
                    train, ["no_change", "mean_effect", "pert_mean", "txpert_general"]
                ).items():
                    fpaths[name] = folder / f"{line}-{name}.h5ad"
                    write_predictions(fpaths[name], make_prediction_file(model, test), parents={}, config={})
                scored.append(score_split(screen_fpath, splits_fpath, fpaths, seed=world, split=f"{world}-{line}"))
                print(f"world {world}, {line} held out, {time.time() - started:.0f} s", flush=True)
    baselines = [model for model in scored[0].models if model not in LINES]
    facts = {
        "sizes": [len(train), len(test), len(train.genes)],
        "steps": args.pretrain_steps,
        "probes": (sum(probes) / len(probes)).to_dict(),
        "worlds": args.seeds,
        "best": {},
    }
    keep(args.keep, "contexts", scored, baselines, LINES, ["none", *baselines], facts, started)


def describe_lines(fitted: FittedBioJepa, trained: dict[str, np.ndarray], at: int) -> dict[str, dict[str, np.ndarray]]:
    """Name of a description -> cell line -> vector; the swap moves every vector to another line, further for each `at`."""
    lines, vectors = list(trained), list(trained.values())
    untrained = init_part("encoder", fitted.config, 0)
    fresh = replace(fitted, parts={"encoder": untrained, "teacher": untrained})
    shift = 1 + at % (len(lines) - 1)
    return {
        LINES[1]: trained,
        LINES[2]: dict(zip(fitted.cells.lines, fresh.encode_contexts(), strict=True)),
        LINES[3]: dict(zip(lines, vectors[shift:] + vectors[:shift], strict=True)),
    }


def probe(fitted: FittedBioJepa) -> dict[str, dict[str, float]]:
    """What a linear map reads off control cells of all lines: the line (accuracy) and the depth (R2), on half of them.

    From the encoder's cell vectors, from those of the same encoder before training, and from as many components of the
    profiles; with the effective rank of the vectors. The cells are as in use: nothing is hidden.
    """
    fresh = init_part("encoder", fitted.config, 0)
    fresh = replace(fitted, parts={"encoder": fresh, "teacher": fresh})
    cells, width = fitted.cells, fitted.config.width
    left_nn, size_n, _ = np.linalg.svd(cells.x_ng - cells.x_ng.mean(axis=0), full_matrices=False)
    vectors = {name: np.empty((len(cells.x_ng), width), np.float32) for name in LINES[1:3]}
    for at, line in enumerate(cells.lines):
        for model, vector_nd in zip((fitted, fresh), vectors.values(), strict=True):
            vector_nd[cells.line_n == at] = model.encode_cells(line)
    vectors["components of the profiles"] = left_nn[:, :width] * size_n[:width]
    train, test = np.arange(0, len(cells.x_ng), 2), np.arange(1, len(cells.x_ng), 2)
    found = {}
    for name, vector_nd in vectors.items():
        lines = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=10))
        depth = make_pipeline(StandardScaler(), Ridge())
        found[name] = {
            "line": lines.fit(vector_nd[train], cells.line_n[train]).score(vector_nd[test], cells.line_n[test]),
            "depth": depth.fit(vector_nd[train], cells.total_n[train]).score(vector_nd[test], cells.total_n[test]),
            "rank": float(participation(vector_nd)),
        }
    return found


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


def page(args: Page) -> None:
    """Write the page of all scores that were kept."""
    runs = sorted(path for path in args.keep.glob("*.json") if path.stem != "contexts")
    text = [INTRODUCTION]
    for path in runs:
        text += screen_section(path)
    text += published_section(runs)
    if (args.keep / "contexts.json").exists():
        text += contexts_section(args.keep / "contexts.json")
    args.out.write_text("\n".join(text) + "\n")
    print(f"wrote {args.out}")


def read(path: Path) -> tuple[dict, pd.DataFrame, pd.DataFrame]:
    """Facts, summary and paired differences of a run."""
    tables = (pd.read_parquet(path.with_suffix(f".{kind}.parquet")) for kind in ("summary", "paired"))
    return json.loads(path.read_text()), *tables


def how(facts: dict) -> str:
    """Where numbers come from."""
    return f"`{facts['command']}`, commit {facts['commit']}, {facts['finished']}, {facts['minutes']:.0f} minutes on 2 shared cores."


def screen_section(path: Path) -> list[str]:
    """Every model on one screen."""
    facts, summary, paired = read(path)
    train, test, genes = facts["sizes"]
    steps = ", ".join(f"{stage} {n}" for stage, n in zip(("pretrain", "ac", "decode"), facts["steps"], strict=True))
    best = facts["best"]["mse_delta"], facts["best"]["pearson_delta"]
    metrics = {**METRICS, "beat/no_change": ("beats no_change", 1), f"beat/{best[0]}": (f"beats {best[0]}", 1)}
    text = [
        f"## {path.stem}",
        "",
        how(facts),
        "",
        f"{facts['splits']} splits, each with a seed of its own; {train} training and {test} held-out conditions of the last one, "
        f"{genes} genes. BioJEPA: preset `{facts['preset']}`, {facts['parameters']:,} parameters (repaired), updates: {steps}; "
        f"training took {facts['seconds']['biojepa_faithful']:.0f} s as published and {facts['seconds']['biojepa']:.0f} s repaired. "
        f"The best baselines out of fold on training conditions are {best[0]} (MSE) and {best[1]} (Pearson).",
        "",
        *table(summary, [*facts["models"], *facts["baselines"], "split_half"], metrics, set(facts["models"])),
        "",
        "Paired gain (positive: the first is better) with its 95 % interval; bold where it excludes 0.",
        "",
    ]
    pairs = [
        (model, other)
        for model in ("biojepa", "biojepa_faithful")
        for other in dict.fromkeys([*best[::-1], "anchored"])
    ]
    pairs.append(("biojepa", "biojepa_faithful"))
    text += paired_table(paired, [*pairs, *(("anchored", name) for name in dict.fromkeys(best[::-1]))])
    return [*text, "", *verdicts(paired, [(model, other) for model, other in pairs]), ""]


def table(summary: pd.DataFrame, rows: list[str], metrics: dict, with_interval: set[str]) -> list[str]:
    """Means over held-out conditions; intervals for our models only, or the table cannot be read."""
    own = summary[summary["group"] == "all"].set_index(["model", "metric"])
    text = ["| model | " + " | ".join(label for label, _ in metrics.values()) + " |", "|---" * (len(metrics) + 1) + "|"]
    for model in rows:
        cells = []
        for metric, (_, scale) in metrics.items():
            if (model, metric) not in own.index:
                cells.append("-")
                continue
            found = own.loc[(model, metric), ["value", "lower", "upper"]].to_numpy(float) * scale
            cells.append(shown(*found) if model in with_interval else number(found[0]))
        text.append(f"| {f'**{model}**' if model in with_interval else model} | " + " | ".join(cells) + " |")
    return text


def paired_table(paired: pd.DataFrame, pairs: list[tuple[str, str]]) -> list[str]:
    """Differences of pairs of models."""
    metrics = {name: label for name, label in METRICS.items() if name in set(paired["metric"])}
    text = ["| | " + " | ".join(label for label, _ in metrics.values()) + " |", "|---" * (len(metrics) + 1) + "|"]
    own = paired.set_index(["model", "baseline", "metric"])
    for model, other in pairs:
        if model == other:
            continue
        cells = []
        for metric, (_, scale) in metrics.items():
            gain, lower, upper = (
                own.loc[(model, other, metric), ["difference", "lower", "upper"]].to_numpy(float) * scale
            )
            mark = "**" if lower > 0 or upper < 0 else ""
            cells.append(f"{mark}{gain:+.3f}{mark} [{lower:+.3f}, {upper:+.3f}]" if np.isfinite(gain) else "-")
        text.append(f"| {model} over {other} | " + " | ".join(cells) + " |")
    return text


def verdicts(paired: pd.DataFrame, pairs: list[tuple[str, str]]) -> list[str]:
    """One line per pair: where the first wins and loses beyond the interval."""
    own, text = paired.set_index(["model", "baseline"]), []
    for model, other in pairs:
        rows = own.loc[[(model, other)]]
        won = [METRICS[name][0] for name in rows.loc[rows["lower"] > 0, "metric"]]
        lost = [METRICS[name][0] for name in rows.loc[rows["upper"] < 0, "metric"]]
        text.append(
            f"- {model} against {other}: wins {', '.join(won) or 'nothing'}; loses {', '.join(lost) or 'nothing'}."
        )
    return text


def published_section(runs: list[Path]) -> list[str]:
    """The published table beside the nearest quantity here."""
    columns = [(path.stem, model, read(path)[1]) for path in runs for model in MODELS]
    text = [
        "## Beside the published table of BioJEPA v0.6",
        "",
        "The published run has 20 million parameters, 3.3 million cells and 10,000 genes, on splits that are not reproduced "
        "here; these are small models on small screens. So a row compares what a number looks like, not who is better.",
        "",
        "| quantity | published v0.6 | "
        + " | ".join(f"{model}, {name.split('_')[0]}" for name, model, _ in columns)
        + " |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for metric, group, label, published in PUBLISHED:
        cells = []
        for _, model, summary in columns:
            own = summary[(summary["model"] == model) & (summary["metric"] == metric) & (summary["group"] == group)]
            cells.append(number(float(own["value"].iloc[0])) if len(own) else "-")
        text.append(f"| {label} (`{metric}`) | {published} | " + " | ".join(cells) + " |")
    return [*text, ""]


def contexts_section(path: Path) -> list[str]:
    """The encoder as a description of cell lines."""
    facts, summary, paired = read(path)
    train, test, genes = facts["sizes"]
    rest = [(name, other) for name in LINES[1:] for other in ("none",)] + [
        (LINES[1], "pert_mean"),
        ("none", "pert_mean"),
    ]
    return [
        "## The encoder as a description of cell lines",
        "",
        how(facts),
        "",
        f"`anchored` on {facts['worlds']} simulated world{'s' * (facts['worlds'] > 1)} of six lines, each line held out in turn: {train} training and {test} "
        f"held-out conditions of a split, {genes} genes, {facts['splits']} splits. `none`: lines are described by their control "
        f"profiles. The encoder (preset `tiny`, {facts['steps']} updates of masked pretraining) never sees a perturbed cell of the "
        "held-out line; its vectors come by `vc-model encode` and `--contexts`.",
        "",
        *table(summary, [*LINES, *facts["baselines"], "split_half"], METRICS, set(LINES)),
        "",
        "Paired gain over control profiles, and over the mean of the same perturbation in other lines.",
        "",
        *paired_table(paired, rest),
        "",
        *verdicts(paired, [(name, "none") for name in LINES[1:]]),
        "",
        "What a linear map, fitted on half of the control cells of all lines, reads off the vectors of the other half.",
        "",
        "| vectors of single cells | right line | R2 of log depth | effective rank |",
        "|---|---|---|---|",
        *(
            f"| {name} | {found['line']:.2f} | {found['depth']:.2f} | {found['rank']:.1f} |"
            for name, found in facts["probes"].items()
        ),
        "",
    ]


def number(value: float) -> str:
    """Three decimals, or a dash."""
    return f"{value:.3f}" if np.isfinite(value) else "-"


def shown(value: float, lower: float, upper: float) -> str:
    """A value with its interval."""
    return f"{value:.3f} [{lower:.3f}, {upper:.3f}]" if np.isfinite([value, lower, upper]).all() else number(value)


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
    {Models: run_models, Contexts: run_contexts, Page: page}[type(command)](command)
