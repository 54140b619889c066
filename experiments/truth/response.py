"""`biomarker` and `safety` on real answers: response of lines that were left out, breadth of unseen knock-downs."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata, spearmanr
from truth import features
from vc_model.plan.biomarker import predict_response
from vc_model.plan.surrogate import fit_posterior

SCREENS = features.SHARED / "screens"


def breadth(condition: str) -> list[dict]:
    """Genes changed by an unseen knock-down in CD4 T cells, from features; five folds.

    The features are those of all parts, how essential genes are, and two screens of T cells by another laboratory (what knocking
    a gene down does to two cytokines). Half of the knock-downs change 2 genes at most and some change thousands, and the question is
    one of order, so normal scores of the ranks are fitted.
    """
    table = pd.read_csv(SCREENS / "marson2025_cd4_gwps_n_de_per_knockdown.tsv.gz", sep="\t")
    table = table.drop_duplicates("perturbation")
    extra = {"essentiality": features.essentiality()} | {
        name: features.scores_of(SCREENS / f"schmidt2022_tcell_{name}.parquet") for name in ("ifng", "il2")
    }
    library = features.library(table["perturbation"].astype(str).tolist(), extra=extra)
    fold_n = np.random.default_rng(0).integers(0, 5, len(table))
    y_n = np.log1p(table[f"n_de_{condition}"].to_numpy(float))
    known, rows = np.isfinite(y_n), []
    for fold in range(5):
        train, test = np.flatnonzero(known & (fold_n != fold)), np.flatnonzero(known & (fold_n == fold))
        score_n = norm.ppf((rankdata(y_n[train]) - 0.5) / len(train))
        shuffled = np.random.default_rng(fold).permutation(score_n)
        x_ed = library.features_ed[test]
        sizes = np.array(
            [abs(spearmanr(library.features_ed[train, at], y_n[train]).statistic) for at in range(x_ed.shape[1])]
        )
        best = int(np.nan_to_num(sizes).argmax())
        sign = np.sign(spearmanr(library.features_ed[train, best], y_n[train]).statistic)
        for method, said in (
            ("ours", fit_posterior(library.parts(train), score_n, prior_b=library.prior_b).mean(x_ed)),
            ("best single feature by correlation", sign * x_ed[:, best]),
            ("mean dependency in DepMap", -library.blocks["dependency"][test, 0]),
            (
                "ours, shuffled labels",
                fit_posterior(library.parts(train), shuffled, prior_b=library.prior_b).mean(x_ed),
            ),
        ):
            rho = spearmanr(said, y_n[test]).statistic
            rows.append(
                {"test": f"breadth in CD4 T cells, {condition}", "method": method, "seed": fold, "spearman": rho}
            )
    return rows


def drug_response() -> list[dict]:
    """GDSC2: response of lines that were left out, from their responses to the other drugs; 25 drugs, five folds."""
    wide = pd.read_parquet(SCREENS / "gdsc2_lnic50_auc.parquet").pivot_table(
        index="MODEL", columns="DRUG", values="AUC"
    )
    wide = wide[wide.notna().mean(axis=1) > 0.8]
    drugs = sorted(wide.columns[wide.notna().mean() > 0.8])
    rng, rows = np.random.default_rng(0), []
    for drug in rng.choice(drugs, 25, replace=False):
        known = wide[wide[drug].notna()]
        y_n, x_nf = known[drug].to_numpy(float), known.drop(columns=drug).to_numpy(float)
        fold_n = rng.integers(0, 5, len(y_n))
        said = {
            method: np.zeros(len(y_n))
            for method in ("ours", "best single feature by correlation", "ours, shuffled labels")
        }
        for fold in range(5):
            at, left = fold_n != fold, fold_n == fold
            filled = np.where(np.isfinite(x_nf), x_nf, np.nanmean(x_nf[at], axis=0))
            ranked = filled[at].argsort(axis=0).argsort(axis=0)
            target = y_n[at].argsort().argsort()
            r_f = np.nan_to_num(np.corrcoef(ranked.T, target)[-1, :-1])
            best = int(np.abs(r_f).argmax())
            said["ours"][left] = predict_response(filled[at], y_n[at], filled[left])
            said["best single feature by correlation"][left] = np.sign(r_f[best]) * filled[left, best]
            said["ours, shuffled labels"][left] = predict_response(filled[at], rng.permutation(y_n[at]), filled[left])
        for method, values in said.items():
            per_fold = [spearmanr(values[fold_n == fold], y_n[fold_n == fold]).statistic for fold in range(5)]
            rows.append({"test": "drug response of left-out lines (GDSC2), from other drugs", "method": method, "seed": drug,
                         "spearman": float(np.mean(per_fold))})  # fmt: skip
    return rows


def jobs() -> Iterator:
    """Jobs of the part."""
    for condition in ("Rest", "Stim8hr", "Stim48hr"):
        yield condition, partial(breadth, condition)
    yield "gdsc", drug_response
