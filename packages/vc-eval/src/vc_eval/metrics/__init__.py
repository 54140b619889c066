"""Every metric, by name. One file per family; `beat/<baseline>` exists for every baseline."""

from vc_eval.metrics import beat, challenge, discrimination, expression, uncertainty
from vc_eval.metrics.registry import Metric

REGISTRY: dict[str, Metric] = {
    metric.name: metric for family in (expression, discrimination, challenge, uncertainty) for metric in family.METRICS
}
HEADLINES = tuple(name for name, metric in REGISTRY.items() if metric.headline)


def get_metric(name: str) -> Metric:
    """The metric of that name.

    Raises:
        KeyError: Unknown name.
    """
    family, _, baseline = name.partition("/")
    if family == "beat":
        return beat.mse_metric(baseline)
    if family == "beat_pearson":
        return beat.pearson_metric(baseline)
    return REGISTRY[name]
