"""Every model on the same control cells: `anchored`, its Gaussian process, the BLUP and all baselines; and a null run.

    uv run python experiments/quality/fair.py all run/fair docs/log/fair.md      # every screen, true and shuffled labels
    uv run python experiments/quality/fair.py scores run/fair norman2019_k562_crispra_500g
    uv run python experiments/quality/fair.py scores run/fair simulated:small --world-seed 20
    uv run python experiments/quality/fair.py page run/fair docs/log/fair.md

`scores` fits every model on a few splits of one screen and keeps one row per (model, held-out condition); with
`--null` the training labels are shuffled first, and no model may then beat another beyond its interval. `page` compares
paired by condition, resampled by perturbation, and prints the tables of docs/results.md. `gp` is the Gaussian process
of `anchored` by maximum likelihood, without its prior and the perturbed gene. Screens are named as in `SCREENS`, or `simulated:PRESET`.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from command import parts
from page import UNITS, page, summary
from sources import name_of, shuffle_labels, tables_of
from vc_eval.split.evaluate import profile_scores
from vc_eval.split.prediction import Predicted
from vc_model.anchored import Anchored
from vc_model.anchored.gp import GPConfig, fit_gp
from vc_model.baselines import EFFECTS, effect_factories

CELLS, BULK = "single_cell", "bulk_and_de"
SCREENS = {
    "norman2019_k562_crispra_500g": (CELLS, "by_perturbation"),
    "gasperini2019_k562_crispri_highmoi": (CELLS, "by_perturbation"),
    "mcfaline2023_gbm_crispri_500g": (CELLS, "by_perturbation"),
    "schraivogel2020_k562_crispri_tapseq": (CELLS, "by_perturbation"),
    "datlinger2021_jurkat_crisprko_tcrstim": (CELLS, "by_perturbation"),
    "kang2018_pbmc_ifnb": (CELLS, "by_cell_line"),
    "zhao2021_glioblastoma_panobinostat": (CELLS, "by_cell_line"),
    "srivatsan2020_a549_dexamethasone": (CELLS, "by_dose"),
    "macpie_drugseq_mcf10a_1000g": (BULK, "by_scaffold"),
    "l1000_drugbank_consensus_zscores": (BULK, "by_perturbation"),
    "l1000_ht115_350compounds_level3": (BULK, "by_perturbation"),
}


def fit_all(train, names: list[str]):
    """Yield (name, [q, g] effects of the test conditions, base profiles, seconds) one model after the other."""
    for name, factory in {
        **effect_factories(list(EFFECTS)),
        "gp": lambda table: fit_gp(table, GPConfig(rate=0)),
    }.items():
        if not names or name in names:
            start = time.perf_counter()
            effect = factory(train)
            yield name, effect.delta, time.perf_counter() - start
    if not names or "anchored" in names:
        start = time.perf_counter()
        yield "anchored", Anchored().fit(train).predict, time.perf_counter() - start


def scores(args: argparse.Namespace) -> None:
    """Fit and score; one parquet per screen."""
    kind, recipe = SCREENS.get(args.screen, ("", "by_perturbation"))
    source = args.screen if not kind else f"../shared/data/{kind}/{args.screen}.h5ad"
    asked = SimpleNamespace(
        genesets=None, cell_line=None, recipe=args.recipe or recipe, splits=args.splits, test=0.25, min_cells=20,
        world_seed=args.world_seed,
    )  # fmt: skip
    frames = []
    with tempfile.TemporaryDirectory() as folder:
        for at, (train, test, truths) in enumerate(tables_of(source, asked, Path(folder))):
            if at >= args.splits:
                break
            train = shuffle_labels(train, at) if args.null else train
            for name, ask, seconds in fit_all(train, args.models):
                said = ask(test)
                base_cg, line_q = train.contexts.base_cg, train.contexts.positions(test.cell_line)
                if isinstance(said, np.ndarray):
                    mean_qg = np.maximum(base_cg[line_q] + said, 0)
                    said = SimpleNamespace(mean_pg=mean_qg, base_pg=base_cg[line_q])
                frame = score(said, test, train.genes, truths)
                frames.append(frame.assign(split=at, model=name, seconds=seconds, trained=len(train)))
            print(args.screen, at, len(train), len(test), flush=True)
    args.folder.mkdir(parents=True, exist_ok=True)
    label = name_of(source) + (f"-w{args.world_seed}" if not kind else "") + ("-null" if args.null else "")
    found, target = pd.concat(frames), args.folder / f"{label}.parquet"
    if target.exists() and args.models:
        old = pd.read_parquet(target)
        found = pd.concat([old[~old["model"].isin(found["model"].unique())], found])
    found.to_parquet(target)


def score(said, test, genes: tuple[str, ...], truths) -> pd.DataFrame:
    """Pearson correlation and squared error of every held-out condition."""
    row_of = {key: row for row, key in enumerate(zip(test.cell_line, test.perturbation, strict=True))}
    column_of = {gene: column for column, gene in enumerate(genes)}
    frames = []
    for truth in truths:
        rows = np.array([row_of[truth.cell_line, name] for name in truth.perturbations])
        at = np.ix_(rows, np.array([column_of[gene] for gene in truth.genes]))
        mean_pg, base_pg = said.mean_pg[at].astype(np.float64), said.base_pg[at].astype(np.float64)
        predicted = Predicted(profile_pg=mean_pg, control_g=base_pg[0], delta_pg=mean_pg - base_pg, sd_pg=None)
        values = {k: v for k, v in profile_scores(predicted, truth).items() if k in UNITS}
        key = {"cell_line": truth.cell_line, "perturbation": truth.perturbations, "targets": test.sizes[rows]}
        frames.append(pd.DataFrame({**key, **values}))
    return pd.concat(frames)


def main() -> None:
    """Run one of the two parts."""
    parser, run = parts(__doc__, 3)
    run.add_argument("--recipe", default=None)
    run.add_argument("--models", nargs="*", default=[])
    run.add_argument("--null", action="store_true")
    args = parser.parse_args()
    if args.part == "scores":
        scores(args)
        return
    if args.part == "all":
        # Bulk screens have too few wells a condition for these splits of cells; they go through effects-v1.
        for screen in ("simulated:small", *(name for name, (kind, _) in SCREENS.items() if kind == CELLS)):
            for null in (False, True):
                asked = run.parse_args([str(args.folder), screen, "--splits", "4", *(["--null"] if null else [])])
                scores(asked)
    head = Path(args.target).read_text().split("\n## ")[0].rstrip()
    args.target.write_text(f"{head}\n\n{page(args.folder)}")
    print(summary(args.folder))


if __name__ == "__main__":
    main()
