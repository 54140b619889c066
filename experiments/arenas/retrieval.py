"""Finding the perturbation behind a measured effect: reciprocal rank and hits among ten, per data set, chance beside it."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from screens import SHARED
from vc_data.convert.run import convert
from vc_data.simulate import SimulatorConfig, write_simulation
from vc_eval.metrics.retrieval import retrieval_ranks
from vc_featurize.bank import write_features
from vc_featurize.geneset import geneset_features
from vc_model.anchored import Anchored
from vc_model.ask.everything import whole_split
from vc_model.ask.halves import halves
from vc_model.contracts import read_screen
from vc_model.table.effects import Conditions, EffectTable
from vc_model.table.pseudobulk import load_tables

SCREENS = {
    "norman": "norman2019_k562_crispra_500g",
    "datlinger": "datlinger2021_jurkat_crisprko_tcrstim",
    "mcfaline": "mcfaline2023_gbm_crispri_500g",
    "gasperini": "gasperini2019_k562_crispri_highmoi",
    "schraivogel": "schraivogel2020_k562_crispri_tapseq",
}
WORLD = SimulatorConfig(n_genes=1000, n_pathways=30, n_singles=100, n_pairs=0, controls_per_line=600)
GENESETS = SHARED.parent / "side" / "genesets" / "reactome_msigdb_v6.2.gmt"
QUESTIONS = {
    "repeat": "effects of all, measured on other cells",
    "predicted": "effects that `anchored` foretells for a third of the targets, held out together, from the other cells of the rest",
}
MIN_CELLS, FOLDS, FEWEST, DRAWS = 10, 3, 5, 40


def find(folder: Path, name: str, seed: int) -> None:
    """Ranks of every perturbation of a screen (`world`: simulated) in every bank; one parquet."""
    started = time.process_time()
    with tempfile.TemporaryDirectory() as temporary:
        screen, features = _prepare(name, seed, Path(temporary))
        first, second = halves(read_screen(screen), seed)
        known, put_aside = (
            load_tables(part, whole_split(part, min_cells=MIN_CELLS, seed=seed), features)[0]
            for part in (first, second)
        )
        rows = pd.DataFrame(ranks(known, put_aside))
    folder.mkdir(parents=True, exist_ok=True)
    label = f"{name}-{seed}" if name == "world" else name
    rows.assign(screen=name, split=seed).to_parquet(folder / f"retrieval-{label}.parquet")
    print(f"{label}: {len(rows)} ranks, {time.process_time() - started:.0f} s of CPU", flush=True)


def _prepare(name: str, seed: int, place: Path) -> tuple[Path, Path]:
    if name == "world":
        write_simulation(WORLD, seed, place / "sim")
    source, genesets = (
        (place / "sim" / "screen.h5ad", place / "sim" / "pathways.gmt")
        if name == "world"
        else (SHARED / f"{SCREENS[name]}.h5ad", GENESETS)
    )
    screen = convert(source, place / "screen.zarr").path
    labels = read_screen(screen).obs["target"].astype(str).unique()
    targets = sorted({target for label in labels for target in label.split("+")} - {"control"})
    return screen, Path(write_features(place / "features.zarr", geneset_features(genesets, targets), config={}))


def ranks(known: EffectTable, put_aside: EffectTable) -> list[dict]:
    """One row per (question, line, perturbation): its rank among all of the line, with and without the perturbed genes.

    Queries are effects on the cells put aside; banks are made of the other cells. Both sides lose their mean over the bank, so
    what all perturbations share helps nobody.
    """
    theirs = {pair: row for row, pair in enumerate(_pairs(put_aside.conditions))}
    column = [known.gene_position[gene] for gene in put_aside.genes]
    found = []
    for question, asked, bank_ng in banks(known):
        pairs = _pairs(asked)
        for line in known.trained_lines:
            at = [i for i, pair in enumerate(pairs) if len(pair[1].targets) == 1 and pair[0] == line and pair in theirs]
            if len(at) < FEWEST:
                continue
            query_qg = put_aside.check_pg[[theirs[pairs[i]] for i in at]]
            genes = [put_aside.gene_position.get(pairs[i][1].targets[0], -1) for i in at]
            key = {"question": question, "cell_line": line, "n": len(at)}
            for own in (True, False):
                rank_dq = _ranks(query_qg, bank_ng[at][:, column], genes, own)
                found += [
                    key | {"perturbation": pairs[i][1].label, "own": own, "rank": rank}
                    for rank_q in rank_dq
                    for i, rank in zip(at, rank_q.tolist(), strict=True)
                ]
    return found


def banks(known: EffectTable) -> Iterator[tuple[str, Conditions, np.ndarray]]:
    """Question, conditions and their effects: as measured, and predicted for targets that were held out together.

    A prediction made without a target leans away from it, as the mean of the others does; so only predictions of one model, which
    saw none of the targets, stand in one bank.
    """
    yield "repeat", known.conditions, known.delta_pg
    targets = sorted({target for action in known.conditions.actions for target in action.targets})
    fold_of = dict(zip(targets, (np.random.default_rng(0).permutation(len(targets)) % FOLDS).tolist(), strict=True))
    for fold in range(FOLDS):
        held_p = np.array([any(fold_of[t] == fold for t in action.targets) for action in known.conditions.actions])
        asked = known.conditions.subset(held_p & known.single_p)
        if len(asked) >= FEWEST and (~held_p).sum() >= FEWEST:
            yield "predicted", asked, Anchored().fit(known.subset(~held_p)).predict(asked).delta_pg


def _ranks(query_qg: np.ndarray, said_qg: np.ndarray, gene_q: list[int], own: bool) -> np.ndarray:
    """[d, q] ranks by cosine; without the perturbed genes, the columns of all of them are left out on both sides.

    Predictions that are all the same are put in an order by chance, d times: their mean rank would have a lesser reciprocal than
    chance has.
    """
    keep_g = np.ones(query_qg.shape[1], bool)
    if not own:
        keep_g[[gene for gene in gene_q if gene >= 0]] = False
    query_qg, said_qg = (x[:, keep_g] - x[:, keep_g].mean(axis=0) for x in (query_qg, said_qg))
    rng, answer_q = np.random.default_rng(0), np.arange(len(query_qg))
    shaken = (said_qg + 1e-9 * rng.standard_normal(said_qg.shape) for _ in range(DRAWS))
    return np.stack([retrieval_ranks(query_qg, one_qg, answer_q)[0] for one_qg in shaken])


def _pairs(conditions: Conditions) -> list[tuple]:
    return list(zip(conditions.cell_line.tolist(), conditions.actions, strict=True))
