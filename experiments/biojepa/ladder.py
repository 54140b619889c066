"""What the action stage learns from, one change at a time, beside the mean effect, the BLUP and `anchored`.

Every row of a split starts from the same pretrained encoder. Whatever is finished is kept in `KEEP/work`, so that the same
command goes on after an interruption.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import tyro
from kept import keep, name_of, prepare
from vc_apps.train.biojepa import train_biojepa
from vc_apps.train.settings import ActionConditioned, BioJepa, Decode, Pretrain
from vc_contracts.content import hash_json
from vc_data import split as splitting
from vc_data.screen.file import read_screen
from vc_eval.split.score import score_split
from vc_model.checkpoint import load_checkpoint
from vc_model.contracts import write_predictions
from vc_model.emit.output import make_prediction_file, predict_checkpoint
from vc_model.models import fit_models
from vc_model.table.folds import BINS
from vc_model.table.pseudobulk import load_tables
from vc_model.train.log import read_metrics

ROWS = {
    "pairs": {"objective": "pairs"},
    "conditions": {"objective": "conditions", "base": "none"},
    "conditions_base": {"objective": "conditions", "base": "anchored"},
}
BESIDE = ("mean_effect", "blup", "anchored")


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """Train and score the rows of the ladder on one screen."""

    source: tyro.conf.Positional[str]
    """An .h5ad with raw counts, or simulated:PRESET."""
    keep: tyro.conf.Positional[Path]
    """Folder for the scores and unfinished work."""
    genesets: Path | None = None
    """A .gmt file that describes the targets of a real screen."""
    splits: int = 3
    preset: str = "tiny"
    pretrain_steps: int = 200
    ac_steps: int = 300
    decode_steps: int = 100


def run_ladder(args: Ladder) -> None:
    """Train, predict and score every row on every split; keep the tables."""
    name, started = name_of(args.source), time.time()
    work = args.keep / "work" / name
    work.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str((args.keep / "work" / "compiled").resolve()))
    screen_fpath = _prepared(args, work)
    features_fpath = work / "features.zarr"
    features = features_fpath if features_fpath.exists() else None
    scored, gates, seconds, rates = [], [], [], []
    for seed in range(args.splits):
        folder = work / f"split-{seed}"
        folder.mkdir(exist_ok=True)
        splits_fpath = folder / "splits.json"
        if not splits_fpath.exists():
            splitting.write_splits(
                splitting.by_perturbation(read_screen(screen_fpath), seed=seed, test=0.25), splits_fpath, parents={}
            )
        common = {
            "screen": screen_fpath,
            "splits": splits_fpath,
            "features": features,
            "seed": seed,
            "preset": args.preset,
        }
        fpaths = _beside(common, folder, seed)
        for row in ROWS:
            fpaths[f"biojepa_{row}"], facts = _row(args, row, common, folder)
            gates.append((row, seed, facts["gates"]))
            seconds.append((row, facts["seconds"]))
            rates.append((row, facts["rate"]))
            print(f"{name} split {seed} {row}: {facts['seconds']:.0f} s, gates {facts['gates']}", flush=True)
        scored.append(score_split(screen_fpath, splits_fpath, fpaths, seed=seed, split=f"split-{seed}"))
    train, _, test = load_tables(screen_fpath, splits_fpath, features)
    models = [f"biojepa_{row}" for row in ROWS]
    facts = {
        "gates": gates,
        "seconds": {row: sum(s for r, s in seconds if r == row) / args.splits for row in ROWS},
        "rates": {row: sum(s for r, s in rates if r == row) / args.splits for row in ROWS},
        "sizes": [len(train), len(test), len(train.genes)],
        "steps": [args.pretrain_steps, args.ac_steps, args.decode_steps],
        "preset": args.preset,
        "kind": "ladder",
    }
    baselines = [model for model in scored[0].models if model not in (*models, "anchored")]
    against = [*BESIDE, "biojepa_pairs", "biojepa_conditions"]
    keep(args.keep, f"ladder-{name}", scored, baselines, [*models, "anchored"], against, facts, started)


def _prepared(args: Ladder, work: Path) -> Path:
    """The screen, made once."""
    if not (work / "prepared").exists():
        prepare(args.source, args.genesets, work)
        (work / "prepared").write_text(hash_json(str(args.source)))
    return work / "screen.zarr"


def _beside(common: dict, folder: Path, seed: int) -> dict[str, Path]:
    """Prediction files of what the rows are compared with."""
    fpaths = {name: folder / f"{name}.h5ad" for name in BESIDE}
    if not all(path.exists() for path in fpaths.values()):
        train, _, test = load_tables(common["screen"], common["splits"], common["features"])
        for name, model in fit_models(train, list(BESIDE), seed=seed).items():
            write_predictions(fpaths[name], make_prediction_file(model, test), parents={}, config={"seed": seed})
    return fpaths


def _row(args: Ladder, row: str, common: dict, folder: Path) -> tuple[Path, dict]:
    """Prediction file of a row, and what was seen in training; from the pretrained encoder of the split."""
    out, facts_fpath = folder / f"biojepa_{row}.h5ad", folder / f"{row}.json"
    if not facts_fpath.exists():
        start = folder / "pretrained"
        if not start.exists():
            train_biojepa(Pretrain(out=start, pretrain_steps=args.pretrain_steps, **common))
        steps = {"ac_steps": args.ac_steps, "decode_steps": args.decode_steps}
        began, acted, model = time.time(), folder / f"{row}-ac", folder / row
        for kind, path, before in ((ActionConditioned, acted, start), (Decode, model, acted)):
            if not path.exists():
                settings: BioJepa = kind(out=path, start=before, **ROWS[row], **steps, **common)
                train_biojepa(settings)
        spent = time.time() - began
        predict_checkpoint(model, common["screen"], common["splits"], out)
        gate_b = load_checkpoint(model).gate_b
        gates = {} if gate_b is None else {n: round(float(g), 2) for n, g in zip(BINS, gate_b, strict=True) if g > 0}
        lines = read_metrics(acted / "metrics" / "ac.jsonl")
        rate = sorted(line["cells_per_s"] for line in lines)[len(lines) // 2]
        facts_fpath.write_text(json.dumps({"gates": gates, "seconds": spent, "rate": rate}))
    return out, json.loads(facts_fpath.read_text())
