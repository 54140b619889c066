"""Shape and health of an embedding, and whether replicates of a perturbation agree in it (docs/metrics.md#profile-suite)."""

import numpy as np

from vc_eval.metrics.pairwise import distances
from vc_eval.metrics.ranks import auroc, cosine_matrix, mean_defined, spearman
from vc_eval.metrics.registry import family

DEAD = 1e-6  # variance below which a dimension carries nothing


_metric = family(direction="higher", best=1.0, unit="dimensions", space="embeddings", aggregate="derived")

METRICS = (
    _metric("consistency_auroc", "Replicates agree, AUROC", "Mean over perturbations of the chance that two of its "
            "replicates are nearer than one of it and one of another.", "0.5", "D26", unit="area under the curve"),
    _metric("consistency_ratio_biojepa", "Between over within distance", "Mean distance between perturbations over that "
            "between replicates of one; 3 replicates or more.", "1", "D26", best=float("inf"), unit="ratio"),
    _metric("effective_dimension_90", "Components for 90 % of variance", "Number of principal components that reach 90 % of "
            "the variance; depends on sample and data.", "that of log-expression", "D27", best=float("inf")),
    _metric("participation_ratio", "Participation ratio", "(sum of variances)^2 over the sum of their squares.",
            "that of log-expression", "D27", best=float("inf")),
    _metric("rankme", "RankMe", "exp of the entropy of the normalised singular values.", "that of log-expression", "D27",
            best=float("inf")),
    _metric("dead_dimensions", "Dead dimensions", "Dimensions with a variance below 1e-6.", "none", "D27, D34",
            direction="lower", best=0.0),
    _metric("isotropy", "Isotropy", "Smallest over largest standard deviation along principal components, dead dimensions "
            "counted as 0.", "none", "D34", unit="ratio"),
    _metric("mean_cosine", "Mean cosine of random pairs", "Mean cosine of all pairs; 0 without anisotropy.", "0", "D34",
            direction="nearest", best=0.0, unit="cosine"),
    _metric("batch_mixing", "Neighbourhood batch mixing", "Mean over cells of the inverse Simpson index of batches among the "
            "nearest cells, scaled from one batch (0) to all in their shares (1).", "1 with no batch effect", "D19",
            unit="share"),
    _metric("dose_response_spearman", "Dose response", "Mean over drugs of the Spearman of effect size and log dose.", "0",
            "D34", unit="correlation", space="norms of log1p_cp10k deltas", undefined="fewer than 3 doses"),
    _metric("dose_response_monotone", "Dose response, monotone steps", "Mean over drugs of the share of steps in dose at "
            "which the effect grows.", "0.5", "D34", unit="share", space="norms of log1p_cp10k deltas"),
)  # fmt: skip


def dimension_scores(embedding_nd: np.ndarray, share: float = 0.9) -> dict[str, float]:
    """Effective dimension, participation ratio, RankMe, dead dimensions, isotropy and mean cosine.

    Give the same number of cells (10,000) for whatever is compared: all of these grow with it.

    Args:
        embedding_nd: `[n, d]` one row per cell.
        share: Share of the variance to reach.

    References:
        RankMe: Garrido et al. 2023.
    """
    centred = np.asarray(embedding_nd, np.float64) - np.mean(embedding_nd, axis=0)
    variance = np.linalg.svd(centred, compute_uv=False) ** 2 / max(1, len(centred) - 1)
    total = variance.sum()
    singular = np.linalg.svd(np.asarray(embedding_nd, np.float64), compute_uv=False)
    weight = singular / singular.sum() if singular.sum() > 0 else singular
    entropy = -(weight[weight > 0] * np.log(weight[weight > 0])).sum()
    alive = variance.size >= centred.shape[1] and variance[-1] >= DEAD
    unit = embedding_nd / np.maximum(np.linalg.norm(embedding_nd, axis=1, keepdims=True), 1e-12)
    n = len(unit)
    pairs = (np.square(unit.sum(axis=0)).sum() - np.square(unit).sum()) / (n * (n - 1)) if n > 1 else float("nan")
    return {
        "effective_dimension_90": float(np.argmax(np.cumsum(variance) >= share * total * (1 - 1e-12)) + 1)
        if total > 0
        else 0.0,
        "participation_ratio": float(total**2 / np.square(variance).sum()) if total > 0 else 0.0,
        "rankme": float(np.exp(entropy)),
        "dead_dimensions": float((centred.var(axis=0) < DEAD).sum()),
        "isotropy": float(np.sqrt(variance[-1] / variance[0])) if alive else 0.0,
        "mean_cosine": float(pairs),
    }


def replicate_consistency(embedding_nd: np.ndarray, perturbation_n: np.ndarray, *, cosine: bool = False) -> float:
    """Mean over perturbations of AUROC(within distance < between distance); a replicate is a batch pseudobulk.

    Args:
        embedding_nd: `[n, d]` one row per replicate.
        perturbation_n: `[n]` perturbation of each.
        cosine: Cosine instead of Euclidean distance.
    """
    names, code = np.unique(perturbation_n, return_inverse=True)
    away = 1 - cosine_matrix(embedding_nd, embedding_nd) if cosine else distances(embedding_nd, embedding_nd)
    values = []
    for p in range(names.size):
        own = np.flatnonzero(code == p)
        if own.size < 2 or own.size == code.size:
            continue
        within = away[np.ix_(own, own)][np.triu_indices(own.size, 1)]
        between = away[np.ix_(own, np.flatnonzero(code != p))].ravel()
        values.append(auroc(-np.concatenate([within, between]), np.arange(within.size + between.size) < within.size))
    return mean_defined(values)


def consistency_ratio_biojepa(
    embedding_nd: np.ndarray, perturbation_n: np.ndarray, *, n_pairs: int = 5000, seed: int = 0
) -> float:
    """Mean distance of pairs from different perturbations over that of pairs of one, 3 replicates or more each."""
    _, code, sizes = np.unique(perturbation_n, return_inverse=True, return_counts=True)
    kept = sizes[code] >= 3
    away, code = distances(embedding_nd[kept], embedding_nd[kept]), code[kept]
    i, j = np.triu_indices(code.size, 1)
    same = code[i] == code[j]
    if not 0 < same.sum() < same.size:
        return float("nan")
    between = away[i, j][~same]
    if between.size > n_pairs:
        between = between[np.random.default_rng(seed).choice(between.size, n_pairs, replace=False)]
    within = away[i, j][same].mean()
    return float(between.mean() / within) if within > 0 else float("nan")


def batch_mixing(embedding_nd: np.ndarray, batch_n: np.ndarray, n_neighbours: int = 30) -> float:
    """Mean inverse Simpson index of batches among the nearest cells, 0 for one batch, 1 for their overall shares.

    References:
        LISI: Korsunsky et al. 2019, with equal weights for all neighbours.
    """
    from scipy.spatial import KDTree as cKDTree

    names, code = np.unique(batch_n, return_inverse=True)
    k = min(n_neighbours, len(code) - 1)
    if names.size < 2 or k < 1:
        return float("nan")
    near = cKDTree(embedding_nd).query(embedding_nd, k + 1)[1]
    near = np.array([[j for j in row if j != i][:k] for i, row in enumerate(near)])
    share = np.stack([(code[near] == b).mean(axis=1) for b in range(names.size)], axis=1)
    index = 1 / np.square(share).sum(axis=1)
    expected = 1 / np.square(np.bincount(code) / code.size).sum()
    return float(np.mean((index - 1) / (expected - 1)))


def dose_response(size_n: np.ndarray, dose_n: np.ndarray, drug_n: np.ndarray) -> dict[str, float]:
    """Spearman of effect size and log dose, and share of growing steps, averaged over drugs with 3 doses or more.

    Args:
        size_n: `[n]` norm of the delta of each condition.
        dose_n: `[n]` dose above 0.
        drug_n: `[n]` drug of each condition.
    """
    correlation, steps = [], []
    for drug in np.unique(drug_n):
        here = np.asarray(drug_n) == drug
        doses, code = np.unique(np.log(np.asarray(dose_n)[here]), return_inverse=True)
        if doses.size < 3:
            continue
        size = np.bincount(code, weights=np.asarray(size_n)[here]) / np.bincount(code)
        correlation.append(spearman(size, doses))
        steps.append(float((np.diff(size) > 0).mean()))
    return {
        "dose_response_spearman": mean_defined(correlation),
        "dose_response_monotone": mean_defined(steps),
    }
