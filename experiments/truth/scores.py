"""How answers are scored: average precision, ranks of the right answer, correlation."""

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score


def pair_row(test: str, method: str, seed: int, said_n: np.ndarray, truth_n: np.ndarray, hit_n: np.ndarray) -> dict:
    """Average precision of hits (low scores), their share, and Spearman correlation."""
    rho = spearmanr(said_n, truth_n).statistic if np.ptp(said_n) > 0 else 0.0
    auprc = float(average_precision_score(hit_n, -said_n)) if hit_n.any() else np.nan
    return {"test": test, "method": method, "seed": seed, "auprc": auprc, "chance": hit_n.mean(), "spearman": rho,
            "n": len(truth_n)}  # fmt: skip


def rank_rows(test: str, method: str, score_qk: np.ndarray, right_qk: np.ndarray) -> list[dict]:
    """Rank of the first right entry for each query, beside what a random order would give.

    Args:
        test: What was asked.
        method: Who answered.
        score_qk: [q, k] scores, high is good; -inf leaves an entry out.
        right_qk: [q, k] bool, right entries.
    """
    rng, rows = np.random.default_rng(0), []
    for score_k, right_k in zip(score_qk, right_qk, strict=True):
        open_k = np.isfinite(score_k)
        if not (right_k & open_k).any():
            continue
        tied_k = score_k[open_k] + 1e-12 * rng.random(open_k.sum())
        order = np.argsort(-tied_k)
        first = int(np.flatnonzero(right_k[open_k][order])[0]) + 1
        share = 1 - (1 - min(10 / open_k.sum(), 1)) ** right_k[open_k].sum()
        rows.append({"test": test, "method": method, "rank": first, "n": int(open_k.sum()), "chance10": float(share)})
    return rows
