"""How sure an answer can be: false discoveries, calibrated chances, groups that cannot be told apart, verdicts."""

from typing import Literal

import numpy as np
from scipy.stats import norm, spearmanr

Verdict = Literal["supported", "extrapolation", "no support"]
FDR = 0.1
"""False discoveries that calls are held to, unless told otherwise."""


def false_discovery_rate(p_n: np.ndarray) -> np.ndarray:
    """[n] Benjamini-Hochberg adjusted p-values.

    Source: Benjamini and Hochberg, J. R. Stat. Soc. B 57 (1995) 289-300.
    """
    p_n = np.asarray(p_n, dtype=np.float64)
    order = np.argsort(p_n)
    steps = p_n[order] * len(p_n) / np.arange(1, len(p_n) + 1)
    q_n = np.empty_like(p_n)
    q_n[order] = np.minimum(np.minimum.accumulate(steps[::-1])[::-1], 1)
    return q_n


def expected_false_share(chance_n: np.ndarray) -> np.ndarray:
    """[n] share of false calls to expect when everything at least as likely as each entry is called.

    Args:
        chance_n: [n] calibrated probability that each entry is a hit.
    """
    order = np.argsort(-chance_n, kind="stable")
    share_n = np.empty(len(chance_n))
    share_n[order] = 1 - np.cumsum(chance_n[order]) / np.arange(1, len(chance_n) + 1)
    return share_n


def robust_p(value_n: np.ndarray) -> np.ndarray:
    """[n] one-sided p-values of large values against the bulk of all of them (median and median absolute deviation).

    The bulk is the null: most of a library does not answer the question. Source: the empirical null of Efron, J. Am.
    Stat. Assoc. 99 (2004) 96-104, with robust moments.
    """
    spread = 1.4826 * np.median(np.abs(value_n - np.median(value_n)))
    return norm.sf((value_n - np.median(value_n)) / max(float(spread), 1e-12))


def permutation_p(found: float | np.ndarray, null_m: np.ndarray) -> np.ndarray:
    """Share of null draws at least as large, with the observed one counted among them; never 0."""
    null_m = np.sort(np.asarray(null_m))
    above = len(null_m) - np.searchsorted(null_m, found, side="left")
    return (above + 1) / (len(null_m) + 1)


def association_p(predicted_n: np.ndarray, seen_n: np.ndarray) -> tuple[float, float]:
    """Spearman correlation of out-of-fold predictions with what was seen, and its one-sided p-value."""
    if np.ptp(predicted_n) == 0 or np.ptp(seen_n) == 0:
        return 0.0, 1.0
    result = spearmanr(predicted_n, seen_n, alternative="greater")
    return float(result.statistic), float(result.pvalue)


def told_apart(draws_dn: np.ndarray, order_n: np.ndarray, level: float = 0.9) -> np.ndarray:
    """[n] group of each entry: 1 for those that cannot be told from the first, then again from the first of the rest.

    Args:
        draws_dn: [d, n] paired draws of every entry's score (bootstrap or posterior).
        order_n: [n] entries, best first.
        level: A lead is one that holds in this share of the draws.
    """
    group_n = np.zeros(len(order_n), dtype=np.int64)
    group, leader = 1, order_n[0]
    for entry in order_n:
        if (draws_dn[:, leader] > draws_dn[:, entry]).mean() > level:
            group, leader = group + 1, entry
        group_n[entry] = group
    return group_n


def calibrate(score_n: np.ndarray, hit_n: np.ndarray, new_m: np.ndarray) -> np.ndarray:
    """[m] probability that a new entry is a hit, from out-of-fold scores and what they turned out to be.

    Isotonic regression, shrunk to the base rate where few scores were that high; what carries no information gives every
    entry the base rate.
    """
    from scipy.optimize import isotonic_regression

    order = np.argsort(score_n, kind="stable")
    bins = np.array_split(order, max(1, min(100, len(order) // 20)))
    centre_b = np.array([score_n[rows].mean() for rows in bins])
    base = (hit_n.sum() + 0.5) / (len(hit_n) + 1)
    # Ten entries at the base rate join every bin.
    rate_b = np.array([(hit_n[rows].sum() + 10 * base) / (len(rows) + 10) for rows in bins])
    weight_b = np.array([len(rows) + 10.0 for rows in bins])
    fitted_b = isotonic_regression(rate_b, weights=weight_b).x
    return np.interp(new_m, centre_b, fitted_b)
