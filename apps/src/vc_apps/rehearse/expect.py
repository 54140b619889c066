"""From rehearsed scores to what a real entry will score, and how often that was right in the rehearsals themselves."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

LEVEL = 0.9


@dataclass(frozen=True)
class Expectation:
    """What the next entry will score."""

    value: float
    lower: float
    upper: float
    covered: int
    """Rehearsals whose score lay in the interval made from the others."""
    tried: int


def expect(scores: "np.ndarray", variances: "np.ndarray", level: float = LEVEL) -> Expectation:
    """Expected score of an entry on perturbations not yet seen.

    Args:
        scores: [r] scores of the rehearsals.
        variances: [r] variance of each score over perturbations (bootstrap).
        level: Of the interval.
    """
    import numpy as np

    value, half = _interval(scores, variances, level)
    covered = tried = 0
    for at in range(len(scores) if len(scores) > 2 else 0):
        keep = np.arange(len(scores)) != at
        middle, width = _interval(scores[keep], variances[keep], level)
        covered += abs(scores[at] - middle) <= width
        tried += 1
    return Expectation(value, value - half, value + half, int(covered), tried)


def _interval(scores: "np.ndarray", variances: "np.ndarray", level: float) -> tuple[float, float]:
    """Middle and half width for one more draw: the larger of spread between and within rehearsals, and of the mean's own."""
    import numpy as np
    from scipy.stats import norm, t

    n = len(scores)
    within = float(np.nanmean(variances))
    half = norm.ppf((1 + level) / 2) * np.sqrt(within * (1 + 1 / n))
    if n > 2:
        half = max(half, t.ppf((1 + level) / 2, n - 1) * np.sqrt(scores.var(ddof=1) * (1 + 1 / n)))
    return float(scores.mean()), float(half)
