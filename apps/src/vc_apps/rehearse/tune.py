"""The emitter's knobs, chosen on training perturbations that the model did not see, for the rule that will be used."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vc_apps.rehearse.holdouts import hold_out_within
from vc_apps.rehearse.play import HeldOutCells, predict
from vc_apps.submit.settings import Rule

if TYPE_CHECKING:
    from vc_apps.submit.score import LocalScore

AMPLITUDES = (0.5, 0.75, 1.0, 1.25, 1.6)
DISPERSIONS = (0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Worth:
    """What one setting of one knob is worth, out of fold."""

    knob: str
    value: float
    score: float
    gain: float
    """Over the default of 1, the other knob as chosen so far."""
    lower: float
    upper: float


@dataclass(frozen=True)
class Tuned:
    """Chosen knobs and what every setting was worth."""

    amplitude: float
    dispersion: float
    worth: tuple[Worth, ...]


def tune(
    screen: Path,
    splits: Path,
    features: Path | None,
    model: str,
    *,
    rule: Rule,
    cells: int | None,
    seed: int,
    n_boot: int,
) -> Tuned:
    """Choose amplitude, then dispersion; a setting other than 1 is taken only if its gain's interval is clear of 0.

    Where settings on both sides of 1 are, none is taken.

    Args:
        screen: screen-v1.
        splits: The outer split; of it only training conditions are used.
        features: features-v1 or None.
        model: Whose predictions are emitted.
        rule: Whose score.
        cells: Cells of each condition.
        seed: Of everything.
        n_boot: Resamples behind the intervals.
    """
    with tempfile.TemporaryDirectory() as folder:
        inner = hold_out_within(splits, Path(folder) / "inner.json", test=1 / 3, seed=seed)
        file = predict(screen, inner, features, (model,), seed)[model]
        stage = HeldOutCells(screen, inner, rule=rule, cells=cells, seed=seed, n_boot=n_boot)
        scores: dict[tuple[float, float], LocalScore] = {}

        def score(amplitude: float, dispersion: float) -> "LocalScore":
            key = (amplitude, dispersion)
            if key not in scores:
                scores[key] = stage.play(file, amplitude=amplitude, dispersion=dispersion)
            return scores[key]

        worth = [compare("amplitude", a, score(a, 1.0), score(1.0, 1.0)) for a in AMPLITUDES]
        amplitude = best_of(worth)
        spread = [compare("dispersion", d, score(amplitude, d), score(amplitude, 1.0)) for d in DISPERSIONS]
    return Tuned(amplitude, best_of(spread), (*worth, *spread))


def compare(knob: str, value: float, one: "LocalScore", other: "LocalScore") -> Worth:
    """Gain of one score over another on the same perturbations, with a paired interval."""
    import numpy as np

    difference = one.draws - other.draws
    known = difference[np.isfinite(difference)]
    lower, upper = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return Worth(knob, value, one.value, one.value - other.value, float(lower), float(upper))


def best_of(worth: list[Worth]) -> float:
    """The setting with the largest gain of those that are clear of 0; 1 where there is none, or where they contradict.

    More and less cannot both be better: what says so is noise.
    """
    clear = [one for one in worth if one.lower > 0]
    if len({one.value > 1 for one in clear}) != 1:
        return 1.0
    return max(clear, key=lambda one: one.gain).value
