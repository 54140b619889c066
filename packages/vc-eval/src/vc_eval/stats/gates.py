"""The gates that a model has to pass on one screen before the README may claim anything of it.

Every gate compares with the baseline that was best on training conditions, so that nothing is chosen by its score on
held-out ones, and every number stands beside its interval.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vc_eval.stats.differences import KEYS, Estimate, calibrated, compare, resampled

if TYPE_CHECKING:
    import pandas as pd

COVERAGE, RANK = 0.05, 0.2  # largest coverage error, smallest correlation of predicted with true error
BEAT_BASELINE, BEAT_NOTHING = 0.5, 0.8  # smallest beat rates
SYNERGISTIC = 1 / 3  # of the simulator's pairs, those with the largest true interaction


@dataclass(frozen=True)
class Names:
    """What the models are called in the scores.

    Attributes:
        model: The model that is judged.
        null: Its run with shuffled labels.
        nameless: The same estimator where nothing tells conditions of one line and number of targets apart.
        half: One half of the cells predicts the other.
        truth: The simulator's true effects.
    """

    model: str
    null: str
    nameless: str
    half: str
    truth: str


@dataclass(frozen=True)
class Verdict:
    """One gate.

    Attributes:
        gate: What is asked.
        passed: Whether it holds; None where the screen cannot tell.
        measured: The numbers.
    """

    gate: str
    passed: bool | None
    measured: str


def judge(scores: "pd.DataFrame", validation: "pd.DataFrame", names: Names, *, shuffled: bool) -> list[Verdict]:
    """All gates of one screen.

    Args:
        scores: One row per held-out condition, split, model and seed: `split`, `cell_line`, `perturbation`, `model`,
            `pearson_delta`, `mse_delta`, `pearson_other` (with effects predicted for other conditions), `noise`,
            `planned_noise`, `predicted_error`, `coverage_0..8`, `planned_coverage_0..8`, and `synergy` if simulated.
            The model `no_change` has to be among them, and `additive` where there are combinations.
        validation: One row per baseline: out-of-fold `pearson_delta` and `mse_delta` on training conditions.
        names: What the models are called.
        shuffled: Whether there was anything to shuffle: two conditions of one line and number of targets.
    """
    best = {
        "pearson_delta": str(validation["pearson_delta"].idxmax()),
        "mse_delta": str(validation["mse_delta"].idxmin()),
    }
    return [
        *_against_best(scores, names, best),
        *_pairs(scores, names),
        *_beat_rates(scores, names, best["mse_delta"]),
        *_doubt(scores, names),
        _null_run(scores, names, shuffled),
    ]


def wins(scores: "pd.DataFrame", model: str, other: str) -> "pd.Series":
    """1 for each held-out condition that the model predicts with a smaller squared error than the other, else 0."""
    wide = (
        scores.groupby([*KEYS, "model"])["mse_delta"].mean().unstack("model").reindex(columns=[model, other]).dropna()
    )
    return (wide[model] < wide[other]).astype(float)


def above_noise(scores: "pd.DataFrame") -> "pd.Series":
    """1 for each held-out condition whose measured effect is larger than the noise of measuring it, else 0."""
    own = scores[scores["model"] == "no_change"].groupby(KEYS)[["mse_delta", "noise"]].mean().dropna()
    return (own["noise"] < own["mse_delta"]).astype(float)


def _against_best(scores: "pd.DataFrame", names: Names, best: dict[str, str]) -> list[Verdict]:
    """Not worse and better than the best baseline, by correlation and by squared error."""
    verdicts = []
    for metric, label, scale in (("pearson_delta", "Pearson delta", 1), ("mse_delta", "MSE", 1000)):
        gain, lower, upper, n = compare(scores, metric, best[metric], names.model)
        text = f"against {best[metric]} {_gain(gain, lower, upper, scale)}"
        verdicts.append(Verdict(f"{label} not worse", None if n == 0 else upper >= 0, text))
        for ceiling, called in ((names.half, "half the cells"), (names.truth, "the true effect")):
            gain, low, high, n_known = compare(scores, metric, best[metric], ceiling)
            text += f"; {called} {_gain(gain, low, high, scale)}" if n_known else ""
        verdicts.append(Verdict(f"{label} better", None if n == 0 else lower > 0, text))
    return verdicts


def _pairs(scores: "pd.DataFrame", names: Names) -> list[Verdict]:
    """Combinations against the sum of their parts; among simulated ones also those that interact most."""
    pairs = scores[scores["perturbation"].str.contains("+", regex=False)]
    groups = [("pairs not worse than additive", pairs)]
    if "synergy" in scores and len(pairs):
        own = pairs[pairs["model"] == names.model]
        cut = own["synergy"].quantile(1 - SYNERGISTIC)
        groups.append(("synergistic pairs better than additive", pairs[pairs["synergy"] >= cut]))
    verdicts = []
    for gate, some in groups:
        if not len(some):
            verdicts.append(Verdict(gate, None, "no pairs"))
            continue
        found = {metric: compare(some, metric, "additive", names.model) for metric in ("pearson_delta", "mse_delta")}
        passed = [lower > 0 if "better" in gate else upper >= 0 for _, lower, upper, _ in found.values()]
        text = f"{found['mse_delta'][3]} held out; Pearson {_gain(*found['pearson_delta'][:3])}, "
        verdicts.append(Verdict(gate, all(passed), text + f"MSE x 1000 {_gain(*found['mse_delta'][:3], 1000)}"))
    return verdicts


def _beat_rates(scores: "pd.DataFrame", names: Names, baseline: str) -> list[Verdict]:
    """The share of conditions with a smaller squared error than the best baseline, and than no change."""
    rate, text = _rate(wins(scores, names.model, baseline))
    verdicts = [Verdict("beats the best baseline in 50 %", rate >= BEAT_BASELINE, f"{text} of conditions")]
    rate, text = _rate(wins(scores, names.model, "no_change"))
    # Neither is a ceiling: half the cells are noisier than a model, and where genes share noise an effect may be real
    # without being larger than its noise. The simulator's true effect is one.
    _, half = _rate(wins(scores, names.half, "no_change"))
    text += f"; effect larger than its noise {_rate(above_noise(scores))[1]}, half the cells win {half}"
    if names.truth in set(scores["model"]):
        text += f", the true effect {_rate(wins(scores, names.truth, 'no_change'))[1]}"
    verdicts.append(Verdict("beats no_change in 80 %", rate >= BEAT_NOTHING, text))
    return verdicts


def _doubt(scores: "pd.DataFrame", names: Names) -> list[Verdict]:
    """Whether intervals hold what they promise, and whether predicted errors rank the true ones."""
    ((error, lower, upper), planned), ranks = calibrated(scores, names.model)
    text = f"{error:.3f} [{lower:.3f}, {upper:.3f}]; intervals for planned numbers of cells "
    coverage = Verdict(
        "coverage error at most 0.05", error <= COVERAGE, text + "{:.3f} [{:.3f}, {:.3f}]".format(*planned)
    )
    alone, total, planned_noise, less_noise = ranks
    rank = Verdict(
        "predicted error ranks the true one, at least 0.2",
        alone[0] >= RANK if np.isfinite(alone[0]) else None,
        f"{_rank(alone)}; with the noise of measuring the planned numbers of cells {_rank(total)} (that noise alone "
        f"{_rank(planned_noise)}); against the error less the noise {_rank(less_noise)}",
    )
    return [coverage, rank]


def _null_run(scores: "pd.DataFrame", names: Names, shuffled: bool) -> Verdict:
    """A run on shuffled labels may not know more than one without names, nor more of a condition than of another."""
    gate = "null run like nameless conditions"
    gain, lower, upper, n = compare(scores, "pearson_delta", names.nameless, names.null)
    own = scores[scores["model"] == names.null].groupby(KEYS)[["pearson_delta", "pearson_other"]].mean().dropna()
    own = own["pearson_delta"] - own["pearson_other"]
    if not shuffled or n == 0 or not len(own):
        return Verdict(gate, None, "nothing to shuffle or to compare")
    known = resampled(own)
    text = f"Pearson {_gain(gain, lower, upper)} over nameless conditions, {_gain(*known)} over predictions for others"
    return Verdict(gate, bool(lower <= 0 and known[1] <= 0), text)


def _rate(win: "pd.Series") -> tuple[float, str]:
    """A share of conditions, and the same with its interval."""
    if not len(win):
        return float("nan"), "not known"
    rate, lower, upper = resampled(win)
    return rate, f"{rate:.0%} [{lower:.0%}, {upper:.0%}]"


def _rank(rank: Estimate) -> str:
    return "{:.2f} [{:.2f}, {:.2f}]".format(*rank) if np.isfinite(rank[0]) else "not known"


def _gain(gain: float, lower: float, upper: float, scale: float = 1) -> str:
    return f"{gain * scale:+.3f} [{lower * scale:+.3f}, {upper * scale:+.3f}]"
