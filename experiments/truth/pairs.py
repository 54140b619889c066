"""`lethal` and `combo` on measured pairs: of knock-downs, of activations, of drugs, and of a tumour marker with a gene."""

from collections.abc import Iterator
from functools import partial

import anndata
import numpy as np
import pandas as pd
from truth import features
from truth.scores import pair_row
from vc_model.plan.lethal import make_pairs
from vc_model.plan.library import Library, make_library
from vc_model.plan.pairs import PairScores, choose_recipe, fit_pairs, known

SCREENS = features.SHARED / "screens"
KINDS = ("unseen pair", "one unseen", "two unseen")


def crispri(seed: int) -> list[dict]:
    """K562 CRISPRi fitness interactions; strong synergy is a score below -3; no features from fitness screens."""
    table = pd.read_parquet(SCREENS / "horlbeck2018_k562_crispri_gi.parquet").rename(columns={"gi_score": "score"})
    pairs = make_pairs(table)
    library = features.library(list(pairs.names), without=features.FITNESS)
    return held_out("K562 CRISPRi", pairs, library, -3.0, seed)


def crispra(seed: int) -> list[dict]:
    """K562 CRISPRa fitness: interactions as above, and the pair's fitness with the additive expectation known."""
    table = pd.read_csv(SCREENS / "norman2019_k562_crispra_gi_fitness_pairs.tsv.gz", sep="\t")
    table = table[table["gene_a"] != table["gene_b"]]
    library = features.library(sorted({*table["gene_a"], *table["gene_b"]}), without=features.FITNESS)
    pairs = make_pairs(table.rename(columns={"gi_score": "score"}))
    rows = held_out("K562 CRISPRa", pairs, library, -3.0, seed)
    fitness = make_pairs(table.rename(columns={"fitness_pair": "score"}))
    single = pd.concat(
        [
            table[["gene_a", "fitness_a"]].set_axis(["g", "f"], axis=1),
            table[["gene_b", "fitness_b"]].set_axis(["g", "f"], axis=1),
        ]
    )
    single_e = single.groupby("g")["f"].mean().reindex(list(fitness.names)).to_numpy()
    sum_n = single_e[fitness.a_n] + single_e[fitness.b_n]
    rng = np.random.default_rng(seed)
    hidden_n = rng.random(len(fitness)) < 0.2
    at, left = np.flatnonzero(~hidden_n), np.flatnonzero(hidden_n)
    slope = np.polyfit(sum_n[at], fitness.score_n[at], 2)
    additive_n = np.polyval(slope, sum_n)
    rest = PairScores(fitness.names, fitness.a_n, fitness.b_n, fitness.score_n - additive_n).subset(at)
    features_of = known(library, fitness.names)
    fitted = fit_pairs(rest, features_of, choose_recipe(rest, features_of, 0, seed=seed))
    ours = additive_n[left] + fitted.predict(fitness.a_n[left], fitness.b_n[left])
    truth = fitness.score_n[left]
    low = truth < np.quantile(truth, 0.05)
    for method, said in (("ours", ours), ("additive", additive_n[left])):
        rows.append(pair_row("K562 CRISPRa, fitness of an unseen pair, singles known", method, seed, said, truth, low))
    return rows


def expression() -> list[dict]:
    """Do interactions in expression go with interactions in fitness? Measured ones, 125 pairs of one study."""
    fits = pd.read_csv(SCREENS / "norman2019_pair_transcriptional_fits.tsv.gz", sep="\t")
    table = pd.read_csv(SCREENS / "norman2019_k562_crispra_gi_fitness_pairs.tsv.gz", sep="\t")
    score = {frozenset((a, b)): s for a, b, s in zip(table["gene_a"], table["gene_b"], table["gi_score"], strict=True)}
    fits = fits.assign(gi=[score.get(frozenset(str(name).split("_")), np.nan) for name in fits["name"]]).dropna(
        subset=["gi"]
    )
    rows = []
    for column, sign in (("ts_linear_dcor", -1), ("ts_norm", -1), ("dcor_singles", -1), ("corr_first_second", -1)):
        known = fits[np.isfinite(fits[column])]
        said, truth = sign * known[column].to_numpy(float), known["gi"].to_numpy(float)
        test = "K562 CRISPRa, strong fitness interaction (either sign) from measured expression"
        size = -np.abs(truth)
        rows.append(pair_row(test, column, 0, said, size, size <= np.quantile(size, 0.1)))
    return rows


def breast(seed: int) -> list[dict]:
    """AstraZeneca-DREAM drug pairs, mean synergy over breast lines; drugs known by their targets."""
    table = pd.read_csv(SCREENS / "astrazeneca_dream_breast_synergy.tsv.gz", sep="\t")
    table = table.assign(score=-table["SYNERGY_SCORE"].clip(-100, 100))
    table = table.rename(columns={"DRUG1": "gene_a", "DRUG2": "gene_b"})
    targets = {**dict(zip(table["gene_a"], table["DRUG1_TARGETS"], strict=True)),
               **dict(zip(table["gene_b"], table["DRUG2_TARGETS"], strict=True))}  # fmt: skip
    pairs = make_pairs(table[["gene_a", "gene_b", "score"]])
    below = float(np.quantile(pairs.score_n, 0.1))
    return held_out("drug pairs, breast lines", pairs, _by_words(pairs.names, targets), below, seed)


def ibrutinib(seed: int) -> list[dict]:
    """Ibrutinib with 463 drugs in TMD8: excess over Bliss independence of drugs left out, known by target and action."""
    table = pd.read_parquet(SCREENS / "mathewsgriner2014_ibrutinib_matrices.parquet")
    excess, alone, target = {}, {}, {}
    for name, block in table.groupby("RowName"):
        grid = block.pivot_table(index="RowConcs", columns="ColConcs", values="viability").to_numpy() / 100
        if grid.shape != (6, 6):
            continue
        excess[name] = float((grid[1:, 1:] - np.outer(grid[1:, 0], grid[0, 1:])).mean())
        alone[name], target[name] = float(grid[1:, 0].mean()), str(block["RowTarget"].iloc[0])
    names = tuple(excess)
    truth = np.array([excess[name] for name in names])
    library = _by_words(names, target)
    single = np.array([alone[name] for name in names])
    fold = np.random.default_rng(seed).integers(0, 5, len(names))
    from vc_model.plan.surrogate import fit_posterior

    said = np.zeros((2, len(names)))
    for k in range(5):
        at, left = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        both = [*library.parts(np.arange(len(names))), np.c_[single - single.mean()] / single.std()]
        said[0, left] = fit_posterior([b[at] for b in both], truth[at]).mean(np.hstack(both)[left])
        said[1, left] = np.polyval(np.polyfit(single[at], truth[at], 1), single[left])
    hit = truth <= np.quantile(truth, 0.1)
    methods = ("ours", "effect of the drug alone")
    return [pair_row("ibrutinib, unseen partner", m, seed, s, truth, hit) for m, s in zip(methods, said, strict=True)]


def melanoma(seed: int) -> list[dict]:
    """SK-MEL-133: viability of unseen pairs of 12 drugs beside the sum of the singles."""
    file = anndata.read_h5ad(features.SHARED / "ranks/korkut2015_skmel133_drug_pairs_rppa.h5ad")
    value = np.asarray(file.to_df()["cellviab"], dtype=float)
    label = file.obs["perturbation"].astype(str)
    single: dict[str, list[float]] = {}
    for name, v in zip(label, value, strict=True):
        if "+" not in name:
            single.setdefault(name, []).append(float(v))
    two = [(name.split("+"), v) for name, v in zip(label, value, strict=True) if "+" in name]
    two = [(names, v) for names, v in two if all(name in single for name in names)]
    drugs = tuple(sorted(single))
    a, b = (np.array([drugs.index(names[side]) for names, _ in two]) for side in (0, 1))
    truth = np.array([v for _, v in two])
    additive = np.array([np.mean(single[x]) + np.mean(single[y]) for (x, y), _ in two])
    fold, said = np.random.default_rng(seed).integers(0, 10, len(two)), np.zeros(len(two))
    rest = PairScores(drugs, a, b, truth - additive)
    for k in range(10):
        left = fold == k
        fitted = fit_pairs(rest.subset(np.flatnonzero(~left)), known(None, drugs))
        said[left] = additive[left] + fitted.predict(a[left], b[left])
    hit = truth <= np.quantile(truth, 0.2)
    test = "SK-MEL-133, viability of an unseen pair"
    return [pair_row(test, m, seed, s, truth, hit) for m, s in (("ours", said), ("additive", additive))]


def markers() -> list[dict]:
    """Rank of the known partner of a tumour marker among 17,787 genes; the marker's own column is left out."""
    file = anndata.read_h5ad(SCREENS / "depmap26q1_crispr_marker_dependency.h5ad")
    column = {str(name): at for at, name in enumerate(file.var_names)}
    x = np.nan_to_num(np.asarray(file.X, dtype=float))
    names = file.obs_names.astype(str).tolist()
    status = pd.read_csv(SCREENS / "depmap26q1_models_by_marker.tsv.gz", sep="\t", index_col=0)
    together = status.corr(min_periods=50).fillna(0)
    library = features.library(names, without=features.FITNESS)
    known = (("msi_high", "MLH1", "WRN"), ("mtap_del", "MTAP", "PRMT5"), ("smarca4", "SMARCA4", "SMARCA2"),
             ("rb1", "RB1", "E2F3"), ("arid1a", "ARID1A", "ARID1B"))  # fmt: skip
    rows = []
    for marker, gene, partner in known:
        # A marker that names the same event in other words would give the answer away.
        same = [
            m
            for m in column
            if m != marker and (m.split("_")[0] == marker.split("_")[0] or together.loc[marker, m] > 0.5)
        ]
        others = [m for m in column if m != marker and m not in same]
        near = max(others, key=lambda m: together.loc[marker, m])
        twin = max((m for m in column if m != marker), key=lambda m: together.loc[marker, m])
        at, alike = library.position[gene], np.zeros(len(names))
        for block in library.blocks.values():
            length = np.maximum(np.linalg.norm(block, axis=1) * np.linalg.norm(block[at]), 1e-12)
            alike += block @ block[at] / length / len(library.blocks)
        alike[at] = -np.inf
        mean_n = -x[:, [column[m] for m in others]].mean(axis=1)
        both = np.argsort(np.argsort(alike)) + np.argsort(np.argsort(-x[:, column[near]]))
        right = names.index(partner)
        for method, score in (("measured with the marker itself", -x[:, column[marker]]), ("most like the marker's gene", alike),
                              ("mean over the other markers", mean_n), ("nearest other marker", -x[:, column[near]]),
                              ("likeness and nearest marker", both),
                              ("nearest, the same event allowed", -x[:, column[twin]])):  # fmt: skip
            rows.append({"test": f"{marker} -> {partner}", "method": method, "rank": int((score > score[right]).sum()) + 1,
                         "n": len(names)})  # fmt: skip
    return rows


def held_out(what: str, pairs: PairScores, library: Library, below: float, seed: int) -> list[dict]:
    """A fifth of the entities and a fifth of the other pairs are hidden; each kind of hidden pair is scored."""
    features_of = known(library, pairs.names)
    alike = features_of.to(np.arange(len(pairs.names)), len(pairs.names))
    rng = np.random.default_rng(seed)
    out_e = rng.random(len(pairs.names)) < 0.2
    n_out = out_e[pairs.a_n].astype(int) + out_e[pairs.b_n]
    hidden_n = (n_out > 0) | (rng.random(len(pairs)) < 0.2)
    shown = pairs.subset(np.flatnonzero(~hidden_n))
    fits = [fit_pairs(shown, features_of, choose_recipe(shown, features_of, kind, seed=seed)) for kind in range(3)]
    rows = []
    for kind, name in enumerate(KINDS):
        test = pairs.subset(np.flatnonzero(hidden_n & (n_out == kind)))
        for method, said in {
            "ours": fits[kind].predict(test.a_n, test.b_n),
            **_simple(shown, test, alike),
        }.items():
            rows.append(pair_row(f"{what}, {name}", method, seed, said, test.score_n, test.score_n < below))
    return rows


def _simple(shown: PairScores, test: PairScores, alike: np.ndarray) -> dict[str, np.ndarray]:
    """Expected scores by two-way means, low-rank completion and nearest entity."""
    n = len(shown.names)
    sum_e = np.bincount(shown.a_n, shown.score_n, n) + np.bincount(shown.b_n, shown.score_n, n)
    count_e = np.bincount(shown.a_n, minlength=n) + np.bincount(shown.b_n, minlength=n)
    mean = shown.score_n.mean()
    gene_e = np.where(count_e > 0, sum_e / np.maximum(count_e, 1), mean)
    grid = np.zeros((n, n))
    for a, b in ((shown.a_n, shown.b_n), (shown.b_n, shown.a_n)):
        grid[a, b] = shown.score_n - gene_e[a] - gene_e[b] + mean
    means = gene_e[test.a_n] + gene_e[test.b_n] - mean
    values, vectors = np.linalg.eigh(grid)
    keep = np.argsort(-np.abs(values))[:10]
    low = (vectors[:, keep] * values[keep]) @ vectors[:, keep].T
    near_ee = np.where(count_e[None] > 0, alike - 2 * np.eye(n), -np.inf)
    near = np.where(count_e > 0, np.arange(n), near_ee.argmax(axis=1))
    nearest = gene_e[near[test.a_n]] + gene_e[near[test.b_n]] - mean + grid[near[test.a_n], near[test.b_n]]
    return {"two-way means": means, "low-rank completion": means + low[test.a_n, test.b_n], "nearest": nearest}


def _by_words(names: tuple[str, ...], described: dict[str, str]) -> Library:
    """A library whose features are the words that describe each entity (targets, classes)."""
    import re

    words = {name: set(re.findall(r"[A-Za-z0-9]{3,}", str(described[name]))) for name in names}
    vocabulary = sorted({word for have in words.values() for word in have})
    matrix = np.array([[word in words[name] for word in vocabulary] for name in names], float)
    keep = matrix.sum(axis=0) > 1
    return make_library(names, {"words": (names, matrix[:, keep])})


def jobs(which: str) -> Iterator:
    """Jobs of one part."""
    if which == "lethal":
        for seed in range(6):
            yield f"crispri {seed}", partial(crispri, seed)
    if which == "lethal-markers":
        yield "markers", markers
    if which == "combo":
        for seed in range(3):
            for name, run in (
                ("crispra", crispra),
                ("breast", breast),
                ("ibrutinib", ibrutinib),
                ("melanoma", melanoma),
            ):
                yield f"{name} {seed}", partial(run, seed)
        yield "expression", expression
