"""How good answers of each class were, as a share of what repeating the experiment would give (`vc_model.ask.sample`).

Classes that were held out are judged out of fold. What was measured is judged on cells that the model had not seen
(`vc_model.ask.again`). Neighbouring classes whose accuracy cannot be told apart share one (`vc_model.ask.levels`), and where
too few relatives could be held out they share that of targets which nothing is known of.
The mean effect of all other perturbations of the line is judged the same way: what any name would have been answered.
"""

from dataclasses import dataclass

import numpy as np

from vc_model.ask.again import Again
from vc_model.ask.levels import tell_apart
from vc_model.ask.relatives import Relatives
from vc_model.ask.sample import (
    LEVEL,
    Sample,
    correlation,
    mean_noise,
    other_means,
    repeatability,
    share_of_repeat,
    unit_names,
)
from vc_model.ask.verdict import HERE, NOWHERE, RELATIVE, VERDICTS, judge_out_of_fold
from vc_model.stored import stored
from vc_model.table.effects import EffectTable
from vc_model.table.folds import BINS, OutOfFold

FEWEST = 5  # perturbations of a class below which nothing is said about it
UNMEASURED = f"nothing: fewer than {FEWEST} such perturbations could be held out"
NEW_LINE = tuple(kind for kind, name in enumerate(BINS) if name.startswith("new_line"))


@stored
@dataclass(frozen=True)
class Precedent:
    """What became of such conditions out of fold.

    Attributes:
        verdict: Position in `VERDICTS`.
        new_line: Whether the whole cell line was held out, too.
        n: Perturbations behind the numbers; 0 where the accuracy could not be measured: none was held out, or a repeat hardly
            correlates with the experiment itself (`repeat`).
        share: Accuracy as a share of what repeating the experiment would give.
        lower: End of its 90 % interval (bootstrap over perturbations).
        upper: The other end.
        mean_share: The same of the mean effect of all perturbations.
        repeat: Correlation with the measured effect that repeating the experiment would give, on average.
        size_low: Size of the measured effect, without noise, over what the model expects: 5 % quantile.
        size_mid: Its median.
        size_high: Its 95 % quantile.
        pooled: Positions in `VERDICTS` of the classes that these numbers are of: this one, and those that it cannot be told
            apart from on this screen.
    """

    verdict: int
    new_line: bool
    n: int
    share: float
    lower: float
    upper: float
    mean_share: float
    repeat: float
    size_low: float
    size_mid: float
    size_high: float
    pooled: tuple[int, ...] = ()

    @property
    def level(self) -> str:
        """The classes in words."""
        return " / ".join(VERDICTS[kind] for kind in self.pooled or (self.verdict,))

    @property
    def measured_on(self) -> str:
        """The same, or why there is no accuracy."""
        if self.n:
            return self.level
        if self.pooled:
            return f"nothing: repeating the experiment would correlate with it by {self.repeat:.2f} only"
        return UNMEASURED


def make_precedents(
    table: EffectTable,
    relatives: Relatives,
    oof: OutOfFold,
    delta_mg: np.ndarray,
    var_m: np.ndarray,
    again: Again | None = None,
) -> tuple[Precedent, ...]:
    """Judge a model's out-of-fold predictions, class by class.

    Args:
        table: Training effects.
        relatives: Their targets as vectors.
        oof: Which rows were held out, and their bins then.
        delta_mg: [m, g] what the model predicted for them.
        var_m: [m] mean over genes of the variance that the fitted model states for such predictions.
        again: What the model is worth on conditions that it has seen; without it their accuracy stays unknown.
    """
    conditions = table.conditions.subset(oof.row_m)
    kind_m = judge_out_of_fold(relatives, conditions, oof.bin_m)
    new_m = np.isin(oof.bin_m, NEW_LINE)
    check_mg, noise_m = table.check_pg[oof.row_m], mean_noise(table, oof.row_m)
    everything = Sample(
        correlation(delta_mg, check_mg),
        correlation(other_means(table)[oof.row_m], check_mg),
        repeatability(check_mg, noise_m),
        unit_names(conditions),
    )
    size_m = np.maximum((check_mg**2).mean(axis=1) - noise_m, 0)
    ratio_m = np.sqrt(size_m / np.maximum((delta_mg**2).mean(axis=1) + var_m, 1e-12))
    found: list[Precedent] = []
    for new in (False, True):
        samples: dict[int, Sample] = {}
        sizes: dict[int, tuple[float, float, float]] = {}
        for kind in range(1, len(VERDICTS)):
            at = np.flatnonzero((kind_m == kind) & (new_m == new))
            sample = everything.subset(at)
            if sample.n >= FEWEST:
                samples[kind] = sample
                low, mid, high = np.quantile(ratio_m[at], [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2]).tolist()
                sizes[kind] = (low, mid, high)
        if not new:
            sizes[HERE] = _size_here(table)
            here = None if again is None else again.sample(table)
            if here is not None and here.n >= FEWEST:
                samples[HERE] = here
            else:
                found.append(Precedent(HERE, False, 0, 0, 0, 0, 0, 0, *sizes[HERE]))
        for kinds, sample in tell_apart(samples):
            numbers, n = _accuracy(sample), sample.n if sample.measurable else 0
            if NOWHERE in kinds and RELATIVE not in samples:
                # Too few relatives to judge are answered no worse than what nothing is known of.
                kinds, sizes[RELATIVE] = tuple(sorted({*kinds, RELATIVE})), sizes[NOWHERE]
            found += [Precedent(kind, new, n, *numbers, *sizes[kind], kinds) for kind in kinds]
    return tuple(found)


def _accuracy(sample: Sample) -> tuple[float, float, float, float, float]:
    """Share with its interval, the mean effect's share, and the correlation of a repeat."""
    share, lower, upper, mean_share = share_of_repeat(sample.said_m, sample.mean_m, sample.repeat_m, sample.unit_m)
    return share, lower, upper, mean_share, sample.repeat


def find(precedents: tuple[Precedent, ...], verdict: int, new_line: bool) -> Precedent | None:
    """The precedent of a class; in a new cell line without one of its own there is none."""
    return next((one for one in precedents if (one.verdict, one.new_line) == (verdict, new_line)), None)


def _size_here(table: EffectTable) -> tuple[float, float, float]:
    """Interval of the size without noise of effects that were measured, over the size that was measured."""
    noise_p = mean_noise(table, np.arange(len(table)))
    size_p = (table.check_pg**2).mean(axis=1)
    # The squared size of a measured effect is off by its noise; its own spread is about its standard error.
    off_p = np.sqrt(np.maximum(1 - noise_p / np.maximum(size_p, 1e-12), 0))
    low = float(np.quantile(off_p, (1 - LEVEL) / 2))
    return low, 1.0, 2 - low
