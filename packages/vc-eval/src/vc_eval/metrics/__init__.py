"""Every metric, by name. One file per family; `beat/<baseline>` exists for every baseline."""

from vc_eval.metrics import (
    alignment,
    beat,
    challenge2025,
    challenge2026,
    combination,
    direction,
    discrimination,
    embedding,
    expression,
    full_profile,
    lists,
    mechanism,
    population,
    probes,
    profiles,
    ranking,
    reliability,
    retrieval,
    severity,
    trust,
    uncertainty,
    weighted,
)
from vc_eval.metrics.registry import Metric

FAMILIES = (
    expression, discrimination, challenge2025, uncertainty, challenge2026, full_profile, population, profiles, severity,
    direction, ranking, combination, retrieval, mechanism, reliability, probes, embedding, alignment, weighted, trust, lists,
)  # fmt: skip
REGISTRY: dict[str, Metric] = {metric.name: metric for family in FAMILIES for metric in family.METRICS}
HEADLINES = tuple(name for name, metric in REGISTRY.items() if metric.headline)


def get_metric(name: str) -> Metric:
    """The metric of that name.

    Raises:
        KeyError: Unknown name.
    """
    family, _, baseline = name.partition("/")
    if family in beat.FAMILIES:
        return beat.FAMILIES[family][0](baseline)
    return REGISTRY[name]
