"""Train and score BioJEPA, published and repaired, beside `anchored` and every baseline on one screen."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import pandas as pd
import tyro
from kept import keep, name_of, prepare
from vc_apps.models import OURS, fit_and_predict
from vc_apps.train.biojepa import train_biojepa
from vc_apps.train.settings import BioJepa
from vc_data import split as splitting
from vc_data.screen.file import read_screen
from vc_eval.split.score import score_split
from vc_model.baselines import BASELINES, effect_factories
from vc_model.biojepa.config import param_counts
from vc_model.checkpoint import load_checkpoint
from vc_model.emit.output import predict_checkpoint
from vc_model.table.pseudobulk import load_tables
from vc_model.table.validation import out_of_fold_scores

KINDS = {"biojepa_faithful": True, "biojepa": False}
MODELS = (*KINDS, "anchored")


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


def run_models(args: Models) -> None:
    """Train, predict and score on every split; keep the tables."""
    name = name_of(args.source)
    started, scored, validation, seconds = time.time(), [], [], []
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        screen_fpath, features_fpath = prepare(args.source, args.genesets, folder)
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
            validation.append(out_of_fold_scores(train, test, effect_factories(list(BASELINES))))
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
