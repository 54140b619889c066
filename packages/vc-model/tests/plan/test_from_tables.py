"""Verbs on tables: what was planted is found, shuffled labels say nothing."""

import numpy as np
import pandas as pd
import pytest
from vc_model.plan.bank import make_bank
from vc_model.plan.biomarker import biomarker, predict_response
from vc_model.plan.errors import PlanError
from vc_model.plan.extend import extend
from vc_model.plan.lethal import lethal, make_pairs
from vc_model.plan.library import make_library
from vc_model.plan.moa import moa
from vc_model.plan.network import network
from vc_model.plan.target import target

GENES = tuple(f"G{row}" for row in range(200))


@pytest.fixture(scope="module")
def effects():
    """60 perturbations with effects of their own beside a common one, and features that tell them."""
    rng = np.random.default_rng(0)
    code_kr = rng.standard_normal((60, 15))
    delta_kg = code_kr @ rng.standard_normal((15, 200)) + rng.standard_normal(200)
    names = [f"P{row}" for row in range(60)]
    measured = delta_kg + 0.5 * rng.standard_normal(delta_kg.shape)
    return make_bank(names, GENES, measured), delta_kg, make_library(names, {"code": (names, code_kr)})


def test_target_finds_the_planted_one_and_says_nothing_of_noise(effects):
    bank, truth, _ = effects
    rng = np.random.default_rng(1)
    for row in (3, 17, 40):
        decision = target(GENES, truth[row] + 0.5 * rng.standard_normal(200), bank)
        assert decision.table["name"].iloc[0] == f"P{row}"
        assert decision.called
    assert sum(target(GENES, rng.standard_normal(200), bank, seed=seed).called for seed in range(10)) <= 3


def test_target_of_a_pair_needs_both(effects):
    bank, truth, _ = effects
    decision = target(GENES, truth[5] + truth[9], bank, max_size=2)
    assert "P5+P9" in set(decision.table["name"].head(5))


def test_target_reaches_perturbations_that_were_never_measured(effects):
    bank, truth, library = effects
    whole = extend(bank.subset(np.arange(45)), library)
    ranks = []
    for row in range(45, 60):
        table = target(GENES, truth[row], whole).table
        ranks.append(int(table.loc[table["name"] == f"P{row}", "rank"].iloc[0]))
    assert np.median(ranks) <= 5


def test_entries_that_are_alike_are_not_told_apart(effects):
    bank, truth, _ = effects
    twin = make_bank([*bank.names, "twin"], GENES, np.vstack([bank.delta_kg, bank.delta_kg[7] + 1e-4]))
    table = target(GENES, truth[7], twin).table.set_index("name")
    assert table.loc["twin", "group"] == table.loc["P7", "group"] == 1


def test_moa_takes_a_mixture_apart(effects):
    bank, truth, _ = effects
    mean_g = truth.mean(axis=0)
    table = moa(GENES, mean_g + (truth[2] - mean_g) + (truth[30] - mean_g), bank).table
    parts = set(table.loc[table["weight"] > 0, "name"])
    assert {"P2", "P30"} & parts
    assert len(table[table["weight"] != 0]) <= 3


@pytest.fixture(scope="module")
def pair_table():
    """Scores of 40 genes: gene effects, and strong synergy between two groups that features tell."""
    rng = np.random.default_rng(0)
    names = [f"G{row}" for row in range(40)]
    group = np.arange(40) % 4
    single = rng.standard_normal(40)
    rows = [
        (
            names[a],
            names[b],
            single[a] + single[b] - 5.0 * ({group[a], group[b]} == {0, 1}) + 0.7 * rng.standard_normal(),
        )
        for a in range(40)
        for b in range(a + 1, 40)
    ]
    table = pd.DataFrame(rows, columns=["gene_a", "gene_b", "score"])
    features = np.eye(4)[group] + 0.1 * rng.standard_normal((40, 4))
    return table, make_library(names, {"group": (names, features)})


@pytest.mark.parametrize("with_features", [False, True])
def test_lethal_finds_planted_pairs(pair_table, with_features):
    table, library = pair_table
    hidden = np.random.default_rng(2).random(len(table)) < 0.3
    decision = lethal(table[~hidden], library if with_features else None)
    pairs = map(frozenset, zip(table["gene_a"], table["gene_b"], strict=True))
    truth = dict(zip(pairs, table["score"] < -3, strict=True))
    found = [truth[frozenset(name.split("+"))] for name in decision.table["name"].head(20)]
    assert decision.called
    assert np.mean(found) > 0.6


def test_lethal_reaches_a_gene_that_was_never_measured(pair_table):
    table, library = pair_table
    out = (table["gene_a"] == "G0") | (table["gene_b"] == "G0")
    decision = lethal(table[~out], library, query="G0")
    partners = (
        decision.table["name"]
        .head(8)
        .map(lambda pair: next(int(name[1:]) % 4 for name in pair.split("+") if name != "G0"))
    )
    assert (partners == 1).mean() > 0.6
    assert set(decision.table["support"]) == {"extrapolation"}


def test_lethal_reaches_two_genes_that_were_never_measured(pair_table):
    table, library = pair_table
    new = {f"G{row}" for row in range(8)}
    out = table["gene_a"].isin(new) | table["gene_b"].isin(new)
    found = lethal(table[~out], library).table
    found = found[found["gene_a"].isin(new) & found["gene_b"].isin(new)]
    assert set(found["evidence"]) == {"both genes known by features alone"}
    planted = [
        {int(a[1:]) % 4, int(b[1:]) % 4} == {0, 1} for a, b in zip(found["gene_a"], found["gene_b"], strict=True)
    ]
    assert sum(planted) == 4
    assert np.mean(planted[:5]) >= 0.6
    assert found["chance"].iloc[0] > 2 * found["chance"].iloc[-1]


def test_lethal_says_nothing_of_shuffled_scores(pair_table):
    table, library = pair_table
    shuffled = table.assign(score=np.random.default_rng(3).permutation(table["score"]))
    decision = lethal(shuffled.iloc[:500], library)
    assert not decision.called
    assert (decision.table["q"] > 0.5).all()


def test_lethal_refusals(pair_table):
    table, _ = pair_table
    with pytest.raises(PlanError, match="50 or more"):
        make_pairs(table.head(10))
    with pytest.raises(PlanError, match="at least 5"):
        lethal(table, below=-100)
    with pytest.raises(PlanError, match="nearest"):
        lethal(table, query="G41")


def test_biomarker_finds_the_modifier_and_is_silent_on_noise():
    rng = np.random.default_rng(0)
    x_nf = rng.standard_normal((80, 100))
    names, lines = tuple(f"M{row}" for row in range(100)), tuple(f"L{row}" for row in range(80))
    decision = biomarker(lines, x_nf[:, 4] + rng.standard_normal(80), names, x_nf)
    assert decision.table["name"].iloc[0] == "M4"
    assert sum(biomarker(lines, rng.standard_normal(80), names, x_nf).called for _ in range(10)) <= 3
    few = biomarker(lines[:10], x_nf[:10, 4], names, x_nf[:10])
    assert not few.called
    assert "Underpowered" in few.answer
    predicted = predict_response(x_nf[:60], x_nf[:60, :5].sum(axis=1), x_nf[60:])
    assert np.corrcoef(predicted, x_nf[60:, :5].sum(axis=1))[0, 1] > 0.5


def test_network_finds_planted_edges_with_their_direction():
    rng = np.random.default_rng(0)
    names = [f"G{row}" for row in range(40)]
    edge_mm = (rng.random((40, 40)) < 0.05) & ~np.eye(40, dtype=bool) & (np.arange(40)[:, None] < np.arange(40))
    delta = 6.0 * edge_mm + rng.standard_normal((40, 40)) - 4 * np.eye(40)
    table = network(make_bank(names, names, delta)).table
    called = table[table["q"] <= 0.1]
    truth = {(names[a], names[b]) for a, b in zip(*np.nonzero(edge_mm), strict=True)}
    hits = [(a, b) in truth for a, b in zip(called["source"], called["target"], strict=True)]
    assert len(hits) >= 5
    assert np.mean(hits) > 0.8
    assert sum(network(make_bank(names, names, rng.standard_normal((40, 40)))).called for _ in range(10)) <= 3
