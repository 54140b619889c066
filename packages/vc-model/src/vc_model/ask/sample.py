"""Accuracy of answers to some conditions, beside what repeating the experiment would give.

    share = mean corr(answer, measured) / mean corr(repeat, measured)         what is shown
    truth = mean corr(answer, measured) / sqrt(mean corr(repeat, measured))   what classes are compared by

over genes, measured against `input` controls. The correlation of an independent repeat of the same size is
signal / (signal + noise) of the measured effect, with the noise of cells and controls known. `truth` estimates the
correlation with the effect without noise (correction for attenuation, Spearman 1904), so that classes measured on
different numbers of cells can be compared.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from vc_model.table.effects import Conditions, EffectTable
from vc_model.table.folds import FEW_TARGETS

N_DRAWS = 400  # of the bootstrap over perturbations
LEVEL_ONE_SIDED = 0.95  # of the test whether a repeat repeats anything
LEVEL = 0.9  # of its interval, and of the interval of effect sizes
LEAST = 0.02  # repeatability below which nothing is divided by it
LEAST_REPEAT = 0.05  # repeatability from which on a share of it says something


@dataclass(frozen=True, eq=False)
class Sample:
    """What became of m answers.

    Attributes:
        said_m: [m] correlation over genes of answer and measured effect.
        mean_m: [m] the same of the mean effect of all other perturbations.
        repeat_m: [m] that of a repeat; of a single condition it may be below 0 by chance.
        unit_m: [m] names of what the rows are independent repeats of.
    """

    said_m: np.ndarray
    mean_m: np.ndarray
    repeat_m: np.ndarray
    unit_m: np.ndarray

    @property
    def n(self) -> int:
        """Independent units."""
        return len(np.unique(self.unit_m))

    @property
    def repeat(self) -> float:
        """Mean correlation that a repeat would have."""
        return float(self.repeat_m.mean())

    @property
    def measurable(self) -> bool:
        """Whether a share of a repeat says anything: the repeat is above `LEAST_REPEAT` beyond chance, one-sided at 95 %.

        A ratio has an interval only where what it is divided by is clear of 0 (Fieller 1954).
        """
        unit_m = np.unique(self.unit_m, return_inverse=True)[1]
        n = int(unit_m.max()) + 1
        off_u = np.bincount(unit_m, self.repeat_m - self.repeat) / len(self.repeat_m)
        if n < 2:
            return False
        error = float(np.sqrt((off_u**2).sum() * n / (n - 1)))
        return self.repeat - float(student.ppf(LEVEL_ONE_SIDED, n - 1)) * error > LEAST_REPEAT

    def subset(self, at: np.ndarray) -> "Sample":
        """Some of the answers."""
        return Sample(self.said_m[at], self.mean_m[at], self.repeat_m[at], self.unit_m[at])

    def joined(self, other: "Sample") -> "Sample":
        """These answers and others."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("said_m", "mean_m", "repeat_m", "unit_m"))
        return Sample(*(np.concatenate(pair) for pair in pairs))

    def truth(self) -> tuple[float, dict[str, float]]:
        """Correlation with the effect without noise, and the influence of each unit on it (the delta method)."""
        said, repeat = float(self.said_m.mean()), max(self.repeat, LEAST)
        value = said / np.sqrt(repeat)
        pull_m = (self.said_m - said) / np.sqrt(repeat) - 0.5 * value * (self.repeat_m - self.repeat) / repeat
        unit_u, at_m = np.unique(self.unit_m, return_inverse=True)
        sums_u = np.bincount(at_m, pull_m) / len(pull_m)
        return float(value), dict(zip(unit_u.tolist(), sums_u.tolist(), strict=True))


def correlation(one_mg: np.ndarray, other_mg: np.ndarray) -> np.ndarray:
    """[m] Pearson correlation over genes; 0 where one side does not vary."""
    one_mg, other_mg = (x - x.mean(axis=1, keepdims=True) for x in (one_mg, other_mg))
    size_m = np.sqrt((one_mg**2).sum(axis=1) * (other_mg**2).sum(axis=1))
    return np.divide((one_mg * other_mg).sum(axis=1), size_m, out=np.zeros(len(size_m)), where=size_m > 1e-12)


def repeatability(measured_mg: np.ndarray, noise_m: np.ndarray) -> np.ndarray:
    """[m] correlation that an independent repeat would have: (variance over genes - noise) / variance, at most 1.

    Where the noise is stated too small by chance it is below 0; only its mean over conditions is meant to be used.
    """
    var_m = measured_mg.var(axis=1)
    return np.clip(1 - noise_m / np.maximum(var_m, 1e-12), -1, 1)


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
    least = LEAST * np.bincount(unit_m)
    rng = np.random.default_rng(seed)
    draw_du = rng.multinomial(len(sums_u3), np.full(len(sums_u3), 1 / len(sums_u3)), N_DRAWS)
    drawn_d3 = draw_du @ sums_u3
    shares_d = drawn_d3[:, 0] / np.maximum(drawn_d3[:, 2], draw_du @ least)
    total_3 = sums_u3.sum(axis=0)
    whole = max(total_3[2], least.sum())
    lower, upper = np.quantile(shares_d, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(total_3[0] / whole), float(lower), float(upper), float(total_3[1] / whole)


def unit_names(conditions: Conditions) -> np.ndarray:
    """[m] what the rows are independent repeats of: sets of targets, or cell lines where there are hardly two sets."""
    labels = np.array([action.label for action in conditions.actions], dtype=object)
    return labels if len(set(labels)) >= FEW_TARGETS else np.array(conditions.cell_line, dtype=object)


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


def mean_noise(table: EffectTable, row_m: np.ndarray) -> np.ndarray:
    """[m] mean over genes of the variance of measurement of `check_pg`."""
    sigma2_c = table.contexts.sigma2_cg.mean(axis=1)[table.contexts.positions(table.conditions.cell_line[row_m])]
    return sigma2_c * (1 / table.n_cells_p[row_m] + 1 / table.n_check_p[row_m])
