"""Every verb on shuffled labels: how often anything is called, beside what is claimed."""

from collections.abc import Iterator
from functools import partial

import anndata
import numpy as np
import pandas as pd
from truth import features
from truth.verbs import world
from vc_model.plan.bank import make_bank
from vc_model.plan.biomarker import biomarker
from vc_model.plan.lethal import lethal
from vc_model.plan.mechanism import mechanism
from vc_model.plan.moa import moa
from vc_model.plan.network import network
from vc_model.plan.next import Goal, learn
from vc_model.plan.query import Scores
from vc_model.plan.target import target

RUNS = 30


def _op3():
    file = anndata.read_h5ad(features.SHARED / "ranks/op3_pbmc_135drugs_4celltypes_full_ranks.h5ad")
    lines = file.obs["cell_line"].astype(str).to_numpy()
    x = np.asarray(file.X.toarray() if hasattr(file.X, "toarray") else file.X)[lines == lines[0]][:, ::6]
    names = file.obs["perturbation"].astype(str).to_numpy()[lines == lines[0]]
    return make_bank(names.tolist(), [f"g{at}" for at in range(x.shape[1])], -x.astype(np.float32), "OP3")


def profiles() -> list[dict]:
    """Profiles of real drugs with their genes shuffled."""
    bank, rows = _op3(), []
    for run in range(RUNS):
        rng = np.random.default_rng(run)
        asked = rng.permutation(bank.delta_kg[run].astype(float))
        rows.append({"verb": "target", "claimed": 0.1, "called": target(bank.genes, asked, bank, seed=run).called})
        rows.append({"verb": "moa", "claimed": 0.1, "called": moa(bank.genes, asked, bank, seed=run).called})
    return rows


def markers() -> list[dict]:
    """Drug responses shuffled over lines."""
    wide = pd.read_parquet(features.SHARED / "screens/gdsc2_lnic50_auc.parquet").pivot_table(
        index="MODEL", columns="DRUG", values="AUC"
    )
    wide = wide.loc[:, wide.notna().mean() > 0.9].dropna()
    rows = []
    for run in range(RUNS):
        drug = wide.columns[run % wide.shape[1]]
        others = wide.drop(columns=drug)
        response = np.random.default_rng(run).permutation(wide[drug].to_numpy())
        told = biomarker(tuple(wide.index), response, tuple(others.columns), others.to_numpy(), seed=run)
        rows.append({"verb": "biomarker", "claimed": 0.1, "called": told.called})
    return rows


def pairs() -> list[dict]:
    """Scores of real pairs shuffled over pairs."""
    table = pd.read_parquet(features.SHARED / "screens/horlbeck2018_k562_crispri_gi.parquet").rename(
        columns={"gi_score": "score"}
    )
    genes = sorted({*table["gene_a"], *table["gene_b"]})[:80]
    table = table[table["gene_a"].isin(genes) & table["gene_b"].isin(genes)].sample(frac=0.7, random_state=0)
    rows = []
    for run in range(10):
        mixed = table.assign(score=np.random.default_rng(run).permutation(table["score"].to_numpy()))
        rows.append({"verb": "lethal", "claimed": 0.1, "called": lethal(mixed, seed=run).called})
    return rows


def scores() -> list[dict]:
    """Scores of a real screen shuffled over genes: is a signal claimed?"""
    from truth.next_rounds import load

    library, truth = load("choline", "in")
    rows = []
    for run in range(RUNS):
        rng = np.random.default_rng(run)
        told = Scores(truth.names, rng.permutation(truth.score_n)).subset(rng.choice(len(truth), 200, replace=False))
        rows.append(
            {"verb": "next", "claimed": 0.05, "called": learn(library, told, Goal("high"), seed=run).signal[1] <= 0.05}
        )
    return rows


def effects() -> list[dict]:
    """Measured effects of a simulated screen, each gene's values shuffled over perturbations."""
    rows = []
    made = world(0)
    keep = [at for at, action in enumerate(made.table.conditions.actions) if len(action.targets) == 1][:90]
    names = [made.table.conditions.actions[at].label for at in keep]
    for run in range(RUNS):
        rng = np.random.default_rng(run)
        banks = [
            make_bank(names, made.genes, rng.permuted(made.table.delta_pg[keep], axis=0), f"set {k}") for k in range(2)
        ]
        table = network(banks[0]).table
        rows.append({"verb": "network", "claimed": 0.1, "called": bool((table["q"] <= 0.1).any())})
        rows.append({"verb": "mechanism", "claimed": 0.05, "called": mechanism(names[run], banks, seed=run).called})
    return rows


def jobs() -> Iterator:
    """Jobs of the part."""
    for name, run in (
        ("profiles", profiles),
        ("markers", markers),
        ("pairs", pairs),
        ("scores", scores),
        ("effects", effects),
    ):
        yield name, partial(run)
