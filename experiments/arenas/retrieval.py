"""Finding the perturbation behind a measured effect: reciprocal rank and hits among ten, per data set, chance beside it."""

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from screens import SHARED
from vc_data.convert.run import convert
from vc_data.simulate import SimulatorConfig, write_simulation
from vc_eval.metrics.retrieval import retrieval_ranks
from vc_featurize.bank import write_features
from vc_featurize.geneset import geneset_features
from vc_model.ask.everything import whole_split
from vc_model.ask.halves import halves
from vc_model.contracts import read_screen
from vc_model.table.effects import EffectTable
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
}
MIN_CELLS = 10


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
    pairs, theirs = _pairs(known), {pair: row for row, pair in enumerate(_pairs(put_aside))}
    column = [known.gene_position[gene] for gene in put_aside.genes]
    banks = {"repeat": (np.arange(len(known)), known.delta_pg)}
    found = []
    for question, (row_n, bank_ng) in banks.items():
        for line in known.trained_lines:
            at = [
                i
                for i, row in enumerate(row_n)
                if known.single_p[row] and pairs[row][0] == line and pairs[row] in theirs
            ]
            if len(at) < 5:
                continue
            labels = [pairs[row_n[i]] for i in at]
            query_qg = put_aside.check_pg[[theirs[label] for label in labels]]
            said_qg = bank_ng[at][:, column]
            genes = [put_aside.gene_position.get(action.targets[0], -1) for _, action in labels]
            for own in (True, False):
                rank_q, n = _ranks(query_qg, said_qg, genes, own)
                found += [
                    {
                        "question": question,
                        "cell_line": line,
                        "perturbation": action.label,
                        "own": own,
                        "rank": rank,
                        "n": n,
                    }
                    for (_, action), rank in zip(labels, rank_q.tolist(), strict=True)
                ]
    return found


def _ranks(query_qg: np.ndarray, said_qg: np.ndarray, gene_q: list[int], own: bool) -> tuple[np.ndarray, int]:
    """Ranks by cosine; without the perturbed genes, the columns of all of them are left out on both sides."""
    keep_g = np.ones(query_qg.shape[1], bool)
    if not own:
        keep_g[[gene for gene in gene_q if gene >= 0]] = False
    query_qg, said_qg = (x[:, keep_g] - x[:, keep_g].mean(axis=0) for x in (query_qg, said_qg))
    return retrieval_ranks(query_qg, said_qg, np.arange(len(query_qg)))


def _pairs(table: EffectTable) -> list[tuple]:
    return list(zip(table.conditions.cell_line.tolist(), table.conditions.actions, strict=True))
