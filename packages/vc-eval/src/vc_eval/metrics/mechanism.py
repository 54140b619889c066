"""Whether perturbations, or genes, of one pathway lie together (docs/metrics.md#profile-suite).

Pairs are not independent, so p values come from permuting which perturbation has which pathways. The same numbers for the
real deltas are the ceiling and those for the input features alone the floor: run the functions on each.
"""

import numpy as np

from vc_eval.metrics.pairwise import distances
from vc_eval.metrics.ranks import auroc, cosine_matrix, mean_defined
from vc_eval.metrics.registry import family

_metric = family(
    direction="higher", best=1.0, unit="area under the curve", space="deltas or embeddings", aggregate="derived",
)  # fmt: skip

METRICS = (
    _metric("moa_auroc", "Same pathway, AUROC", "Chance that a pair sharing a pathway has a higher cosine than one that "
            "shares none.", "0.5", "D16, D17"),
    _metric("moa_gap", "Same pathway, gap", "Mean cosine of pairs that share a pathway minus that of pairs that share none.",
            "0", "D16, D17", unit="cosine", best=2.0),
    _metric("moa_p", "Same pathway, permutation p", "Share of permutations of pathways over perturbations with at least "
            "this gap, the real one among them.", "uniform", "D16", direction="lower", best=0.0, unit="probability"),
    _metric("moa_ratio_biojepa", "Same mechanism, ratio", "Mean cosine within a pathway over that between, first-listed "
            "pathway of 15 to 300 genes, 3 perturbations or more; unstable near 0.", "1", "D16", best=float("inf"),
            unit="ratio"),
    _metric("moa_p_biojepa", "Same mechanism, Mann-Whitney p", "One-sided U test of within against between pairs as if "
            "pairs were independent.", "uniform only if they were", "D16", direction="lower", best=0.0, unit="probability"),
    _metric("pathway_ratio_biojepa", "Shared pathway, ratio", "Mean cosine of pairs sharing any pathway over that of the "
            "other pairs.", "1", "D17", best=float("inf"), unit="ratio"),
    *(
        metric
        for what, source in (("kegg", "D21"), ("action", "D22"))
        for metric in (
            _metric(f"{what}_comembership", f"{what.upper()} neighbours, AUROC", "Mean over pathways of the AUROC of "
                    "membership by the share of members among the nearest others, itself left out.", "0.5", source),
            _metric(f"{what}_comembership_z", f"{what.upper()} neighbours, z", "The same in standard deviations of "
                    "permuted memberships of equal size.", "0", source, unit="standard deviations", best=float("inf")),
            _metric(f"{what}_silhouette_biojepa", f"{what.upper()} silhouette", "Mean Euclidean silhouette, label the "
                    "first-listed pathway.", "about 0, often negative", source, unit="silhouette"),
            _metric(f"{what}_silhouette_cosine", f"{what.upper()} silhouette, cosine", "The same by cosine distance.",
                    "about 0", source, unit="silhouette"),
        )
    ),
)  # fmt: skip


def pathway_scores(
    vector_pd: np.ndarray, member_pk: np.ndarray, *, centre_d: np.ndarray | None = None, n_permutations: int = 1000,
    seed: int = 0,
) -> dict[str, float]:  # fmt: skip
    """AUROC, gap and permutation p of cosines of pairs that share a pathway against pairs that share none.

    Args:
        vector_pd: `[p, d]` deltas or embeddings.
        member_pk: `[p, k]` bool, perturbation in pathway; several are allowed, rows without any are left out.
        centre_d: `[d]` subtracted first, the training mean; without it the shared response sets all cosines.
        n_permutations: Permutations; 0 leaves the p value out.
        seed: Seed of the permutations.
    """
    with_any = member_pk.any(axis=1)
    vectors, members = vector_pd[with_any], member_pk[with_any]
    cosine = cosine_matrix(*(vectors - (0 if centre_d is None else centre_d),) * 2)
    shared = (members.astype(float) @ members.T.astype(float)) > 0
    upper = np.triu_indices(len(vectors), 1)
    values, same = cosine[upper], shared[upper]
    if not 0 < same.sum() < same.size:
        return dict.fromkeys(("moa_auroc", "moa_gap", "moa_p", "pathway_ratio_biojepa"), float("nan"))
    gap = float(values[same].mean() - values[~same].mean())
    scores = {
        "moa_auroc": auroc(values, same),
        "moa_gap": gap,
        "pathway_ratio_biojepa": float(values[same].mean() / values[~same].mean()),
    }
    if n_permutations:
        rng = np.random.default_rng(seed)
        at_least = 1
        for _ in range(n_permutations):
            order = rng.permutation(len(vectors))
            drawn = shared[np.ix_(order, order)][upper]
            at_least += values[drawn].mean() - values[~drawn].mean() >= gap - 1e-12
        scores["moa_p"] = at_least / (n_permutations + 1)
    return scores


def moa_biojepa(
    vector_pd: np.ndarray, pathways: list[list[str]], pathway_sizes: dict[str, int], *, smallest: int = 15,
    largest: int = 300, n_perturbations: int = 3,
) -> tuple[float, float]:  # fmt: skip
    """Ratio of mean cosines within and between first-listed pathways, and the p value of the U test.

    Args:
        vector_pd: `[p, d]` predicted mean deltas.
        pathways: Per perturbation its pathways in listed order.
        pathway_sizes: Genes of each pathway; only sizes from `smallest` to `largest` are used.
        smallest: Fewest genes.
        largest: Most genes.
        n_perturbations: Fewest perturbations of a pathway.
    """
    usable = {name for name, size in pathway_sizes.items() if smallest <= size <= largest}
    first = np.array([next((name for name in names if name in usable), "") for names in pathways])
    names, counts = np.unique(first, return_counts=True)
    kept = np.isin(first, names[(counts >= n_perturbations) & (names != "")])
    label = first[kept]
    if np.unique(label).size < 2:
        return float("nan"), float("nan")
    upper = np.triu_indices(label.size, 1)
    values = cosine_matrix(vector_pd[kept], vector_pd[kept])[upper]
    within = (label[:, None] == label[None, :])[upper]
    from scipy.stats import mannwhitneyu  # heavy to import

    test = mannwhitneyu(values[within], values[~within], alternative="greater")
    return float(values[within].mean() / values[~within].mean()), float(test.pvalue)


def silhouette(vector_nd: np.ndarray, label_n: np.ndarray, *, cosine: bool = False, smallest: int = 2) -> float:
    """Mean over items of (b - a) / max(a, b): a the mean distance to the own class, b to the nearest other one.

    Args:
        vector_nd: `[n, d]` embeddings.
        label_n: `[n]` class of each item.
        cosine: Cosine instead of Euclidean distance.
        smallest: Classes with fewer items are left out first.

    References:
        Rousseeuw (1987), J. Comput. Appl. Math. 20.
    """
    names, code, sizes = np.unique(label_n, return_inverse=True, return_counts=True)
    kept = sizes[code] >= smallest
    names, code, sizes = np.unique(np.asarray(label_n)[kept], return_inverse=True, return_counts=True)
    if names.size < 2:
        return float("nan")
    vectors = vector_nd[kept]
    away = 1 - cosine_matrix(vectors, vectors) if cosine else distances(vectors, vectors)
    sums = away @ np.eye(names.size)[code]
    rows = np.arange(code.size)
    own_size = sizes[code]
    with np.errstate(invalid="ignore", divide="ignore"):
        own = sums[rows, code] / (own_size - 1)
        others = sums / sizes
    others[rows, code] = np.inf
    nearest = others.min(axis=1)
    value = (nearest - own) / np.maximum(own, nearest)
    return float(np.where(own_size > 1, np.nan_to_num(value), 0.0).mean())


def comembership(
    vector_nd: np.ndarray, member_nk: np.ndarray, *, n_neighbours: int = 10, n_permutations: int = 100, seed: int = 0
) -> tuple[float, float]:
    """Mean AUROC of pathway membership by the share of members among the nearest others, and its permutation z-score.

    Args:
        vector_nd: `[n, d]` embeddings; neighbours by cosine, the item itself left out.
        member_nk: `[n, k]` bool, item in pathway.
        n_neighbours: Neighbours per item.
        n_permutations: Permutations of rows of `member_nk`, which keep sizes and overlaps of pathways.
        seed: Seed of the permutations.
    """
    cosine = cosine_matrix(vector_nd, vector_nd)
    np.fill_diagonal(cosine, -np.inf)
    near = np.argsort(-cosine, axis=1, kind="stable")[:, :n_neighbours]

    def value(members: np.ndarray) -> float:
        share = members[near].mean(axis=1)
        return mean_defined([auroc(share[:, k], members[:, k]) for k in range(members.shape[1])])

    real = value(member_nk)
    rng = np.random.default_rng(seed)
    drawn = [value(member_nk[rng.permutation(len(member_nk))]) for _ in range(n_permutations)]
    spread = float(np.std(drawn)) if drawn else 0.0
    return real, (real - float(np.mean(drawn))) / spread if spread > 0 else float("nan")
