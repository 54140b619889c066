"""The Virtual Cell Challenge 2025 rule as cell-eval 0.8.2 computes it (docs/metrics.md#differential-expression).

Works on DE tables and mean profiles; reading cells is left to the caller. Where cell-eval leaves the order of ties to
chance, the order here is fixed and the interval over all orders is returned beside the value (docs/metrics.md#des).
"""

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vc_eval.metrics.pairwise import distances
from vc_eval.metrics.registry import Metric

if TYPE_CHECKING:
    from vc_eval.rank.de import DeTable

RULE = "vcc2025"
RULE_VERSION = "cell-eval-0.8.2"

_SOURCE = "docs/metrics.md#{}; cell-eval 0.8.2"
_RULE = (
    Metric(
        name="vcc2025/des", title="Differential expression score", direction="higher", best=1.0,
        chance="about k/G", unit="share of DE genes",
        definition="Of the k genes that are DE in truth, the share among the k strongest predicted DE genes. Predicted "
        "cells are tested as they are, each side against its own controls; on a split, cells are emitted from predicted "
        "means by one rule for all models and both sides are tested against evaluation controls. Chance is k/G for k DE genes of G called at random, 0 without calls.",
        reference=_SOURCE.format("des"), version=RULE_VERSION, headline=True,
    ),
    Metric(
        name="vcc2025/des_lower", title="DES, worst tie order", direction="higher", best=1.0, chance="as DES",
        unit="share of DE genes", definition="Smallest DES over all orders of ties.",
        reference=_SOURCE.format("des"), version=RULE_VERSION,
    ),
    Metric(
        name="vcc2025/des_upper", title="DES, best tie order", direction="higher", best=1.0, chance="as DES",
        unit="share of DE genes", definition="Largest DES over all orders of ties.",
        reference=_SOURCE.format("des"), version=RULE_VERSION,
    ),
    Metric(
        name="vcc2025/pds", title="Perturbation discrimination score", direction="higher", best=1.0,
        chance="0.5 + 1/(2N)", unit="share of conditions",
        definition="1 - rank/N of the own measured delta by L1 distance among the N of the cell line; ties midrank.",
        reference=_SOURCE.format("pds"), version=RULE_VERSION, excludes_target=True, headline=True,
        undefined="no other condition in the cell line",
    ),
    *(
        Metric(
            name=f"vcc2025/pds_{bound}", title=f"PDS, {order} tie order", direction="higher", best=1.0, chance="as PDS",
            unit="share of conditions", definition=f"{bound.capitalize()} end of the PDS over all orders of ties.",
            reference=_SOURCE.format("pds"), version=RULE_VERSION, excludes_target=True,
            undefined="no other condition in the cell line",
        )
        for bound, order in (("lower", "worst"), ("upper", "best"))
    ),
    Metric(
        name="vcc2025/mae", title="Mean absolute error", direction="lower", best=0.0, chance="as no_change",
        unit="log1p_cp10k", definition="Mean over genes of |predicted - measured mean expression|.",
        reference=_SOURCE.format("mae"), version=RULE_VERSION, headline=True,
    ),
    Metric(
        name="vcc2025/overall", title="Challenge score", direction="higher", best=1.0, chance="0",
        unit="scaled", definition="Mean of DES, PDS and MAE, each scaled from the cell-eval mean baseline (0) to perfect "
        "(1), clipped at 0.",
        reference=_SOURCE.format("mean-baseline"), version=RULE_VERSION, headline=True, aggregate="derived",
    ),
    *(
        Metric(
            name=f"vcc2025/{member}_scaled", title=f"{member.upper()}, scaled", direction="higher", best=1.0,
            chance="0", unit="scaled",
            definition=f"{member.upper()} scaled from the cell-eval mean baseline (0) to perfect (1), clipped at 0.",
            reference=_SOURCE.format("scaled-score"), version=RULE_VERSION, aggregate="derived",
        )
        for member in ("des", "pds", "mae")
    ),
)  # fmt: skip
_LEADERBOARD = tuple(
    replace(
        metric, name=metric.name.replace("vcc2025/", "vcc2025-leaderboard/"), title=f"{metric.title}, leaderboard of 2025",
        definition=f"{metric.definition} One FDR over all pairs; fold changes of zero or infinity are 1/20 and 20.",
        reference="docs/metrics.md#leaderboard; cell-eval 0.6.6, pdex 0.1.27", version="cell-eval-0.6.6+pdex-0.1.27", headline=False,
    )
    for metric in _RULE
)  # fmt: skip
METRICS = (
    *_RULE,
    *_LEADERBOARD,
    Metric(
        name="emission/residual", title="Emission residual", direction="lower", best=0.0, chance="none",
        unit="log1p_cp10k",
        definition="Mean over genes of |emitted mean - predicted mean|: what the drawn control cells could not reach.",
        reference="vc_eval.cells.emission",
    ),
)  # fmt: skip


class DesResult(NamedTuple):
    """DES per perturbation, each `[p]`: the value in our tie order and the range over all tie orders."""

    value: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


class PdsResult(NamedTuple):
    """PDS per perturbation, each `[p]`: ties counted half, in favour, and against."""

    midrank: np.ndarray
    optimistic: np.ndarray
    pessimistic: np.ndarray


def differential_expression_score(
    real: "DeTable", predicted: "DeTable", rounding_p: np.ndarray | None = None
) -> DesResult:
    """Share of the k real DE genes among the k strongest predicted DE genes (`overlap_at_N`).

    The target gene is not excluded and the sign is not checked, as in the source. Predicted genes are ordered by
    float32 |log2 fold change| descending, then by gene position; keep genes in name order for invariance to gene order.
    No real or no predicted DE gene gives 0.

    Args:
        real: Tests of the real cells.
        predicted: Tests of the predicted cells, same rows and genes.
        rounding_p: `[p]` error that another program may make in a log2 fold change; sizes closer than twice that count
            as tied in the interval, never in the value.

    References:
        docs/metrics.md#des.
    """
    real_pg, called_pg = real.significant_pg, predicted.significant_pg
    size_pg = np.abs(predicted.lfc_pg.astype(np.float32))
    result = np.zeros((3, real_pg.shape[0]))
    for p in range(real_pg.shape[0]):
        k = int(real_pg[p].sum())
        called = np.flatnonzero(called_pg[p])
        if k == 0 or called.size == 0:
            continue
        hit = real_pg[p, called]
        if called.size <= k:
            result[:, p] = hit.sum() / k
            continue
        size = size_pg[p, called]
        cut = np.partition(size, called.size - k)[called.size - k]
        head, block = size > cut, size == cut
        slots = k - int(head.sum())
        result[0, p] = (hit[head].sum() + hit[np.flatnonzero(block)[:slots]].sum()) / k
        if rounding_p is not None and np.isfinite(cut):
            head = size > cut + 2 * rounding_p[p]
            block = ~head & (size >= cut - 2 * rounding_p[p])
            slots = k - int(head.sum())
        certain, tied_hits = int(hit[head].sum()), int(hit[block].sum())
        result[1, p] = (certain + max(0, slots - (int(block.sum()) - tied_hits))) / k
        result[2, p] = (certain + min(slots, tied_hits)) / k
    return DesResult(*result)


def perturbation_discrimination_score(
    predicted_delta_pg: np.ndarray, real_delta_pg: np.ndarray, target_p: np.ndarray, rounding: float = 0.0
) -> PdsResult:
    """1 - rank / N of a perturbation's own real delta among all real deltas, by L1 distance to its predicted delta.

    Args:
        predicted_delta_pg: `[p, g]` mean log1p minus the predicting side's own control mean.
        real_delta_pg: `[p, g]` mean log1p minus the real control mean, same rows and genes.
        target_p: `[p]` gene left out of row p (the gene named like the perturbation), -1 for none.
        rounding: Relative error that another program may make in a distance; distances closer than that count as tied
            in the interval, never in the midrank.

    Returns:
        Values in [1/N, 1]; an uninformative prediction averages 0.5 + 1/(2N).

    References:
        docs/metrics.md#pds.
    """
    n = real_delta_pg.shape[0]
    distance = distances(predicted_delta_pg, real_delta_pg, "cityblock")
    rows = np.flatnonzero(target_p >= 0)
    genes = target_p[rows]
    distance[rows] -= np.abs(predicted_delta_pg[rows, genes][:, None] - real_delta_pg[:, genes].T)
    own = np.diagonal(distance)[:, None]
    below, not_above = (distance < own).sum(1), (distance <= own).sum(1) - 1
    surely_below = (distance < own * (1 - rounding)).sum(1)
    maybe_below = (distance <= own * (1 + rounding)).sum(1) - 1
    return PdsResult(1 - (below + not_above) / (2 * n), 1 - surely_below / n, 1 - maybe_below / n)


def mean_absolute_error(predicted_pg: np.ndarray, real_pg: np.ndarray) -> np.ndarray:
    """`[p]` mean over genes of |predicted - real| mean log1p; no control and no gene left out (docs/metrics.md#mae)."""
    return np.abs(predicted_pg - real_pg).mean(axis=1)


def mean_baseline(profile_lg: np.ndarray) -> np.ndarray:
    """`[g]` the profile cell-eval's baseline repeats in every cell: unweighted mean over labels, control among them.

    Args:
        profile_lg: `[l, g]` mean log1p of each label of the training data, the control label included.

    References:
        docs/metrics.md#mean-baseline.
    """
    return profile_lg.mean(axis=0)


def scaled_score(user: np.ndarray, baseline: np.ndarray, best: float) -> np.ndarray:
    """Score from 0 (baseline or worse) to 1 (perfect), without an upper clip; NaN becomes 0.

    Args:
        user: Mean of a metric over perturbations, any shape.
        baseline: The same for the mean baseline.
        best: 0 for errors (1 - u/b), 1 for the others ((u - b) / (1 - b)).

    References:
        docs/metrics.md#scaled-score.
    """
    user, baseline = np.asarray(user, np.float64), np.asarray(baseline, np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        score = 1 - user / baseline if best == 0 else (user - baseline) / (1 - baseline)
    return np.maximum(np.nan_to_num(score, nan=0.0, posinf=np.inf, neginf=-np.inf), 0.0)


def overall_score(des: np.ndarray, pds: np.ndarray, mae: np.ndarray) -> np.ndarray:
    """Mean of the three scaled scores (docs/metrics.md#scaled-score)."""
    return (np.asarray(des) + np.asarray(pds) + np.asarray(mae)) / 3
