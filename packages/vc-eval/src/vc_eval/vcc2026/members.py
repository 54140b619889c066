"""The six members of the 2026 rule, on two measured sides (docs/metrics.md#vcc2026).

Every member that looks at single genes leaves the perturbation's own target out; discrimination leaves all targets of
the panel out. Undefined values are NaN. Nothing here reads cells.
"""

from dataclasses import dataclass

import numpy as np

from vc_eval.errors import VcEvalError
from vc_eval.vcc2026.sides import BULK_TARGET_SUM, MeasuredSide, RealSide

SIGNIFICANT = 0.05  # strict bound on q, in float64
PURITY = 0.9  # share of right signs down to which reach counts
MIN_GENES = 10  # real significant genes below which the fold change error is left out


@dataclass(frozen=True, kw_only=True)
class Expression:
    """The terms of the debiased squared error, each `[p]`, per gene."""

    unbiased_p: np.ndarray
    """Squared distance of prediction and truth minus both sampling errors."""
    capped_p: np.ndarray
    """The same with the prediction's sampling error capped and bounded (N)."""
    distance_p: np.ndarray
    """Squared distance of truth and control minus both sampling errors (D)."""
    mass_ratio_p: np.ndarray
    """expm1 mass of the real profile over 50,000: near 1 by construction."""
    credit: float
    """Share of the claimed sampling error that the spread of predictions supports (rho)."""


def pds_cosine(predicted: MeasuredSide, real: RealSide) -> np.ndarray:
    """`[p]` 1 - rank / (N - 1) of the own real delta by cosine distance; ties midrank, a zero delta is at distance 1.

    Raises:
        VcEvalError: If every gene is the target of some perturbation.
    """
    kept_g = np.ones(real.genes.size, bool)
    kept_g[real.target_p[real.target_p >= 0]] = False
    if not kept_g.any():
        raise VcEvalError("pds_cosine: every gene is the target of a perturbation; no gene is left to compare.")
    a_pg = (predicted.bulk_pg - predicted.origin_g)[:, kept_g]
    b_pg = (real.bulk_pg - real.origin_g)[:, kept_g]
    n = len(a_pg)
    if n == 1:
        return np.ones(1)
    norms = np.sqrt(np.einsum("pg,pg->p", a_pg, a_pg))[:, None] * np.sqrt(np.einsum("pg,pg->p", b_pg, b_pg))[None, :]
    cosine = np.divide(a_pg @ b_pg.T, norms, out=np.zeros_like(norms), where=norms != 0)
    distance = np.clip(1 - cosine, 0, 2)
    own = np.diagonal(distance)[:, None]
    rank = (distance < own).sum(axis=1) + ((distance == own).sum(axis=1) - 1) / 2
    return 1 - rank / (n - 1)


def expression_terms(predicted: MeasuredSide, real: RealSide) -> Expression:
    """Debiased squared errors of bulk profiles; the member itself is `expression_ratio`."""
    n, n_genes = real.bulk_pg.shape
    rows = np.flatnonzero(real.target_p >= 0)
    own = real.target_p[rows]
    genes_p = np.full(n, float(n_genes))
    genes_p[rows] -= 1

    def squared(a_pg: np.ndarray, b_pg: np.ndarray) -> np.ndarray:
        difference = a_pg - b_pg
        total = np.einsum("pg,pg->p", difference, difference)
        total[rows] -= difference[rows, own] ** 2
        return total

    error_p = squared(predicted.bulk_pg, real.bulk_pg) - real.jackknife_p
    effect_p = squared(real.bulk_pg, np.broadcast_to(real.origin_g, real.bulk_pg.shape))
    claimed_p = np.minimum(predicted.jackknife_p, real.jackknife_p)
    weight_p = np.divide(1.0, genes_p, out=np.zeros(n), where=genes_p > 0)
    claim = float((claimed_p * weight_p).sum())
    credit = min(1.0, _spread(predicted.bulk_pg, weight_p, rows, own) / claim) if claim > 0 else 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        return Expression(
            unbiased_p=(error_p - predicted.jackknife_p) / genes_p,
            capped_p=(error_p - credit * claimed_p) / genes_p,
            distance_p=(effect_p - real.jackknife_p - real.control_jackknife) / genes_p,
            mass_ratio_p=np.expm1(real.bulk_pg).sum(axis=1) / BULK_TARGET_SUM,
            credit=credit,
        )


def _spread(profile_pg: np.ndarray, weight_p: np.ndarray, rows: np.ndarray, own: np.ndarray) -> float:
    """Weighted spread of predicted profiles around their mean, own targets left out; needs two profiles per gene (B)."""
    deviation_pg = profile_pg - profile_pg.mean(axis=0)
    first_g = weight_p @ deviation_pg
    second_g = weight_p @ deviation_pg**2
    total_g = np.full(profile_pg.shape[1], weight_p.sum())
    count_g = np.full(profile_pg.shape[1], float(len(profile_pg)))
    dropped = deviation_pg[rows, own]
    np.subtract.at(first_g, own, weight_p[rows] * dropped)
    np.subtract.at(second_g, own, weight_p[rows] * dropped**2)
    np.subtract.at(total_g, own, weight_p[rows])
    np.subtract.at(count_g, own, 1)
    used = (count_g >= 2) & (total_g > 0)
    return float(np.maximum(second_g[used] - first_g[used] ** 2 / total_g[used], 0).sum())


def expression_ratio(terms: Expression) -> float:
    """Sum of N over sum of D over perturbations with both; NaN where the truth shows no effect beyond its noise."""
    used = np.isfinite(terms.capped_p) & np.isfinite(terms.distance_p)
    total = float(terms.distance_p[used].sum())
    return float(terms.capped_p[used].sum()) / total if total > 0 else float("nan")


def significant(side: MeasuredSide, real: RealSide) -> np.ndarray:
    """`[p, g]` bool: q < 0.05, the perturbation's own target left out if the real side tests it."""
    with np.errstate(invalid="ignore"):
        called_pg = side.q_value_pg < SIGNIFICANT
    rows = np.flatnonzero(real.target_p >= 0)
    rows = rows[real.tested_g[real.target_p[rows]]]
    called_pg[rows, real.target_p[rows]] = False
    return called_pg


def _adjudicable(real: RealSide) -> np.ndarray:
    return ~np.isnan(real.lfc_pg) & (real.lfc_pg != 0)


def _right_sign(predicted: MeasuredSide, real: RealSide) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return _adjudicable(real) & (np.sign(predicted.lfc_pg) == np.sign(real.lfc_pg))


def direction_fidelity(predicted: MeasuredSide, real: RealSide) -> np.ndarray:
    """`[p]` calls with the right sign over max(calls, real calls); NaN where neither side calls a gene."""
    called_pg = significant(predicted, real) & _adjudicable(real)
    right_p = (called_pg & _right_sign(predicted, real)).sum(axis=1)
    most_p = np.maximum(called_pg.sum(axis=1), significant(real, real).sum(axis=1))
    with np.errstate(invalid="ignore"):
        return np.where(most_p > 0, right_p / most_p, np.nan)


def direction_reach(predicted: MeasuredSide, real: RealSide) -> np.ndarray:
    """`[p]` depth k* over the number of real significant genes; NaN where there is none.

    Real significant genes are put in the order of the prediction's confidence (p value, then |log2 fold change|
    descending, then gene name: q never decreases with p, so this is also the order by q, called genes first). k* is the
    deepest k at which at least 90 % of the first k genes with a real direction have the right sign.
    """
    pool_pg = significant(real, real)
    n_real = pool_pg.sum(axis=1)
    joined_pg = pool_pg & predicted.tested_g & _adjudicable(real)
    right_pg = _right_sign(predicted, real)
    name_rank = np.argsort(np.argsort(real.genes, kind="stable"))
    reach_p = np.full(len(pool_pg), np.nan)
    for p in np.flatnonzero(n_real > 0):
        pool = np.flatnonzero(joined_pg[p])
        order = np.lexsort((name_rank[pool], -np.abs(predicted.lfc_pg[p, pool]), predicted.p_value_pg[p, pool]))
        purity = np.cumsum(right_pg[p, pool[order]]) / np.arange(1, pool.size + 1)
        deep = np.flatnonzero(purity >= PURITY)
        reach_p[p] = (deep[-1] + 1 if deep.size else 0) / n_real[p]
    return reach_p


def sig_jaccard(predicted: MeasuredSide, real: RealSide) -> np.ndarray:
    """`[p]` shared over all genes called by either side; 1 where neither calls a gene."""
    a_pg, b_pg = significant(predicted, real), significant(real, real)
    union_p = (a_pg | b_pg).sum(axis=1)
    return np.divide((a_pg & b_pg).sum(axis=1), union_p, out=np.ones(len(union_p)), where=union_p > 0)


def lfc_nmae(predicted_lfc_pg: np.ndarray, real: RealSide, against_pg: np.ndarray | None = None) -> np.ndarray:
    """`[p]` mean |predicted - real| over mean |real| log2 fold change of real significant genes with a finite one.

    NaN below 10 such genes. A predicted value that is not finite (also: not tested) counts as no change.

    Args:
        predicted_lfc_pg: `[p, g]` predicted values.
        real: The side that says which genes count and gives the denominator.
        against_pg: `[p, g]` what the prediction is compared with; default is the real side itself. The replicate
            reference compares two halves with the genes and denominator of the whole.
    """
    used_pg = significant(real, real) & np.isfinite(real.lfc_pg)
    against_pg = real.lfc_pg if against_pg is None else np.where(np.isfinite(against_pg), against_pg, 0.0)
    predicted_pg = np.where(np.isfinite(predicted_lfc_pg), predicted_lfc_pg, 0.0)
    n = used_pg.sum(axis=1)
    error = np.where(used_pg, np.abs(predicted_pg - against_pg), 0.0).sum(axis=1)
    size = np.where(used_pg, np.abs(real.lfc_pg), 0.0).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((n >= MIN_GENES) & (size > 0), error / size, np.nan)
