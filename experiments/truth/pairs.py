"""Verbs whose real answers need no rounds: pairs, profiles, breadth of response, and all of them on shuffled labels."""

from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from truth import features
from vc_model.plan.bank import make_bank
from vc_model.plan.biomarker import biomarker
from vc_model.plan.lethal import make_pairs
from vc_model.plan.moa import moa
from vc_model.plan.pairs import alikeness, choose_trial, fit_pairs
from vc_model.plan.surrogate import fit_posterior

SCREENS = features.SHARED / "screens"


def once(fpath: Path, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The table in a file, made where it is absent."""
    if not fpath.exists():
        make().to_csv(fpath, index=False)
    return pd.read_csv(fpath)


def average_precision(score_n: np.ndarray, hit_n: np.ndarray) -> float:
    """Mean precision at each hit, best scores first."""
    hit_n = hit_n[np.argsort(-score_n, kind="stable")]
    return float((np.cumsum(hit_n) / np.arange(1, len(hit_n) + 1))[hit_n].mean())


def lethal() -> pd.DataFrame:
    """K562 CRISPRi pairs: unseen pairs, one unseen gene, two unseen genes; features without fitness screens."""
    table = pd.read_parquet(SCREENS / "horlbeck2018_k562_crispri_gi.parquet").rename(columns={"gi_score": "score"})
    pairs = make_pairs(table)
    features_ee = alikeness(features.library(list(pairs.names), without=features.FITNESS), pairs.names)
    rows = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        out_e = rng.random(len(pairs.names)) < 0.2
        n_out = out_e[pairs.a_n].astype(int) + out_e[pairs.b_n]
        hidden_n = (n_out > 0) | (rng.random(len(pairs)) < 0.2)
        shown = pairs.subset(np.flatnonzero(~hidden_n))
        trial = choose_trial(shown, features_ee, new_entities=True, seed=seed)
        seen_trial = choose_trial(shown, features_ee, new_entities=False, seed=seed)
        for unseen, name in enumerate(("unseen pair", "one unseen gene", "two unseen genes")):
            test = pairs.subset(np.flatnonzero(hidden_n & (n_out == unseen)))
            fitted = fit_pairs(shown, features_ee, trial if unseen else seen_trial)
            for method, said in _methods(shown, test, features_ee, fitted, rng).items():
                rows.append(_score(name, method, seed, said, test.score_n))
    return pd.DataFrame(rows)


def _score(kind: str, method: str, seed: int, said: np.ndarray, truth: np.ndarray) -> dict:
    hit = truth < -3
    rho = spearmanr(said, truth).statistic if np.ptp(said) > 0 else 0.0
    row = {"test": kind, "method": method, "seed": seed, "auprc": average_precision(-said, hit)}
    return row | {"chance": hit.mean(), "spearman": rho, "n": len(truth)}


def _methods(shown, test, features_ee, fitted, rng) -> dict[str, np.ndarray]:
    """Expected scores of the tested pairs by each method."""
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
    alike = np.where(count_e[None] > 0, features_ee - 2 * np.eye(n), -np.inf)
    near = np.where(count_e > 0, np.arange(n), alike.argmax(axis=1))
    nearest = gene_e[near[test.a_n]] + gene_e[near[test.b_n]] - mean + grid[near[test.a_n], near[test.b_n]]
    return {
        "ours": fitted.predict(test.a_n, test.b_n),
        "two-way gene means": means,
        "low-rank completion": means + low[test.a_n, test.b_n],
        "nearest gene": nearest,
        "random": rng.standard_normal(len(test)),
    }


def profiles() -> pd.DataFrame:
    """A knock-down's profile in K562 against the library measured in RPE1, and back."""
    file = anndata.read_h5ad(features.SHARED / "ranks/replogle2022_k562_rpe1_top1000_up_ranks.h5ad")
    x = file.X.toarray() if hasattr(file.X, "toarray") else np.asarray(file.X)
    # Rank 1 is most up: 1 for it, towards 0 for rank 1,000, and 0 outside.
    effect = np.where(x > 0, 1 - (x - 1) / 1000, 0).astype(np.float32)
    lines, genes = file.obs["cell_line"].astype(str).to_numpy(), tuple(file.var_names.astype(str))
    rows = []
    for query, library in (("K562", "RPE1"), ("RPE1", "K562")):
        names = file.obs["perturbation"].astype(str).to_numpy()
        bank = make_bank(names[lines == library].tolist(), genes, effect[lines == library], library)
        mine, asked = effect[lines == query], names[lines == query]
        top = np.argsort(-bank.delta_kg, axis=1)[:, :100]
        for row in np.random.default_rng(0).permutation(len(asked))[:60]:
            table = moa(genes, mine[row].astype(float), bank).table
            rank = int(table.loc[table["name"] == asked[row], "rank"].iloc[0])
            shared = np.isin(top, np.argsort(-mine[row])[:100]).sum(axis=1)
            plain = int((shared > shared[bank.names.index(asked[row])]).sum()) + 1
            first = bool(table["q"].iloc[0] <= 0.1)
            for method, found in (("ours", rank), ("plain overlap of 100", plain)):
                rows.append(
                    {
                        "test": f"{query} -> {library}",
                        "method": method,
                        "rank": found,
                        "called": first,
                        "n": len(bank.names),
                    }
                )
    return pd.DataFrame(rows)


def breadth() -> pd.DataFrame:
    """Genes changed by an unseen knock-down in CD4 T cells, from features; five folds."""
    table = pd.read_csv(SCREENS / "marson2025_cd4_gwps_n_de_per_knockdown.tsv.gz", sep="\t").drop_duplicates(
        "perturbation"
    )
    library = features.library(table["perturbation"].astype(str).tolist())
    fold_n = np.random.default_rng(0).integers(0, 5, len(table))
    rows = []
    for condition in ("Rest", "Stim8hr", "Stim48hr"):
        y_n = np.log1p(table[f"n_de_{condition}"].to_numpy(float))
        known = np.isfinite(y_n)
        for fold in range(5):
            train, test = np.flatnonzero(known & (fold_n != fold)), np.flatnonzero(known & (fold_n == fold))
            shuffled = np.random.default_rng(fold).permutation(y_n[train])
            dependency = library.blocks["dependency"][test, 0]
            for method, said in (
                ("ours", fit_posterior(library.parts(train), y_n[train]).mean(library.features_ed[test])),
                ("mean dependency in DepMap", -dependency),
                (
                    "ours, shuffled labels",
                    fit_posterior(library.parts(train), shuffled).mean(library.features_ed[test]),
                ),
            ):
                rho = spearmanr(said, y_n[test]).statistic
                rows.append({"test": condition, "method": method, "seed": fold, "spearman": rho, "n": len(test)})
    return pd.DataFrame(rows)


def null() -> pd.DataFrame:
    """Verbs on shuffled labels, forty times each: how often anything is called."""
    rng = np.random.default_rng(0)
    file = anndata.read_h5ad(features.SHARED / "ranks/op3_pbmc_135drugs_4celltypes_full_ranks.h5ad")
    lines = file.obs["cell_line"].astype(str).to_numpy()
    x = np.asarray(file.X.toarray() if hasattr(file.X, "toarray") else file.X)[lines == lines[0]][:, ::4]
    names = file.obs["perturbation"].astype(str).to_numpy()[lines == lines[0]]
    genes = tuple(f"g{column}" for column in range(x.shape[1]))
    bank = make_bank(names.tolist(), genes, -x.astype(np.float32), "OP3")
    gdsc = pd.read_parquet(SCREENS / "gdsc2_lnic50_auc.parquet").pivot_table(
        index="MODEL", columns="DRUG", values="AUC"
    )
    gdsc = gdsc.loc[:, gdsc.notna().mean() > 0.9].dropna()
    rows = []
    for trial in range(40):
        said = moa(genes, rng.permutation(bank.delta_kg[trial].astype(float)), bank, seed=trial)
        rows.append({"verb": "target, moa", "called": said.called})
        drug = gdsc.columns[trial % gdsc.shape[1]]
        others = gdsc.drop(columns=drug)
        told = biomarker(
            tuple(gdsc.index), rng.permutation(gdsc[drug].to_numpy()), tuple(others.columns), others.to_numpy()
        )
        rows.append({"verb": "biomarker", "called": told.called})
    return pd.DataFrame(rows)


PARTS: dict[str, Callable[[], pd.DataFrame]] = {"lethal": lethal, "moa": profiles, "breadth": breadth, "null": null}
"""Name -> what makes its table."""
