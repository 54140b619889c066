"""Whether the strongest predicted genes are the strongest real ones (docs/metrics.md#profile-suite).

Equal sizes are ordered by gene position. The mean training effect is far above chance in all of these.
"""

import numpy as np

from vc_eval.metrics.ranks import top_k
from vc_eval.metrics.registry import family

KS = (10, 20, 50, 100)


_metric = family(direction="higher", best=1.0, unit="share of genes", space="log1p_cp10k delta", excludes_target=True)

METRICS = (
    *(
        _metric(f"precision_at_{k}", f"Precision at {k}", f"Share of the {k} genes with the largest predicted |delta| that "
                f"are among the {k} with the largest real one.", "K/G", "D11", undefined=f"fewer than {k} genes")
        for k in KS
    ),
    _metric("precision_at_20_over_random", "Precision at 20 over chance", "Precision at 20 times G/20.", "1", "D11",
            best=float("inf"), unit="fold"),
    _metric("precision_at_20_signed", "Precision at 20 with the right sign", "As precision at 20; a shared gene counts "
            "only with equal sign.", "K/2G", "D11"),
    _metric("precision_at_significant", "Precision at the number of significant genes", "Share of the really significant "
            "genes among as many of the largest predicted |delta|.", "K/G", "D11", undefined="no significant gene"),
    _metric("ndcg_at_20", "NDCG at 20", "Discounted gain of the 20 largest predicted |delta|, relevant if among the real "
            "20, over the best possible.", "about K/G, not 0", "D12", unit="gain"),
    _metric("ndcg_at_20_graded", "NDCG at 20, graded", "The same with the real |delta| as relevance.", "above K/G", "D12",
            unit="gain", undefined="no real change"),
    _metric("deg_jaccard", "Jaccard of changed genes", "Shared over all genes with |delta| of 0.25 or more on either "
            "side.", "about the share of changed genes", "D13", undefined="no changed gene on either side"),
    _metric("deg_jaccard_biojepa", "Jaccard of changed genes, target kept", "The same over all genes; undefined is "
            "skipped.", "about the share of changed genes", "D13", excludes_target=False,
            undefined="no changed gene on either side"),
)  # fmt: skip


def precision_at_k(
    predicted_pg: np.ndarray, real_pg: np.ndarray, keep_pg: np.ndarray, k: int, *, signed: bool = False
) -> np.ndarray:
    """`[p]` share of the k largest predicted |delta| that are among the k largest real ones; NaN below k genes.

    Args:
        predicted_pg: `[p, g]` deltas.
        real_pg: `[p, g]` deltas.
        keep_pg: `[p, g]` bool.
        k: Genes on each side; both sides agree trivially on fewer genes than that.
        signed: Count a shared gene only if both deltas have one sign.
    """
    a, b = _top_mask(predicted_pg, keep_pg, k), _top_mask(real_pg, keep_pg, k)
    both = a & b
    if signed:
        both &= np.sign(predicted_pg) == np.sign(real_pg)
    return np.where(keep_pg.sum(axis=1) >= k, both.sum(axis=1) / k, np.nan)


def over_random(precision_p: np.ndarray, keep_pg: np.ndarray, k: int) -> np.ndarray:
    """`[p]` precision over its expectation for a random order, k / G with G the kept genes."""
    return precision_p * keep_pg.sum(axis=1) / k


def precision_at_significant(predicted_pg: np.ndarray, significant_pg: np.ndarray, keep_pg: np.ndarray) -> np.ndarray:
    """`[p]` share of significant genes among as many of the largest predicted |delta|; NaN without any."""
    significant_pg = significant_pg & keep_pg
    order = top_k(np.where(keep_pg, np.abs(predicted_pg), -np.inf), predicted_pg.shape[1])
    found = np.cumsum(np.take_along_axis(significant_pg, order, axis=1), axis=1)
    n = significant_pg.sum(axis=1)
    hits = np.take_along_axis(found, np.maximum(n - 1, 0)[:, None], axis=1)[:, 0]
    return np.divide(hits, n, out=np.full(len(n), np.nan), where=n > 0)


def ndcg_at_k(
    predicted_pg: np.ndarray, real_pg: np.ndarray, keep_pg: np.ndarray, k: int = 20, *, graded: bool = False
) -> np.ndarray:
    """`[p]` sum rel_i / log2(i + 1) of the first k predicted genes over that of the best order.

    Args:
        predicted_pg: `[p, g]` deltas.
        real_pg: `[p, g]` deltas.
        keep_pg: `[p, g]` bool.
        k: Depth.
        graded: Relevance is the real |delta| instead of 1 for the k largest.
    """
    relevance = np.where(keep_pg, np.abs(real_pg), 0.0) if graded else _top_mask(real_pg, keep_pg, k).astype(float)
    discount = 1 / np.log2(np.arange(2, k + 2))
    order = top_k(np.where(keep_pg, np.abs(predicted_pg), -np.inf), k)
    gain = np.take_along_axis(relevance, order, axis=1) @ discount[: order.shape[1]]
    best = -np.sort(-relevance, axis=1)[:, :k] @ discount[: order.shape[1]]
    return np.divide(gain, best, out=np.full(len(gain), np.nan), where=best > 0)


def deg_jaccard(
    predicted_pg: np.ndarray, real_pg: np.ndarray, keep_pg: np.ndarray, threshold: float = 0.25
) -> np.ndarray:
    """`[p]` shared over all genes with |delta| at or above the threshold; NaN without any."""
    a, b = (np.abs(predicted_pg) >= threshold) & keep_pg, (np.abs(real_pg) >= threshold) & keep_pg
    union = (a | b).sum(axis=1)
    return np.divide((a & b).sum(axis=1), union, out=np.full(len(union), np.nan), where=union > 0)


def _top_mask(delta_pg: np.ndarray, keep_pg: np.ndarray, k: int) -> np.ndarray:
    mask = np.zeros(delta_pg.shape, bool)
    np.put_along_axis(mask, top_k(np.where(keep_pg, np.abs(delta_pg), -np.inf), k), True, axis=1)
    return mask & keep_pg
