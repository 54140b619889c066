"""Intervals that keep their promise on new perturbations: conformal thresholds of standardised out-of-fold errors.

    score(i, g) = |measured - predicted| / sqrt(variance + noise)
    t(share) = smallest t with  sum_i share of genes of perturbation i with score <= t  >=  share * n
    threshold(level) = t(share) of the smallest share at which, if each perturbation in turn is judged by the t of the
                       others, the mean share of its genes inside is `level`

n perturbations are the exchangeable units; genes of one are not independent evidence. Effects differ in size between
perturbations by more than a model knows, so scores have heavy tails and no Gaussian width is right at every level; with
few perturbations neither is t(level), which none of them was judged by. Counting a new perturbation as one more whose
scores could be anything, share = level (n + 1) / n (Lee, Barber and Willett, Distribution-free inference with
hierarchical data, 2023), promises the level in any case and is too wide by level / n on average. Leaving out one at a time
measures the correction that is needed (as the jackknife+ does, Barber et al., Annals of Statistics 2021). What no
share of n perturbations could promise, level > n / (n + 1), is infinitely wide all the same. Errors come from
cross-fitting, not from one split, so all of this holds up to how alike the fits are (Vovk, Cross-conformal predictors, 2015).

Thresholds are Mondrian: one per cell line and kind of condition where there are enough perturbations, else one per kind,
else that of a related kind. Strata of genes are in the variances (`vc_model.doubt.strata`), so that one threshold does for
all genes of a condition. Nothing is promised for a line without training conditions: its intervals come from the errors of trained
lines, each left out in turn, and those are few and not exchangeable with the next one; two lines say hardly anything. Measure a few
perturbations there and recalibrate (`recalibrated`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vc_model.stored import stored
from vc_model.table.folds import BINS

MIN_UNITS = 20  # perturbations below which thresholds are shared between lines; enough for intervals of 95 %
SHARES = np.concatenate([np.linspace(0, 0.95, 96), 1 - np.geomspace(0.045, 5e-4, 20), [1]])
GAUSSIAN = 0  # position of the table without data: quantiles of a normal distribution
NEW_LINE = ("new_line", "new_line_unseen")


@stored
@dataclass(frozen=True, eq=False)
class Conformal:
    """Thresholds by cell line and bin.

    Attributes:
        lines: Trained lines.
        table_lb: [l + 1, b] int, which table holds; the last row is for any other line.
        score_ts: [t, s] float32, thresholds of the levels `SHARES`, non-decreasing.
        n_t: [t] int, perturbations behind each; 0: none, the Gaussian stands in.
        basis_t: What each table was made of, in words.
        least_g: [g] float32, variance over cells that a gene has at least when it is measured (`vc_model.doubt.noise`); empty
            where nothing is known.
    """

    lines: tuple[str, ...]
    table_lb: np.ndarray
    score_ts: np.ndarray
    n_t: np.ndarray
    basis_t: tuple[str, ...]
    least_g: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    def tables(self, cell_line: np.ndarray, bin_q: np.ndarray) -> np.ndarray:
        """[q] int, the table of each condition."""
        order = {name: row for row, name in enumerate(self.lines)}
        line_q = np.array([order.get(line, len(self.lines)) for line in cell_line.tolist()], dtype=np.int64)
        return self.table_lb[line_q, bin_q]

    def width(self, table_q: np.ndarray, level: float) -> np.ndarray:
        """[q] float32 half-width of the central interval in standard deviations.

        Infinite where too few perturbations were seen to promise that level: it takes n >= level / (1 - level).

        Raises:
            ValueError: If the level is not in (0, 1).
        """
        from scipy.special import ndtri

        if not 0 < level < 1:
            raise ValueError(f"level: expected a number in (0, 1), found {level}.")
        width_t = np.empty(len(self.n_t), dtype=np.float32)
        for table, (n, score_s) in enumerate(zip(self.n_t, self.score_ts, strict=True)):
            if n == 0:
                width_t[table] = ndtri((1 + level) / 2)
            else:
                width_t[table] = np.interp(level, SHARES, score_s) if level * (n + 1) <= n * (1 + 1e-9) else np.inf
        return width_t[table_q]


def fit_conformal(
    lines: tuple[str, ...],
    scores: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    borrowed: Mapping[str, str],
    base: Conformal | None = None,
) -> Conformal:
    """Make the tables.

    Args:
        lines: Trained lines.
        scores: Bin -> (score_mg [m, g] standardised errors, NaN where nothing was measured, unit_m [m] int perturbation,
            line_m [m] position in `lines`, len(lines) for other lines).
        borrowed: Bin without scores -> bin that stands in.
        base: Tables to start from; those of `scores` replace theirs.
    """
    if base is None:
        table_lb = np.full((len(lines) + 1, len(BINS)), GAUSSIAN)
        tables = [np.interp(SHARES, [0, 1], [0, 1])]
        counts, words = [0], ["not calibrated: Gaussian, promises nothing"]
    else:
        table_lb, tables = base.table_lb.copy(), list(base.score_ts)
        counts, words = base.n_t.tolist(), list(base.basis_t)
    for name, (score_mg, unit_m, line_m) in scores.items():
        kind = BINS.index(name)
        here = [line for line in range(len(lines) + 1) if len(np.unique(unit_m[line_m == line])) >= MIN_UNITS]
        pooled = np.arange(len(lines) + 1) if base is None else np.unique(line_m)
        if name in NEW_LINE and base is None:
            here, word = [], f"{name}: errors of other lines when left out"
        else:
            word = f"{name}: all lines together"
        for own, at, text in [(pooled, np.ones(len(unit_m), bool), word)] + [
            (np.array([line]), line_m == line, f"{name}: {(*lines, 'other lines')[line]}") for line in here
        ]:
            table_lb[own, kind] = len(tables)
            tables.append(_thresholds(score_mg[at], unit_m[at]))
            counts.append(len(np.unique(unit_m[at])))
            words.append(f"{text}, {counts[-1]} perturbations")
    for name, source in borrowed.items():
        kind, other = BINS.index(name), BINS.index(source)
        for row, table in enumerate(table_lb[:, other].tolist()):
            text = f"{name}: borrowed from {words[table]}"
            if text not in words:
                tables.append(tables[table])
                counts.append(counts[table])
                words.append(text)
            table_lb[row, kind] = words.index(text)
    return Conformal(
        tuple(lines),
        table_lb,
        np.array(tables, dtype=np.float32),
        np.array(counts, dtype=np.int64),
        tuple(words),
        np.zeros(0, np.float32) if base is None else base.least_g,
    )


def _thresholds(score_mg: np.ndarray, unit_m: np.ndarray) -> np.ndarray:
    """[s] thresholds of the levels `SHARES`; every perturbation weighs the same."""
    from scipy.special import ndtri

    unit_m = np.unique(unit_m, return_inverse=True)[1]
    known_mg = ~np.isnan(score_mg)
    weight_m = 1 / np.maximum(np.bincount(unit_m, known_mg.sum(axis=1)), 1)[unit_m]
    score_n, weight_n = score_mg[known_mg], np.repeat(weight_m, known_mg.sum(axis=1))
    if len(score_n) == 0:
        return ndtri((1 + np.minimum(SHARES, 1 - 1e-6)) / 2)
    order = np.argsort(score_n)
    total_n = np.cumsum(weight_n[order])
    at = np.searchsorted(total_n, SHARES * total_n[-1] * (1 - 1e-12))
    pooled_s = score_n[order][np.minimum(at, len(order) - 1)]
    n_units = int(unit_m.max()) + 1
    if n_units < 2:
        return pooled_s
    # Shares of each perturbation's genes below the pooled quantiles; then below the quantiles of the others.
    below_us = np.zeros((n_units, len(SHARES)))
    for unit in range(n_units):
        own_n = np.sort(score_mg[unit_m == unit][known_mg[unit_m == unit]])
        below_us[unit] = np.searchsorted(own_n, pooled_s, side="right") / max(len(own_n), 1)
    others_us = (below_us.sum(axis=0) - below_us) / (n_units - 1)
    inside_s = np.zeros(len(SHARES))
    for own_s, other_s in zip(below_us, others_us, strict=True):
        at = np.minimum(np.searchsorted(other_s, SHARES * (1 - 1e-12)), len(SHARES) - 1)
        inside_s += own_s[at] / n_units
    inside_s = np.maximum.accumulate(inside_s)
    # The smallest share whose measured level is reached.
    at = np.minimum(np.searchsorted(inside_s, SHARES), len(SHARES) - 1)
    return np.maximum.accumulate(pooled_s[at])
