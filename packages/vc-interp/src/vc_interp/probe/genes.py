"""Probes of gene embeddings: do pathways stand together, are essential genes told apart?"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from vc_interp.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

FOLDS = 5


@dataclass(frozen=True)
class Probe:
    """A number beside what it would be by chance."""

    name: str
    """What was asked."""
    value: float
    """The measured number."""
    chance: float
    """Mean over permuted labels (of the same procedure)."""
    chance_sd: float
    """Its standard deviation."""
    n: int
    """Rows that the probe is about."""
    note: str = ""
    """What the number depends on."""

    @property
    def z(self) -> float:
        """How far the value is above chance, in standard deviations of chance."""
        return (self.value - self.chance) / max(self.chance_sd, 1e-12)


def pathway_probes(
    x_gd: np.ndarray,
    genes: tuple[str, ...],
    gene_sets: Mapping[str, Set[str]],
    *,
    permutations: int = 50,
    seed: int = 0,
) -> list[Probe]:
    """Co-membership AUROC (leave-one-out) and silhouette of pathways, beside permuted genes (metrics.md D21).

    The AUROC asks, for every gene with a pathway, whether genes that share one with it are nearer by cosine than others.
    The silhouette gives a gene the first of its sets (by name) with 10 to 300 genes here, as the published number does.

    Raises:
        InputError: If no set has two genes here.
    """
    member_gs = np.array([[gene in gene_sets[name] for name in sorted(gene_sets)] for gene in genes], dtype=bool)
    keep = member_gs.any(axis=1)
    if (member_gs.sum(axis=0) < 2).all():
        raise InputError("gene sets: expected one with at least two genes of the latents, found none.")
    cosine_gg = _cosines(x_gd[keep])
    shared_gg = member_gs[keep].astype(np.float32) @ member_gs[keep].T.astype(np.float32) > 0
    rng = np.random.default_rng([seed, 9])
    value = _mean_auroc(cosine_gg, shared_gg)
    orders = [rng.permutation(len(cosine_gg)) for _ in range(permutations)]
    null = [_mean_auroc(cosine_gg, shared_gg[np.ix_(order, order)]) for order in orders]
    probes = [Probe("pathway co-membership AUROC", value, *_null(null), int(keep.sum()))]
    size_s = member_gs.sum(axis=0)
    label_g = np.array([next((s for s in np.flatnonzero(row) if 10 <= size_s[s] <= 300), -1) for row in member_gs])
    use = label_g >= 0
    if len(np.unique(label_g[use])) >= 2:
        own = _cosines(x_gd[use])
        found = _silhouette(own, label_g[use])
        null = [_silhouette(own, rng.permutation(label_g[use])) for _ in range(permutations)]
        probes.append(
            Probe("pathway silhouette (cosine)", found, *_null(null), int(use.sum()), "first pathway of a gene")
        )
    return probes


def essential_probe(
    x_gd: np.ndarray,
    genes: tuple[str, ...],
    essential: Set[str],
    nonessential: Set[str] | None = None,
    *,
    covariates: "pd.DataFrame | None" = None,
    permutations: int = 10,
    seed: int = 0,
) -> list[Probe]:
    """AUROC and AUPRC of essential genes by a cross-validated logistic probe, beside permuted labels.

    Highly expressed genes are more often essential, so that a probe can be good without the latents; where covariates are
    given, the same probe of these alone and of both says what the latents add.

    Args:
        x_gd: [g, d] embeddings.
        genes: g names.
        essential: Names of essential genes.
        nonessential: Names of the others; every other gene by default.
        covariates: Numbers of genes (index: names); genes without a row are left out of all three probes.
        permutations: Of the labels.
        seed: Deals folds.

    Raises:
        InputError: If fewer than five genes of either kind are there.
    """
    yes = np.array([gene in essential for gene in genes])
    known = yes | np.array([nonessential is None or gene in nonessential for gene in genes])
    if covariates is not None:
        known &= np.array([gene in covariates.index for gene in genes])
    y_n = yes[known]
    if min(int(y_n.sum()), int((~y_n).sum())) < FOLDS:
        raise InputError(
            f"essential genes: expected at least {FOLDS} of each kind among the {len(genes)} genes, found {int(y_n.sum())} "
            f"essential and {int((~y_n).sum())} others. Are the names of the same kind?"
        )
    asked = {"": x_gd[known]}
    if covariates is not None:
        names = [gene for gene, keep in zip(genes, known, strict=True) if keep]
        other_nk = covariates.loc[names].to_numpy(np.float64)
        asked |= {", covariates alone": other_nk, ", latents and covariates": np.hstack([asked[""], other_nk])}
    return [probe for what, x_nd in asked.items() for probe in _essential(what, x_nd, y_n, permutations, seed)]


def _essential(what: str, x_nd: np.ndarray, y_n: np.ndarray, permutations: int, seed: int) -> list[Probe]:
    value = _cross_validated(x_nd, y_n, seed)
    rng = np.random.default_rng([seed, 10])
    null = [_cross_validated(x_nd, rng.permutation(y_n), seed) for _ in range(permutations)]
    return [
        Probe(
            f"essential genes {name}{what}",
            value[at],
            *_null([found[at] for found in null]),
            len(y_n),
            "linear, 5 folds",
        )
        for at, name in enumerate(("AUROC", "AUPRC"))
    ]


def auroc(score_n: np.ndarray, true_n: np.ndarray) -> float:
    """Area under the ROC curve, ties by half; NaN where one class is missing."""
    n_true = int(true_n.sum())
    n_false = len(true_n) - n_true
    if not n_true or not n_false:
        return float("nan")
    rank_n = stats.rankdata(score_n)
    return float((rank_n[true_n].sum() - n_true * (n_true + 1) / 2) / (n_true * n_false))


def _cross_validated(x_nd: np.ndarray, y_n: np.ndarray, seed: int) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    score_n = cross_val_predict(model, x_nd, y_n, cv=folds, method="decision_function")
    return auroc(score_n, y_n), float(average_precision_score(y_n, score_n))


def _cosines(x_nd: np.ndarray) -> np.ndarray:
    centred = x_nd.astype(np.float64) - x_nd.mean(axis=0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    return unit @ unit.T


def _mean_auroc(cosine_gg: np.ndarray, shared_gg: np.ndarray) -> float:
    """Mean over genes of the AUROC of sharing a set by cosine, the gene itself left out."""
    rank_gg = stats.rankdata(np.where(np.eye(len(cosine_gg), dtype=bool), -np.inf, cosine_gg), axis=1) - 1
    true_gg = shared_gg & ~np.eye(len(cosine_gg), dtype=bool)
    n_true = true_gg.sum(axis=1)
    n_false = len(cosine_gg) - 1 - n_true
    use = (n_true > 0) & (n_false > 0)
    top = (rank_gg * true_gg).sum(axis=1) - n_true * (n_true + 1) / 2
    return float((top[use] / (n_true * n_false)[use]).mean()) if use.any() else float("nan")


def _silhouette(cosine_gg: np.ndarray, label_g: np.ndarray) -> float:
    from sklearn.metrics import silhouette_score

    distance = np.maximum(1 - cosine_gg, 0)
    np.fill_diagonal(distance, 0)
    return float(silhouette_score(distance, label_g, metric="precomputed"))


def _null(values: list[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values))
