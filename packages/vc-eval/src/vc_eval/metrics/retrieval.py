"""Finding the perturbation behind a measured change among all predicted ones (docs/metrics.md#profile-suite).

Prediction-to-truth ranks (discrimination) and truth-to-prediction ranks (here) differ: one prediction that is near
everything helps the first only. Subtract the training mean from both sides first, or the shared response decides.
"""

import numpy as np

from vc_eval.metrics.ranks import cosine_matrix
from vc_eval.metrics.registry import family

KS = (1, 5, 10, 20, 50)


_metric = family(
    direction="higher", best=1.0, unit="share of queries", space="log1p_cp10k delta",
    reference="docs/metrics.md#profile-suite", aggregate="derived",
)  # fmt: skip

_BANKS = {
    "": "the bank holds every target once, its best entry",
    "_biojepa": "every entry of the bank counts, though only one is right",
}
METRICS = (
    *(
        metric
        for suffix, extra in _BANKS.items()
        for metric in (
            _metric(f"retrieval_mrr{suffix}", "Retrieval, reciprocal rank", f"Mean of 1/rank of the right prediction by "
                    f"cosine to the measured delta; ties midrank; {extra}.", "H_N/N", unit="reciprocal rank"),
            _metric(f"retrieval_mrr_skill{suffix}", "Retrieval, reciprocal rank above chance",
                    f"(MRR - H_N/N) / (1 - H_N/N); {extra}.", "0", unit="reciprocal rank"),
            _metric(f"retrieval_median_rank{suffix}", "Retrieval, median rank", f"Median rank of the right one; {extra}.",
                    "(N + 1)/2", direction="lower", best=1.0, unit="rank"),
            *(
                _metric(f"retrieval_recall_{k}{suffix}", f"Retrieval, recall at {k}",
                        f"Share of queries whose right prediction is among the first {k}; {extra}.", f"{k}/N")
                for k in KS
            ),
        )
    ),
    _metric("nir", "Farther real profiles", "Share of the other real profiles farther from the prediction than its own, "
            "by root mean square error; ties half.", "0.5", reference="docs/metrics.md#ranks; Miller et al. 2025", aggregate="mean",
            unit="share of other conditions", undefined="no other condition"),
    *(
        _metric(f"rank_{kind.lower()}", f"Rank among predictions, {kind}", f"Position of the own prediction among all "
                f"predictions by {kind} to a real profile, from 0 to 1; ties midrank.", "0.5", direction="lower", best=0.0,
                reference="docs/metrics.md#ranks; PerturBench", aggregate="mean", unit="rank over N - 1",
                undefined="no other condition")
        for kind in ("RMSE", "cosine")
    ),
)  # fmt: skip


def retrieval_ranks(
    query_qd: np.ndarray, bank_nd: np.ndarray, answer_q: np.ndarray, *, target_n: np.ndarray | None = None
) -> tuple[np.ndarray, int]:
    """Rank of the right entry for every query, 1-based, ties midrank.

    Args:
        query_qd: `[q, d]` measured deltas.
        bank_nd: `[n, d]` predicted deltas of every candidate, from one control state.
        answer_q: `[q]` position in the bank of the right entry.
        target_n: `[n]` target of each entry. With it, entries of one target become one candidate with their best
            similarity; without it, other entries of the right target count as wrong.

    Returns:
        (ranks `[q]`, number of candidates).
    """
    similarity = cosine_matrix(query_qd, bank_nd)
    if target_n is not None:
        names, code = np.unique(target_n, return_inverse=True)
        collapsed = np.full((len(query_qd), names.size), -np.inf)
        for n in range(code.size):
            np.maximum(collapsed[:, code[n]], similarity[:, n], out=collapsed[:, code[n]])
        similarity, answer_q = collapsed, code[answer_q]
    own = np.take_along_axis(similarity, np.asarray(answer_q)[:, None], axis=1)
    ranks = (similarity > own).sum(axis=1) + ((similarity == own).sum(axis=1) + 1) / 2
    return ranks, similarity.shape[1]


def retrieval_scores(rank_q: np.ndarray, n_candidates: int, suffix: str = "") -> dict[str, float]:
    """Reciprocal rank, its skill above chance, median rank and recall at K.

    Args:
        rank_q: `[q]` from `retrieval_ranks`.
        n_candidates: Candidates per query.
        suffix: "" or "_biojepa", by how the bank was made.
    """
    chance = float((1 / np.arange(1, n_candidates + 1)).sum() / n_candidates)
    mrr = float((1 / rank_q).mean())
    scores = {
        "retrieval_mrr": mrr,
        "retrieval_mrr_skill": (mrr - chance) / (1 - chance) if n_candidates > 1 else float("nan"),
        "retrieval_median_rank": float(np.median(rank_q)),
    }
    scores |= {f"retrieval_recall_{k}": float((rank_q <= k).mean()) for k in KS}
    return {f"{name}{suffix}": value for name, value in scores.items()}


def nir(predicted_pg: np.ndarray, real_pg: np.ndarray) -> np.ndarray:
    """`[p]` share of other real profiles farther from the prediction than its own; NaN with a single condition."""
    away = _squared(predicted_pg, real_pg)
    own = np.diagonal(away)[:, None]
    n = len(away)
    farther = (away > own).sum(axis=1) + ((away == own).sum(axis=1) - 1) / 2
    return farther / (n - 1) if n > 1 else np.full(n, np.nan)


def rank_among_predictions(predicted_pg: np.ndarray, real_pg: np.ndarray, *, cosine: bool = False) -> np.ndarray:
    """`[p]` midrank of the own prediction among all predictions for each real profile, from 0, over N - 1 or NaN.

    With N - 1 below, a shared prediction scores exactly 0.5 and the last place 1.
    """
    away = 1 - cosine_matrix(real_pg, predicted_pg) if cosine else _squared(real_pg, predicted_pg)
    own = np.diagonal(away)[:, None]
    n = len(away)
    rank = (away < own).sum(axis=1) + ((away == own).sum(axis=1) - 1) / 2
    return rank / (n - 1) if n > 1 else np.full(n, np.nan)


def _squared(a_pg: np.ndarray, b_qg: np.ndarray) -> np.ndarray:
    from scipy.spatial.distance import cdist

    return cdist(a_pg, b_qg, "sqeuclidean")
