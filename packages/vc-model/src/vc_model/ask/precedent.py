"""How good answers of each class were out of fold, as a share of what repeating the experiment would give.

    share = mean over conditions of corr(predicted, measured)  /  mean of corr(repeat, measured)

over genes, measured against `input` controls. The correlation that an independent repeat of the same size would have is
signal / (signal + noise) of the measured effect, with the noise of cells and controls known. The mean effect of all other
perturbations of the line is judged the same way: what any name would have been answered.
"""

from dataclasses import dataclass

import numpy as np

from vc_model.ask.relatives import Relatives
from vc_model.ask.verdict import HERE, VERDICTS, judge_out_of_fold
from vc_model.table.effects import EffectTable
from vc_model.table.folds import BINS, OutOfFold, units

FEWEST = 5  # perturbations of a class below which nothing is said about it
N_DRAWS = 400  # of the bootstrap over perturbations
LEVEL = 0.9  # of its interval, and of the interval of effect sizes
NEW_LINE = tuple(kind for kind, name in enumerate(BINS) if name.startswith("new_line"))


@dataclass(frozen=True)
class Precedent:
    """What became of such conditions out of fold.

    Attributes:
        verdict: Position in `VERDICTS`.
        new_line: Whether the whole cell line was held out, too.
        n: Perturbations behind the numbers.
        share: Accuracy as a share of what repeating the experiment would give.
        lower: End of its 90 % interval (bootstrap over perturbations).
        upper: The other end.
        mean_share: The same of the mean effect of all perturbations.
        repeat: Correlation with the measured effect that repeating the experiment would give, on average.
        size_low: Size of the measured effect, without noise, over what the model expects: 5 % quantile.
        size_mid: Its median.
        size_high: Its 95 % quantile.
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


def make_precedents(
    table: EffectTable,
    relatives: Relatives,
    oof: OutOfFold,
    delta_mg: np.ndarray,
    var_m: np.ndarray,
    likeness: float = 1.0,
) -> tuple[Precedent, ...]:
    """Judge a model's out-of-fold predictions, class by class.

    Args:
        table: Training effects.
        relatives: Their targets as vectors.
        oof: Which rows were held out, and their bins then.
        delta_mg: [m, g] what the model predicted for them.
        var_m: [m] mean over genes of the variance that the fitted model states for such predictions.
        likeness: Mean correlation of what the model says of training conditions with what was measured. A measured effect
            is as good as a repeat, so answers that are this much like it are taken to be so much of one.
    """
    conditions = table.conditions.subset(oof.row_m)
    kind_m = judge_out_of_fold(relatives, conditions, oof.bin_m)
    new_m = np.isin(oof.bin_m, NEW_LINE)
    check_mg, noise_m = table.check_pg[oof.row_m], _mean_noise(table, oof.row_m)
    said_m = correlation(delta_mg, check_mg)
    mean_m = correlation(other_means(table)[oof.row_m], check_mg)
    repeat_m = repeatability(check_mg, noise_m)
    size_m = np.maximum((check_mg**2).mean(axis=1) - noise_m, 0)
    expected_m = (delta_mg**2).mean(axis=1) + var_m
    ratio_m = np.sqrt(size_m / np.maximum(expected_m, 1e-12))
    unit_m = units(conditions)
    found = [Precedent(HERE, False, len(table), likeness, likeness, likeness, *_measured_here(table))]
    for kind in range(1, len(VERDICTS)):
        for new in (False, True):
            at = np.flatnonzero((kind_m == kind) & (new_m == new))
            if len(np.unique(unit_m[at])) < FEWEST:
                continue
            share, lower, upper, mean_share = share_of_repeat(said_m[at], mean_m[at], repeat_m[at], unit_m[at])
            sizes = np.quantile(ratio_m[at], [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2]).tolist()
            n, repeat = len(np.unique(unit_m[at])), float(repeat_m[at].mean())
            found.append(Precedent(kind, new, n, share, lower, upper, mean_share, repeat, *sizes))
    return tuple(found)


def find(precedents: tuple[Precedent, ...], verdict: int, new_line: bool) -> Precedent | None:
    """The precedent of a class; in a new cell line without one of its own there is none."""
    return next((one for one in precedents if (one.verdict, one.new_line) == (verdict, new_line)), None)


def correlation(one_mg: np.ndarray, other_mg: np.ndarray) -> np.ndarray:
    """[m] Pearson correlation over genes; 0 where one side does not vary."""
    one_mg, other_mg = (x - x.mean(axis=1, keepdims=True) for x in (one_mg, other_mg))
    size_m = np.sqrt((one_mg**2).sum(axis=1) * (other_mg**2).sum(axis=1))
    return np.divide((one_mg * other_mg).sum(axis=1), size_m, out=np.zeros(len(size_m)), where=size_m > 1e-12)


def repeatability(measured_mg: np.ndarray, noise_m: np.ndarray) -> np.ndarray:
    """[m] correlation that an independent repeat would have: (variance over genes - noise) / variance, in [0, 1]."""
    var_m = measured_mg.var(axis=1)
    return np.clip(1 - noise_m / np.maximum(var_m, 1e-12), 0, 1)


def share_of_repeat(
    said_m: np.ndarray, mean_m: np.ndarray, repeat_m: np.ndarray, unit_m: np.ndarray, *, seed: int = 0
) -> tuple[float, float, float, float]:
    """Share, its interval, and the mean effect's share; bootstrap over perturbations.

    Args:
        said_m: [m] correlation of predicted and measured effects.
        mean_m: [m] the same of the mean effect.
        repeat_m: [m] that of a repeat.
        unit_m: [m] which perturbation each row is of.
        seed: Of the bootstrap.
    """
    unit_m = np.unique(unit_m, return_inverse=True)[1]
    sums_u3 = np.zeros((unit_m.max() + 1, 3))
    np.add.at(sums_u3, unit_m, np.stack([said_m, mean_m, repeat_m], axis=1))
    least = 0.02 * np.bincount(unit_m)
    rng = np.random.default_rng(seed)
    draw_du = rng.multinomial(len(sums_u3), np.full(len(sums_u3), 1 / len(sums_u3)), N_DRAWS)
    drawn_d3 = draw_du @ sums_u3
    shares_d = drawn_d3[:, 0] / np.maximum(drawn_d3[:, 2], draw_du @ least)
    total_3 = sums_u3.sum(axis=0)
    whole = max(total_3[2], least.sum())
    lower, upper = np.quantile(shares_d, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(total_3[0] / whole), float(lower), float(upper), float(total_3[1] / whole)


def other_means(table: EffectTable) -> np.ndarray:
    """[p, g] mean effect of the singles of the line without those of the row's own targets, times its number of targets.

    Against `reference` controls alone, so that it shares no noise with what it is judged on.
    """
    mean_pg = np.zeros_like(table.half_pg)
    actions = table.conditions.actions
    singles = np.flatnonzero(table.single_p)
    for line in range(len(table.trained_lines)):
        own = singles[table.line_p[singles] == line]
        own = singles if len(own) == 0 else own
        total_g, rows_of = table.half_pg[own].sum(axis=0), {}
        for row in own:
            rows_of.setdefault(actions[row].targets[0], []).append(row)
        for row in np.flatnonzero(table.line_p == line):
            mine = [other for target in actions[row].targets for other in rows_of.get(target, [])]
            left = len(own) - len(mine)
            mean_pg[row] = len(actions[row].targets) * (total_g - table.half_pg[mine].sum(axis=0)) / max(left, 1)
    return mean_pg


def _mean_noise(table: EffectTable, row_m: np.ndarray) -> np.ndarray:
    """[m] mean over genes of the variance of measurement of `check_pg`."""
    sigma2_c = table.contexts.sigma2_cg.mean(axis=1)[table.contexts.positions(table.conditions.cell_line[row_m])]
    return sigma2_c * (1 / table.n_cells_p[row_m] + 1 / table.n_check_p[row_m])


def _measured_here(table: EffectTable) -> tuple[float, float, float, float, float]:
    """For conditions that were measured: the mean effect's share, a repeat's correlation, the interval of the size."""
    rows = np.arange(len(table))
    noise_p = _mean_noise(table, rows)
    repeat_p = repeatability(table.check_pg, noise_p)
    mean_p = correlation(other_means(table), table.check_pg)
    size_p = (table.check_pg**2).mean(axis=1)
    # The squared size of a measured effect is off by its noise; its own spread is about its standard error.
    off_p = np.sqrt(np.maximum(1 - noise_p / np.maximum(size_p, 1e-12), 0))
    low = float(np.quantile(off_p, (1 - LEVEL) / 2))
    return float(mean_p.mean() / max(repeat_p.mean(), 0.02)), float(repeat_p.mean()), low, 1.0, 2 - low
