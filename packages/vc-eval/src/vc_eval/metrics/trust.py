"""What tells whether a metric, or a data set, can be trusted: spread, dynamic range, shared response (docs/metrics.md#systematic)."""

import numpy as np

from vc_eval.metrics.ranks import auroc, cosine_rows
from vc_eval.metrics.registry import Metric

METRICS = (
    Metric(
        name="dispersion_ratio", title="Spread of predictions", direction="nearest", best=1.0, chance="0 for one profile",
        unit="ratio", space="log1p_cp10k delta", aggregate="derived",
        definition="Sum of squared distances of predicted deltas from their mean over that of the real ones, sampling noise "
        "taken out of both.", reference="docs/metrics.md#weighted", undefined="no real spread beyond noise",
    ),
    Metric(
        name="dynamic_range_fraction", title="Dynamic range", direction="higher", best=1.0, chance="0",
        unit="share of the range", space="any metric", undefined="a control is missing",
        definition="How far a positive control (half of the cells) moves a metric from a negative one (the mean) towards "
        "the best value; near 0 the metric cannot tell them apart on these data.",
        reference="docs/metrics.md#ceilings; Miller et al. 2025",
    ),
    Metric(
        name="systematic_cosine", title="Shared response, cosine", direction="nearest", best=0.0, chance="0",
        unit="cosine", space="log1p_cp10k delta", definition="Cosine of a real delta with the mean delta; a property of the "
        "data.", reference="docs/metrics.md#systematic; Systema 2025", excludes_target=True,
    ),
    Metric(
        name="systematic_share", title="Shared response, share", direction="nearest", best=0.0, chance="1/N",
        unit="share of squared change", space="log1p_cp10k delta", aggregate="derived",
        definition="Share of the squared real deltas that the mean delta explains; a property of the data.",
        reference="docs/metrics.md#systematic; Systema 2025", excludes_target=True,
    ),
    Metric(
        name="phenotype_auroc", title="Two groups told apart", direction="higher", best=1.0, chance="0.5",
        unit="area under the curve", space="log1p_cp10k delta", aggregate="derived",
        definition="AUROC of separating two known groups of perturbations along the axis between their other members; "
        "compare with the same for real deltas.", reference="docs/metrics.md#systematic; Systema 2025", undefined="a group below 2",
    ),
)  # fmt: skip


def dispersion_ratio(
    predicted_pg: np.ndarray, real_pg: np.ndarray, *, predicted_noise_p: np.ndarray | None = None,
    real_noise_p: np.ndarray | None = None,
) -> float:  # fmt: skip
    """Spread of predicted over that of real deltas; 1 ideal, 0 collapse to one profile, above 1 inflated.

    Args:
        predicted_pg: `[p, g]` deltas.
        real_pg: `[p, g]` deltas.
        predicted_noise_p: `[p]` sampling variance of each predicted delta summed over genes; 0 for profiles.
        real_noise_p: `[p]` the same for the real ones; of p profiles, (p - 1)/p of it lies around their mean.
    """
    spreads = []
    for delta, noise in ((predicted_pg, predicted_noise_p), (real_pg, real_noise_p)):
        spread = np.square(delta - delta.mean(axis=0)).sum()
        if noise is not None:
            spread -= (len(delta) - 1) / len(delta) * np.sum(noise)
        spreads.append(float(spread))
    return spreads[0] / spreads[1] if spreads[1] > 0 else float("nan")


def dynamic_range_fraction(positive_p: np.ndarray, negative_p: np.ndarray, best: float) -> np.ndarray:
    """`[p]` share of the range from the negative control to the best value that the positive control covers.

    Args:
        positive_p: `[p]` value of a technical duplicate.
        negative_p: `[p]` value of the data set mean, or of no change for metrics of the change to the mean.
        best: Best value; 0 makes it an error: (negative - positive) / negative, otherwise (positive - negative) /
            (best - negative).

    Returns:
        Values in [-1, 1]; publish the median and the share above 0.
    """
    positive_p, negative_p = np.asarray(positive_p, np.float64), np.asarray(negative_p, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        if best == 0:
            value = (negative_p - positive_p) / (negative_p + 1e-6)
        else:
            value = (positive_p - negative_p) / (best - negative_p + 1e-6)
    return np.clip(value, -1, 1)


def interpolated_duplicate(half_pg: np.ndarray, mean_g: np.ndarray, q_value_pg: np.ndarray) -> np.ndarray:
    """`[p, g]` half-data profile where there is evidence of change, the data set mean elsewhere.

    A stronger positive control than the raw half at 50 to 100 cells: weight 1 - adjusted p on the half.

    Args:
        half_pg: `[p, g]` mean profiles of one half.
        mean_g: `[g]` mean over perturbations.
        q_value_pg: `[p, g]` adjusted p values, from that half alone, NaN counts as 1.
    """
    evidence = 1 - np.nan_to_num(q_value_pg, nan=1.0)
    return evidence * half_pg + (1 - evidence) * mean_g


def reference_shift(train_profile_pg: np.ndarray) -> np.ndarray:
    """`[g]` the reference of Systema: the mean over training perturbations of their mean profiles, each equal."""
    return train_profile_pg.mean(axis=0)


def systematic_variation(real_pg: np.ndarray, keep_pg: np.ndarray) -> tuple[np.ndarray, float]:
    """How much of the real change is shared: cosine of each delta with the mean `[p]`, and the share explained.

    Args:
        real_pg: `[p, g]` deltas.
        keep_pg: `[p, g]` bool.
    """
    kept = np.where(keep_pg, real_pg, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_g = np.nan_to_num(kept.sum(axis=0) / keep_pg.sum(axis=0))
    shared = np.where(keep_pg, mean_g, 0.0)
    total = np.square(kept).sum()
    share = 1 - np.square(kept - shared).sum() / total if total > 0 else float("nan")
    return cosine_rows(kept, shared), float(share)


def phenotype_auroc(delta_pg: np.ndarray, first_p: np.ndarray, second_p: np.ndarray) -> float:
    """AUROC of separating two groups of perturbations along the axis between the centroids of their other members.

    Args:
        delta_pg: `[p, g]` predicted or real deltas.
        first_p: `[p]` bool, members of the first group.
        second_p: `[p]` bool, members of the second group.
    """
    members = np.flatnonzero(first_p | second_p)
    if first_p.sum() < 2 or second_p.sum() < 2:
        return float("nan")
    scores = []
    for p in members:
        others = np.arange(len(delta_pg)) != p
        a, b = delta_pg[first_p & others].mean(axis=0), delta_pg[second_p & others].mean(axis=0)
        scores.append(float((delta_pg[p] - (a + b) / 2) @ (a - b)))
    return auroc(np.array(scores), first_p[members])
