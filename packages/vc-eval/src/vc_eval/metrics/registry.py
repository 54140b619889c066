"""What a metric is: name, version, direction, best value, chance level, unit, source."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric. `version` moves when the definition moves."""

    name: str
    title: str
    definition: str
    direction: Literal["higher", "lower", "nearest"]
    """Which values are better; `nearest` means near `best`."""
    best: float
    chance: str
    """What a prediction without information gets, in words or as a number."""
    unit: str
    reference: str
    space: str = ""
    """What the values compared are: log1p_cp10k deltas, DE tables, embeddings; empty where the unit says it."""
    version: str = "1"
    excludes_target: bool = False
    """The perturbed gene itself is left out."""
    headline: bool = False
    correlation: bool = False
    """A correlation of sums: the only kind that Spearman-Brown may extrapolate (docs/metrics.md#ceilings)."""
    undefined: str = ""
    """Why a condition may have no value (NaN)."""
    aggregate: Literal["mean", "derived"] = "mean"
    """Mean over conditions, or a function of such means."""

    def gain(self, value: np.ndarray) -> np.ndarray:
        """The value turned so that greater is better."""
        if self.direction == "nearest":
            return -np.abs(value - self.best)
        return np.asarray(value) * (1 if self.direction == "higher" else -1)


def family(prefix: str = "", **shared: Any) -> Callable[..., Metric]:
    """A maker of the metrics of one family: `(name, title, definition, chance, source, **fields) -> Metric`.

    Args:
        prefix: Put before every name.
        shared: Fields of every metric of the family, unless a call gives its own. `source` is the code of a section and becomes
            the reference.
    """

    def metric(name: str, title: str, definition: str, chance: str, source: str = "", **fields: Any) -> Metric:
        given: dict[str, Any] = shared | ({"reference": _reference(source)} if source else {}) | fields
        return Metric(name=prefix + name, title=title, definition=definition, chance=chance, **given)

    return metric


def _reference(source: str) -> str:
    """A section's code, as written beside a metric, as an anchor of docs/metrics.md."""
    section = {"A": "vcc2025", "B": "vcc2026", "C": "full-profile", "D": "profile-suite"}.get(source[0], "controls")
    return f"docs/metrics.md#{section}"
