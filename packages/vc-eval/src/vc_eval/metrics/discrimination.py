"""Whether a prediction can be told from the other perturbations of its cell line.

Distances are squared Euclidean between predicted and measured deltas, over all genes but those perturbed in the row.
"""

import numpy as np

from vc_eval.metrics.pairwise import distances
from vc_eval.metrics.registry import Metric

SOURCE, ALONE = "docs/metrics.md#profile-suite", "no other condition in the cell line"


def _accuracy(name: str, title: str, definition: str, *, headline: bool = False, also: str = "") -> Metric:
    return Metric(
        name=name, title=title, direction="higher", best=1.0, chance="0.5", unit="share of other conditions",
        definition=definition, reference=SOURCE + also, excludes_target=True, headline=headline,
        undefined=ALONE,
    )  # fmt: skip


def _top1(name: str, title: str, definition: str, *, excludes_target: bool = True, also: str = "") -> Metric:
    return Metric(
        name=name, title=title, direction="higher", best=1.0, chance="1/N, N conditions of the cell line",
        unit="share of conditions", definition=definition, reference=SOURCE + also,
        excludes_target=excludes_target, undefined=ALONE,
    )  # fmt: skip


METRICS = (
    _accuracy(
        "centroid_accuracy", "Centroid accuracy",
        "Share of the other measured conditions of the cell line that are farther from the prediction than its own; ties "
        "count half.",
        headline=True, also="; Systema 2025",
    ),
    _top1(
        "centroid_top1", "Nearest centroid is the own",
        "1 if the own measured condition is the nearest, shared among ties.", also=" (the published centroid accuracy)",
    ),
    _top1(
        "centroid_top1_biojepa", "Nearest centroid is the own, target kept",
        "1 if the own measured delta is the nearest by squared distance over all genes, shared among ties.",
        excludes_target=False,
    ),
    _accuracy(
        "centroid_accuracy_cosine", "Centroid accuracy, cosine",
        "Centroid accuracy by cosine after the mean training delta is subtracted from both sides.",
    ),
    _top1(
        "centroid_top1_cosine", "Nearest centroid is the own, cosine",
        "Top-1 centroid accuracy by cosine after the mean training delta is subtracted from both sides.",
    ),
)  # fmt: skip


def centroid_scores(
    predicted_pg: np.ndarray, measured_pg: np.ndarray, excluded_pg: np.ndarray, *, cosine: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Centroid accuracy (Systema) and top-1 accuracy per condition, each `[p]`; NaN with a single condition.

    Args:
        predicted_pg: `[p, g]` predicted deltas of one cell line.
        measured_pg: `[p, g]` measured deltas, same rows.
        excluded_pg: `[p, g]` bool; genes left out of row p.
        cosine: Cosine instead of squared Euclidean distance; a zero vector is at distance 1. Subtract the mean
            training delta from both sides first, or the shared response decides.
    """
    n = len(measured_pg)
    if n < 2:
        return np.full(n, np.nan), np.full(n, np.nan)
    if cosine:
        distance = _cosine_distance(predicted_pg, measured_pg, excluded_pg)
    else:
        distance = distances(predicted_pg, measured_pg, "sqeuclidean")
        for p, g in zip(*np.nonzero(excluded_pg), strict=True):
            distance[p] -= (predicted_pg[p, g] - measured_pg[:, g]) ** 2
    own = np.diagonal(distance)[:, None]
    farther, equal = (distance > own).sum(axis=1), (distance == own).sum(axis=1)
    accuracy = (farther + (equal - 1) / 2) / (n - 1)
    return accuracy, np.where(farther + equal == n, 1 / equal, 0.0)


def _cosine_distance(predicted_pg: np.ndarray, measured_pg: np.ndarray, excluded_pg: np.ndarray) -> np.ndarray:
    """`[p, q]` 1 - cosine, the genes excluded in row p left out of both vectors."""
    a = np.where(excluded_pg, 0.0, predicted_pg)
    square = np.square(measured_pg).sum(axis=1) - excluded_pg.astype(float) @ np.square(measured_pg).T
    norm = np.linalg.norm(a, axis=1)[:, None] * np.sqrt(np.maximum(square, 0))
    return 1 - np.divide(a @ measured_pg.T, norm, out=np.zeros_like(norm), where=norm > 0)
