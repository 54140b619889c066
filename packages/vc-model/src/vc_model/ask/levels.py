"""Which classes of the verdict can be told apart on a screen: neighbours are pooled until every difference is clear.

The classes have an order before any number is seen (`vc_model.ask.verdict.VERDICTS`). Of all neighbouring groups the pair
whose difference is least clear is pooled, again and again, until the better known group of every pair was better out of
fold by more than chance (Schell and Singh, The reduced monotonic regression method, JASA 1997). What is left rises by
construction on the data that it was made of; whether it rises on other data is measured in docs/results/support.md.
"""

import itertools
from collections.abc import Mapping

import numpy as np
from scipy.stats import t as student

from vc_model.ask.sample import Sample

LEVEL = 0.95  # two-sided, of the difference between neighbours


def tell_apart(samples: Mapping[int, Sample], level: float = LEVEL) -> list[tuple[tuple[int, ...], Sample]]:
    """Groups of classes, the best known first, each with its answers.

    Args:
        samples: Class -> out-of-fold answers of it; lower numbers are better known.
        level: Confidence of a difference from which on it counts.
    """
    groups: list[tuple[tuple[int, ...], Sample]] = [((kind,), samples[kind]) for kind in sorted(samples)]
    while len(groups) > 1:
        ratios = [clearness(better[1], worse[1], level) for better, worse in itertools.pairwise(groups)]
        at = int(np.argmin(ratios))
        if ratios[at] > 1:
            break
        (kinds, one), (more, other) = groups[at], groups[at + 1]
        groups[at : at + 2] = [((*kinds, *more), one.joined(other))]
    return groups


def clearness(better: Sample, worse: Sample, level: float = LEVEL) -> float:
    """Difference in accuracy over the half-width of its interval; above 1 it is clear, below 0 of the wrong sign.

    The interval counts perturbations, not answers: those in both groups count as pairs (cluster-robust variance, Student's
    t with the smaller group's number of perturbations).
    """
    (high, pull), (low, push) = better.truth(), worse.truth()
    n = min(better.n, worse.n)
    if n < 2:
        return 0.0
    sums = [pull.get(unit, 0.0) - push.get(unit, 0.0) for unit in pull.keys() | push.keys()]
    error = float(np.sqrt(np.sum(np.square(sums)) * n / (n - 1)))
    half = float(student.ppf((1 + level) / 2, n - 1)) * error
    return (high - low) / max(half, 1e-9)
