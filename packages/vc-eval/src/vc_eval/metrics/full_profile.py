"""The `full` profile of cell-eval 0.8.2: sets of DE genes, ranks of fold changes, and profiles (docs/metrics.md#full-profile).

Works on the DE tables of both sides and on their mean profiles, in the rounding that cell-eval applies: significance,
fold changes and adjusted p values are compared in float32. `energy_distances` is in `population`.
"""

from typing import TYPE_CHECKING

import numpy as np

from vc_eval.metrics.pairwise import distances
from vc_eval.metrics.ranks import auroc, average_precision
from vc_eval.metrics.registry import family

if TYPE_CHECKING:
    from vc_eval.rank.de import DeTable

TOP = (50, 100, 200, 500)
SMALLEST_Q = 1e-10  # adjusted p values are raised to it before the logarithm
_SPACE = "DE tables, each side against its own control"
_SOURCE = "docs/metrics.md#full-profile; cell-eval 0.8.2"


_metric = family(
    prefix="cell_eval/", direction="higher", best=1.0, unit="share of genes", space=_SPACE, reference=_SOURCE,
)  # fmt: skip

METRICS = (
    *(
        _metric(
            f"{kind}_at_{k}", f"{kind.capitalize()} at {k}",
            f"Share of the k strongest {'real' if kind == 'overlap' else 'predicted'} DE genes that both sides have "
            f"among their k strongest, k = {'all' if k == 'N' else k} at most; 0 without any.",
            "k/G for random calls",
        )
        for kind in ("overlap", "precision")
        for k in ("N", *TOP)
    ),
    _metric(
        "de_direction_match", "Direction match", "Share of real DE genes whose fold changes have equal sign.", "0.5",
        undefined="no real DE gene",
    ),
    _metric(
        "de_spearman_lfc_sig", "Fold change rank correlation", "Spearman of fold changes over real DE genes.", "0",
        unit="rank correlation", undefined="constant, or fewer than 2 real DE genes",
    ),
    _metric("de_sig_genes_recall", "Recall of DE genes", "Share of real DE genes that are called.", "share called",
            undefined="no real DE gene"),
    _metric("de_nsig_counts_real", "Real DE genes", "Number of real DE genes; not a score.", "none",
            direction="nearest", best=0.0, unit="genes"),
    _metric("de_nsig_counts_pred", "Predicted DE genes", "Number of predicted DE genes; not a score.", "none",
            direction="nearest", best=0.0, unit="genes"),
    _metric("pr_auc", "Average precision of DE calls", "Real DE genes ranked by -log10 of the predicted adjusted p.",
            "prevalence of DE genes", undefined="no or only DE genes"),
    _metric("roc_auc", "AUROC of DE calls", "Real DE genes ranked by -log10 of the predicted adjusted p.", "0.5",
            undefined="no or only DE genes"),
    _metric("de_spearman_sig", "Number of DE genes, rank correlation",
            "Spearman over perturbations of the numbers of DE genes; perturbations without real ones are left out, 1 if "
            "none remains.", "0", unit="rank correlation", aggregate="derived", undefined="constant"),
    _metric("pearson_delta", "Pearson of change", "Pearson over all genes of both deltas, own controls, target kept.",
            "0 for noise, often 0.4 to 0.7 for the mean response", unit="correlation",
            space="mean log1p deltas", undefined="constant", correlation=True),
    *(
        _metric(name, title, f"{title} over all genes, target kept.", "as no_change", direction="lower", best=0.0,
                unit="log1p" if "mae" in name else "log1p squared", space="mean log1p values or deltas")
        for name, title in (("mse", "Squared error of means"), ("mae", "Absolute error of means"),
                            ("mse_delta", "Squared error of deltas"), ("mae_delta", "Absolute error of deltas"))
    ),
    *(
        _metric(f"discrimination_score_{distance}", f"Discrimination, {distance}",
                f"1 - rank/N of the own real delta by {distance} distance; own target left out; ties midrank.",
                "0.5 + 1/(2N)", unit="share of perturbations", space="mean log1p deltas", excludes_target=True)
        for distance in ("l1", "l2", "cosine")
    ),
    _metric("pearson_edistance", "Energy distance correlation",
            "Pearson over perturbations of the energy distances from control, real and predicted, with the zero "
            "diagonal counted as cell-eval does.", "0", unit="correlation", space="cells, log1p", aggregate="derived",
            undefined="constant or fewer than 3 perturbations"),
    _metric("clustering_agreement", "Clustering agreement",
            "Best adjusted mutual information of Leiden clusters of real and predicted centroids over 7 resolutions of "
            "the prediction; the maximum makes it optimistic.", "above 0", unit="adjusted mutual information",
            space="mean log1p profiles", aggregate="derived"),
)  # fmt: skip


def de_scores(real: "DeTable", predicted: "DeTable") -> dict[str, np.ndarray]:
    """Every DE metric of the profile per perturbation, `{metric: [p]}`; `de_spearman_sig` repeats one value.

    Ties in the ranking by |fold change| are broken by gene position, where cell-eval leaves them open.

    Args:
        real: Table of the real side.
        predicted: Table of the prediction, same rows and genes.
    """
    real_pg, called_pg = real.significant_pg, predicted.significant_pg
    n_real, n_called = real_pg.sum(axis=1), called_pg.sum(axis=1)
    real_rank_pg, called_rank_pg = _strength_rank(real), _strength_rank(predicted)
    scores: dict[str, np.ndarray] = {}
    for kind, available in (("overlap", n_real), ("precision", n_called)):
        for k in ("N", *TOP):
            size = available if k == "N" else np.minimum(available, k)
            both = ((real_rank_pg < size[:, None]) & (called_rank_pg < size[:, None])).sum(axis=1)
            scores[f"{kind}_at_{k}"] = np.divide(both, size, out=np.zeros(len(size)), where=size > 0)
    a_pg, b_pg = real.lfc_pg.astype(np.float32), predicted.lfc_pg.astype(np.float32)
    same_pg = np.sign(a_pg) == np.sign(b_pg)
    with np.errstate(invalid="ignore"):
        scores["de_direction_match"] = (same_pg & real_pg).sum(axis=1) / n_real
        scores["de_sig_genes_recall"] = (real_pg & called_pg).sum(axis=1) / n_real
    scores["de_spearman_lfc_sig"] = np.array(
        [_rank_correlation(a[s], b[s]) for a, b, s in zip(a_pg, b_pg, real_pg, strict=True)]
    )
    scores["de_nsig_counts_real"], scores["de_nsig_counts_pred"] = n_real.astype(float), n_called.astype(float)
    clipped_pg = np.clip(predicted.q_value_pg.astype(np.float32), np.float32(SMALLEST_Q), np.float32(1))
    score_pg = -np.log10(clipped_pg.astype(np.float64)).astype(np.float32)
    scores["pr_auc"] = np.array([average_precision(s, y) for s, y in zip(score_pg, real_pg, strict=True)])
    scores["roc_auc"] = np.array([auroc(s, y) for s, y in zip(score_pg, real_pg, strict=True)])
    with_genes = n_real > 0
    count = _rank_correlation(n_real[with_genes], n_called[with_genes]) if with_genes.any() else 1.0
    scores["de_spearman_sig"] = np.full(len(n_real), count)
    return {f"cell_eval/{name}": value for name, value in scores.items()}


def profile_scores(
    predicted_pg: np.ndarray, predicted_control_g: np.ndarray, real_pg: np.ndarray, real_control_g: np.ndarray,
    target_p: np.ndarray,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Every metric of the profile on mean log1p values per perturbation, `{metric: [p]}`.

    Args:
        predicted_pg: `[p, g]` predicted means.
        predicted_control_g: `[g]` mean of the predicted controls.
        real_pg: `[p, g]` real means.
        real_control_g: `[g]` mean of the real controls.
        target_p: `[p]` own gene of each perturbation, -1 for none; left out of discrimination only.
    """
    predicted_delta_pg, real_delta_pg = predicted_pg - predicted_control_g, real_pg - real_control_g
    error_pg, delta_error_pg = predicted_pg - real_pg, predicted_delta_pg - real_delta_pg
    a = predicted_delta_pg - predicted_delta_pg.mean(axis=1, keepdims=True)
    b = real_delta_pg - real_delta_pg.mean(axis=1, keepdims=True)
    norm = np.sqrt(np.einsum("pg,pg->p", a, a) * np.einsum("pg,pg->p", b, b))
    scores = {
        "pearson_delta": np.divide(np.einsum("pg,pg->p", a, b), norm, out=np.full(len(a), np.nan), where=norm > 0),
        "mse": (error_pg**2).mean(axis=1),
        "mae": np.abs(error_pg).mean(axis=1),
        "mse_delta": (delta_error_pg**2).mean(axis=1),
        "mae_delta": np.abs(delta_error_pg).mean(axis=1),
    }
    for distance in ("l1", "l2", "cosine"):
        scores[f"discrimination_score_{distance}"] = discrimination(
            predicted_delta_pg, real_delta_pg, target_p, distance
        )
    return {f"cell_eval/{name}": value for name, value in scores.items()}


def discrimination(predicted_pg: np.ndarray, real_pg: np.ndarray, target_p: np.ndarray, distance: str) -> np.ndarray:
    """`[p]` 1 - rank / N of the own real delta by distance to the prediction; ties midrank.

    Leaving the own target out changes one term of each sum, so the distances are computed once for all rows.

    Args:
        predicted_pg: `[p, g]` predicted deltas.
        real_pg: `[p, g]` real deltas.
        target_p: `[p]` gene left out of row p, -1 for none.
        distance: `l1`, `l2` or `cosine`.
    """
    rows = np.flatnonzero(target_p >= 0)
    a, b = predicted_pg[rows, target_p[rows]][:, None], real_pg[:, target_p[rows]].T
    if distance == "cosine":
        dot = predicted_pg @ real_pg.T
        own = np.repeat(np.einsum("pg,pg->p", predicted_pg, predicted_pg)[:, None], len(real_pg), axis=1)
        other = np.repeat(np.einsum("pg,pg->p", real_pg, real_pg)[None], len(predicted_pg), axis=0)
        dot[rows] -= a * b
        own[rows] -= a**2
        other[rows] -= b**2
        norm = np.sqrt(np.maximum(own, 0)) * np.sqrt(np.maximum(other, 0))
        away = 1 - np.divide(dot, norm, out=np.zeros_like(dot), where=norm > 0)
    else:
        away = distances(predicted_pg, real_pg, "cityblock" if distance == "l1" else "sqeuclidean")
        away[rows] -= np.abs(a - b) ** (1 if distance == "l1" else 2)
    own_distance = np.diagonal(away)[:, None]
    rank = (away < own_distance).sum(axis=1) + ((away == own_distance).sum(axis=1) - 1) / 2
    return 1 - rank / len(real_pg)


def _strength_rank(table: "DeTable") -> np.ndarray:
    """`[p, g]` position of each called gene by float32 |fold change| descending, then gene position; others come last."""
    called_pg = table.significant_pg
    size_pg = np.where(called_pg, np.abs(table.lfc_pg.astype(np.float32)), -1.0)
    order = np.argsort(-size_pg, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=1)
    return np.where(called_pg, rank, np.iinfo(rank.dtype).max)


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman of two or more pairs; NaN where one side is constant."""
    if a.size < 2:
        return float("nan")
    from scipy.stats import rankdata  # heavy to import

    a, b = rankdata(a.astype(np.float64)), rankdata(b.astype(np.float64))
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
