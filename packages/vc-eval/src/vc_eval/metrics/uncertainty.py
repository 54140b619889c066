"""Metrics of stated uncertainty; the arithmetic is in `vc_eval.metrics.calibration`."""

from vc_eval.metrics.registry import Metric

LEVELS = tuple(round(0.1 * k, 1) for k in range(1, 10))

METRICS = (
    Metric(
        name="calibration/coverage_error", title="Coverage error", direction="lower", best=0.0, chance="up to 0.5",
        unit="share of genes",
        definition="Mean over levels 0.1 to 0.9 of |share of measured deltas inside the interval - level|; the interval "
        "is the predicted one (as wide as the model states, else Gaussian), widened by measurement noise.",
        reference="docs/metrics.md#profile-suite", excludes_target=True, aggregate="derived",
    ),
    Metric(
        name="calibration/spearman", title="Predicted against realised error", direction="higher", best=1.0, chance="0",
        unit="rank correlation", definition="Spearman correlation over conditions of predicted sd and realised error.",
        reference="docs/metrics.md#profile-suite", excludes_target=True, aggregate="derived",
        undefined="fewer than 3 conditions",
    ),
    Metric(
        name="calibration/predicted_error", title="Predicted error", direction="lower", best=0.0, chance="none",
        unit="log1p_cp10k", definition="Root mean square over genes of the predicted sd.",
        reference="docs/metrics.md#profile-suite", excludes_target=True,
    ),
    Metric(
        name="calibration/supported", title="Inside the training support", direction="higher", best=1.0, chance="none",
        unit="share of conditions",
        definition="Share of conditions about which the model says that its training data speak; the others are flagged "
        "extrapolations.",
        reference="docs/contracts/predictions-v1.md", excludes_target=False,
    ),
    *(
        Metric(
            name=f"calibration/coverage_{level}", title=f"Coverage at {level}", direction="nearest", best=level,
            chance="none", unit="share of genes",
            definition=f"Share of measured deltas inside the central {level:.0%} interval; best is {level}.",
            reference="docs/metrics.md#profile-suite", excludes_target=True,
        )
        for level in LEVELS
    ),
)  # fmt: skip
