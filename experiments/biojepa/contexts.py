"""The encoder as a description of cell lines: `anchored` with and without it, each line held out in turn."""

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import tyro
from kept import keep, simulate
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from vc_apps.train.biojepa import train_biojepa
from vc_apps.train.settings import Pretrain
from vc_data import split as splitting
from vc_data.screen.file import read_screen
from vc_data.simulate import PRESETS
from vc_eval.split.score import score_split
from vc_model.anchored import Anchored
from vc_model.biojepa.fitted import FittedBioJepa
from vc_model.biojepa.losses import participation
from vc_model.biojepa.stages import init_part
from vc_model.checkpoint import load_checkpoint
from vc_model.contracts import read_context_vectors, write_predictions
from vc_model.emit.output import encode_checkpoint, make_prediction_file
from vc_model.models import fit_models
from vc_model.table.pseudobulk import load_tables

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


@dataclass(frozen=True, kw_only=True)
class Contexts:
    """Fit `anchored` with and without the encoder's description of lines, each line held out in turn."""

    keep: tyro.conf.Positional[Path]
    """Folder for the scores."""
    pretrain_steps: int = 300
    seeds: int = 3
    """Worlds that are simulated."""


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
