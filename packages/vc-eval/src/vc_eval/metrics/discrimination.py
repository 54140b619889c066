"""Whether a prediction can be told from the other perturbations of its cell line.

Distances are squared Euclidean between predicted and measured deltas, over all genes but those perturbed in the row.
"""

import numpy as np
from scipy.spatial.distance import cdist

from vc_eval.metrics.registry import Metric

METRICS = (
    Metric(
        name="centroid_accuracy", title="Centroid accuracy", direction="higher", best=1.0, chance="0.5",
        unit="share of other conditions",
        definition="Share of the other measured conditions of the cell line that are farther from the prediction than "
        "its own; ties count half.",
        reference="metrics.md D9, E2; Systema 2025", excludes_target=True, headline=True,
        undefined="no other condition in the cell line",
    ),
    Metric(
        name="centroid_top1", title="Nearest centroid is the own", direction="higher", best=1.0,
        chance="1/N, N conditions of the cell line", unit="share of conditions",
        definition="1 if the own measured condition is the nearest, shared among ties.",
        reference="metrics.md D9 (the published centroid accuracy)", excludes_target=True,
        undefined="no other condition in the cell line",
    ),
)  # fmt: skip


def centroid_scores(
    predicted_pg: np.ndarray, measured_pg: np.ndarray, excluded_pg: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Centroid accuracy (Systema) and top-1 accuracy per condition, each `[p]`; NaN with a single condition.

    Args:
        predicted_pg: `[p, g]` predicted deltas of one cell line.
        measured_pg: `[p, g]` measured deltas, same rows.
        excluded_pg: `[p, g]` bool; genes left out of row p.
    """
    n = len(measured_pg)
    if n < 2:
        return np.full(n, np.nan), np.full(n, np.nan)
    distance = cdist(predicted_pg, measured_pg, "sqeuclidean")
    for p, g in zip(*np.nonzero(excluded_pg), strict=True):
        distance[p] -= (predicted_pg[p, g] - measured_pg[:, g]) ** 2
    own = np.diagonal(distance)[:, None]
    farther, equal = (distance > own).sum(axis=1), (distance == own).sum(axis=1)
    accuracy = (farther + (equal - 1) / 2) / (n - 1)
    return accuracy, np.where(farther + equal == n, 1 / equal, 0.0)
