"""Every verb on shuffled labels: how often anything is called, beside what is claimed."""

from collections.abc import Iterator
from functools import partial

import anndata
import numpy as np
import pandas as pd
from truth import features
from truth.planted import NOISE
from truth.verbs import world
from vc_model.models import fit_models
from vc_model.plan.bank import make_bank, model_bank
from vc_model.plan.biomarker import biomarker
from vc_model.plan.combo import combo
from vc_model.plan.escape import escape
from vc_model.plan.lethal import lethal
from vc_model.plan.mechanism import mechanism
from vc_model.plan.moa import moa
from vc_model.plan.network import network
from vc_model.plan.next import Goal, learn
from vc_model.plan.proof import check_effects, check_interactions, gated
from vc_model.plan.query import Scores
from vc_model.plan.safety import safety
from vc_model.plan.steer import steer
from vc_model.plan.target import target
from vc_model.plan.viability import lethal_by_model
from vc_model.table.effects import Action, EffectTable

RUNS = 30
MODEL_RUNS = 10
"""Fits of a model to shuffled effects, two for each run."""


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
    """Noise alone, as the simulated screen has it, drawn anew each time.

    Effects shuffled over perturbations are no null for `network`: each large one then belongs to another perturbation, and
    that this one moves the gene is what such data say. For `mechanism` each gene's values are shuffled over perturbations.
    """
    rows = []
    made = world(0)
    keep = [at for at, action in enumerate(made.table.conditions.actions) if len(action.targets) == 1][:90]
    names = [made.table.conditions.actions[at].label for at in keep]
    for run in range(RUNS):
        rng = np.random.default_rng(run)
        noise_kg = NOISE * rng.standard_normal((len(keep), len(made.genes)))
        table = network(make_bank(names, made.genes, noise_kg)).table
        rows.append({"verb": "network", "claimed": 0.1, "called": bool((table["q"] <= 0.1).any())})
        banks = [
            make_bank(names, made.genes, rng.permuted(made.table.delta_pg[keep], axis=0), f"set {k}") for k in range(2)
        ]
        rows.append({"verb": "mechanism", "claimed": 0.05, "called": mechanism(names[run], banks, seed=run).called})
    return rows


def singles(run: int) -> list[dict]:
    """Verbs that ask a model: fitted to effects shuffled over the conditions of a kind, checked on what it did not see."""
    made, table, rng = world(0), _one_line(), np.random.default_rng(run)
    order = np.arange(len(table))
    for kind in (table.single_p, ~table.single_p):
        order[kind] = rng.permutation(order[kind])
    fitted, seen, unseen = _fit(_with_rows(table, order), rng, run)
    alone, together = (check_effects(fitted, unseen, pairs=pairs, seed=run) for pairs in (False, True))
    known, new = ([a.label for a in part.conditions.actions if len(a.targets) == 1] for part in (seen, unseen))
    known_actions, new_actions = ([Action((name,), 0) for name in names] for names in (known[:30], new))
    goal = table.delta_pg[int(rng.integers(len(table)))].astype(float)
    panels = dict(list(made.sets.items())[:3])
    said = {
        "target, by a model": (target(table.genes, goal, model_bank(fitted, "LineA", new), seed=run), alone),
        "safety": (safety(fitted, new_actions, panels, contexts=["LineA"]), alone),
        "escape": (escape(fitted, "LineA", known_actions[run], known_actions), together),
        "steer": (steer(fitted, "LineA", goal, known_actions, steps=2), together),
    }
    viability = Scores(tuple(known[:30]), rng.standard_normal(30))
    rows = [{"verb": verb, "claimed": 0.05, "called": gated(one, proof).called} for verb, (one, proof) in said.items()]
    told = lethal_by_model(fitted, "LineA", known_actions, viability, seed=run)
    return [*rows, {"verb": "lethal, by a model", "claimed": 0.05, "called": told.called}]


def interactions(run: int) -> list[dict]:
    """Singles as measured; what pairs do beyond them shuffled over pairs."""
    table, rng = _one_line(), np.random.default_rng(run)
    place = {action: row for row, action in enumerate(table.conditions.actions)}
    pairs = np.flatnonzero(~table.single_p)
    parts = [[place[Action((t,), 0)] for t in table.conditions.actions[row].targets] for row in pairs]
    a_n, b_n = np.array(parts).T
    mixed = rng.permutation(len(pairs))
    kept = {}
    for name in ("delta_pg", "half_pg", "check_pg"):
        effect = getattr(table, name).copy()
        extra = effect[pairs] - effect[a_n] - effect[b_n]
        effect[pairs] = effect[a_n] + effect[b_n] + extra[mixed]
        kept[name] = effect
    fitted, seen, unseen = _fit(table.with_effects(**kept), rng, run)
    proof = check_interactions(fitted, seen, unseen, seed=run)
    names = sorted({name for row in pairs for name in table.conditions.actions[row].targets})
    told = combo(fitted, "LineA", [Action((name,), 0) for name in names], proof=proof)
    return [{"verb": "combo", "claimed": 0.05, "called": told.called}]


def _one_line() -> EffectTable:
    table = world(0).table
    return table.subset(np.flatnonzero(table.conditions.cell_line == "LineA"))


def _with_rows(table: EffectTable, order: np.ndarray) -> EffectTable:
    return table.with_effects(table.delta_pg[order], half_pg=table.half_pg[order], check_pg=table.check_pg[order])


def _fit(table: EffectTable, rng: np.random.Generator, seed: int):
    """A model of 70 % of the conditions, those, and the others."""
    shown = rng.random(len(table)) < 0.7
    seen, unseen = (table.subset(np.flatnonzero(at)) for at in (shown, ~shown))
    return fit_models(seen, ["anchored"], seed=seed)["anchored"], seen, unseen


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
    for run in range(MODEL_RUNS):
        yield f"singles {run}", partial(singles, run)
        yield f"interactions {run}", partial(interactions, run)
