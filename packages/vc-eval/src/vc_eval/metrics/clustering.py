"""Whether predicted and real perturbations fall into the same clusters (docs/metrics.md#full-profile, `clustering_agreement`).

Leiden clusters of mean profiles on a weighted graph of nearest neighbours. Needs igraph, the extra `clustering`. The maximum
over resolutions makes the value optimistic, and it depends on the version of igraph: compare it within one table only.
"""

import numpy as np
import scipy.special
from scipy.spatial.distance import cdist

from vc_eval.errors import VcEvalError

RESOLUTIONS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0)
N_NEIGHBOURS = 15


def clustering_agreement(predicted_pg: np.ndarray, real_pg: np.ndarray, *, seed: int = 0) -> float:
    """Best adjusted mutual information of predicted clusters at any resolution with real ones at resolution 1.

    Args:
        predicted_pg: `[p, g]` predicted mean profiles.
        real_pg: `[p, g]` real mean profiles.
        seed: Seed of the clustering.

    Raises:
        VcEvalError: If igraph is not installed.
    """
    if len(real_pg) < 3:
        return float("nan")
    real = leiden(real_pg, 1.0, seed=seed)
    return max(0.0, *(adjusted_mutual_information(real, leiden(predicted_pg, r, seed=seed)) for r in RESOLUTIONS))


def leiden(profile_pg: np.ndarray, resolution: float, *, seed: int = 0) -> np.ndarray:
    """`[p]` cluster of every profile: two rounds of Leiden for modularity.

    Raises:
        VcEvalError: If igraph is not installed.
    """
    try:
        import igraph
    except ImportError as error:
        raise VcEvalError(
            "clustering_agreement needs igraph; install it with: pip install 'vc-eval[clustering]'."
        ) from error
    import random

    i, j, weight = neighbour_graph(profile_pg)
    graph = igraph.Graph(n=len(profile_pg), edges=np.stack([i, j], axis=1).tolist())
    igraph.set_random_number_generator(random.Random(seed))
    try:
        clusters = graph.community_leiden(
            objective_function="modularity", weights=weight.tolist(), resolution=resolution, n_iterations=2
        )
    finally:
        igraph.set_random_number_generator(random)
    return np.array(clusters.membership)


def neighbour_graph(
    profile_pg: np.ndarray, n_neighbours: int = N_NEIGHBOURS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges (i, j, weight), i < j, of nearest neighbours: 1 at the nearest, falling off so that weights sum to log2 k.

    The weights of both ends are joined as a + b - ab.

    References:
        McInnes, Healy and Melville (2018), UMAP, section 3.1.
    """
    n = len(profile_pg)
    k = min(n_neighbours, n - 1)
    away = cdist(profile_pg, profile_pg)
    np.fill_diagonal(away, -1.0)  # the item itself comes first even where profiles repeat
    near = np.argsort(away, axis=1, kind="stable")[:, :k]
    distance = np.maximum(np.take_along_axis(away, near, axis=1), 0.0)
    weight = np.zeros((n, n))
    for p in range(n):
        others, d = near[p, 1:], distance[p, 1:]
        positive = d[d > 0]
        nearest = positive.min() if positive.size else 0.0
        excess = np.maximum(d - nearest, 0)
        low, high = 0.0, np.inf
        width = 1.0
        for _ in range(64):
            total = np.exp(-excess / width).sum()
            if abs(total - np.log2(k)) < 1e-5:
                break
            low, high = (low, width) if total > np.log2(k) else (width, high)
            width = (low + high) / 2 if np.isfinite(high) else width * 2
        width = max(width, 1e-3 * (d.mean() if nearest > 0 else distance.mean()), 1e-12)
        weight[p, others] = np.exp(-excess / width)
    weight = weight + weight.T - weight * weight.T
    i, j = np.nonzero(np.triu(weight, 1))
    return i, j, weight[i, j]


def adjusted_mutual_information(a_n: np.ndarray, b_n: np.ndarray) -> float:
    """Mutual information above that of random clusterings of the same sizes, over the mean entropy above it; 1 if equal.

    References:
        Vinh, Epps and Bailey (2010), J. Mach. Learn. Res. 11.
    """
    _, a = np.unique(a_n, return_inverse=True)
    _, b = np.unique(b_n, return_inverse=True)
    n = a.size
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1)
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    if rows.size == columns.size and rows.size in (1, n):
        return 1.0
    both = table[table > 0]
    information = float((both / n * np.log(both * n / np.outer(rows, columns)[table > 0])).sum())
    expected = 0.0
    log_factorial = scipy.special.gammaln(np.arange(n + 2) + 1.0)
    for x in rows.astype(int):
        for y in columns.astype(int):
            shared = np.arange(max(1, x + y - n), min(x, y) + 1)
            chance = np.exp(
                log_factorial[x] + log_factorial[y] + log_factorial[n - x] + log_factorial[n - y] - log_factorial[n]
                - log_factorial[shared] - log_factorial[x - shared] - log_factorial[y - shared]
                - log_factorial[n - x - y + shared]
            )  # fmt: skip
            expected += float((shared / n * np.log(n * shared / (x * y)) * chance).sum())
    entropy = [-(s / n * np.log(s / n)).sum() for s in (rows, columns)]
    room = float(np.mean(entropy)) - expected
    if abs(room) < 1e-15:
        return 1.0 if abs(information - expected) < 1e-15 else 0.0
    return (information - expected) / room
