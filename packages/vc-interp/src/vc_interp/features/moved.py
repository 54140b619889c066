"""Which perturbations move which features, and in which cell lines features live.

One pass over the file: sums and sums of squares of every feature in every (cell line, perturbation). A perturbation's change
is its mean less the mean of the control rows of the same line; the test is Welch's, over rows, with Benjamini-Hochberg over
all (line, perturbation, feature). Rows are cells of a model, not of an experiment: the test says what the model does reliably.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from vc_interp.errors import InputError
from vc_interp.files.stored import StoredLatents
from vc_interp.sae.dictionary import Dictionary
from vc_interp.sae.measure import check_same

CONTROL = "control"


@dataclass(frozen=True, eq=False)
class Moved:
    """Changes of features under perturbations.

    Attributes:
        lines: [c] cell line of each condition.
        labels: [c] perturbation of each condition.
        change_cf: [c, f] mean activation less that of the line's control rows (of all rows, where there are none).
        fdr_cf: [c, f] false discovery rate; 1 where a condition has fewer than two rows.
        base_lf: [l, f] mean activation in the control rows (else all rows) of each line.
        names_l: The l lines.
        rate_f: [f] share of rows with the feature active.
        mean_f: [f] mean activation over all rows.
    """

    lines: np.ndarray
    labels: np.ndarray
    change_cf: np.ndarray
    fdr_cf: np.ndarray
    base_lf: np.ndarray
    names_l: tuple[str, ...]
    rate_f: np.ndarray
    mean_f: np.ndarray

    def strength(self) -> np.ndarray:
        """[c, f] change, 0 where it is not significant at 5 %."""
        return np.where(self.fdr_cf < 0.05, self.change_cf, 0)

    def table(self, names: tuple[str, ...], per_condition: int = 20) -> pd.DataFrame:
        """The most changed features of each condition, as rows."""
        order_cn = np.argsort(-np.abs(self.change_cf), axis=1, kind="stable")[:, :per_condition]
        at_c = np.repeat(np.arange(len(self.labels)), order_cn.shape[1])
        at_f = order_cn.ravel()
        return pd.DataFrame(
            {
                "cell_line": self.lines[at_c],
                "perturbation": self.labels[at_c],
                "feature": np.array(names)[at_f],
                "change": self.change_cf[at_c, at_f],
                "fdr": self.fdr_cf[at_c, at_f],
            }
        )


def moved(stored: StoredLatents, dictionary: Dictionary) -> Moved:
    """Measure all changes in one pass.

    Raises:
        InputError: If the file names no perturbations, or the dictionary is of other activations.
    """
    check_same(stored, dictionary)
    if not (stored.labels != "").any():
        raise InputError(
            f'{stored.path}: obs["perturbation"]: expected one per row, found none. Write latents of conditions.'
        )
    group_n, pairs = _groups(stored)
    sums = np.zeros((2, len(pairs), dictionary.n_features))
    active_f = np.zeros(dictionary.n_features)
    for start, x_nd in stored.blocks():
        f_nf = dictionary.encode(x_nd).astype(np.float64)
        codes = group_n[start : start + len(f_nf)]
        for code in np.unique(codes):
            here_nf = f_nf[codes == code]
            sums[0, code] += here_nf.sum(axis=0)
            sums[1, code] += np.square(here_nf).sum(axis=0)
        active_f += (f_nf > 0).sum(axis=0)
    n_c = np.bincount(group_n, minlength=len(pairs)).astype(np.float64)
    return _compare(pairs, sums, n_c, active_f / len(stored))


def _groups(stored: StoredLatents) -> tuple[np.ndarray, list[tuple[str, str]]]:
    frame = pd.MultiIndex.from_arrays([stored.lines, stored.labels])
    codes, uniques = frame.factorize()
    return codes, [(str(line), str(label)) for line, label in uniques]


def _compare(pairs: list[tuple[str, str]], sums: np.ndarray, n_c: np.ndarray, rate_f: np.ndarray) -> Moved:
    lines = np.array([line for line, _ in pairs])
    labels = np.array([label for _, label in pairs])
    mean_cf = sums[0] / n_c[:, None]
    var_cf = np.maximum(sums[1] - n_c[:, None] * mean_cf**2, 0) / np.maximum(n_c - 1, 1)[:, None]
    names = tuple(dict.fromkeys(lines.tolist()))
    base_lf = np.zeros((len(names), mean_cf.shape[1]))
    change_cf, p_cf = np.zeros_like(mean_cf), np.ones_like(mean_cf)
    for at, line in enumerate(names):
        here, control = lines == line, (lines == line) & (labels == CONTROL)
        reference = control if control.any() else here
        n_0 = n_c[reference].sum()
        base_lf[at] = (mean_cf[reference] * n_c[reference, None]).sum(axis=0) / n_0
        spread = (var_cf[reference] * n_c[reference, None]).sum(axis=0) / n_0
        change_cf[here] = mean_cf[here] - base_lf[at]
        for row in np.flatnonzero(here & (labels != CONTROL)):
            if n_c[row] < 2 or n_0 < 2:
                continue
            one, two = var_cf[row] / n_c[row], spread / n_0
            error = one + two
            df = error**2 / np.maximum(one**2 / (n_c[row] - 1) + two**2 / (n_0 - 1), 1e-300)
            t = change_cf[row] / np.sqrt(np.maximum(error, 1e-300))
            p_cf[row] = np.where(error > 0, 2 * stats.t.sf(np.abs(t), np.maximum(df, 1)), 1)
    keep = labels != CONTROL
    fdr = stats.false_discovery_control(np.clip(p_cf[keep], 0, 1).ravel()) if keep.any() else np.zeros(0)
    mean_f = (mean_cf * n_c[:, None]).sum(axis=0) / n_c.sum()
    fdr_cf = fdr.reshape(-1, mean_cf.shape[1])
    return Moved(lines[keep], labels[keep], change_cf[keep], fdr_cf, base_lf, names, rate_f, mean_f)
