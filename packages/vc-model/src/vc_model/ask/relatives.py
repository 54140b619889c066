"""Which training perturbations resemble a target, and how much that resemblance was worth among training perturbations.

Targets are compared by the model's own features of them (`vc_model.table.features`: co-expression in control cells, how
training perturbations move the gene, banks), as a cosine. What a cosine is worth is measured: for the nearest relatives
of every training target, the correlation of their effects beyond the mean of all, as a rising function of the cosine.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vc_model.stored import stored
from vc_model.table.effects import UNKNOWN_MODE, Action, Conditions, EffectTable
from vc_model.table.features import FeatureMap, make_features

N_NEAREST = 3  # relatives that are named, and that the worth of a cosine is measured on
FEWEST = 10  # training targets below which nothing is said about the worth of a cosine
RELATED = 0.1  # expected correlation of effects beyond the mean from which on a target counts as a relative


@stored
@dataclass(frozen=True, eq=False)
class Relatives:
    """Training targets as vectors.

    Attributes:
        features: Turns targets into vectors; fitted on the training targets.
        lines: Cell lines over which the vector of a target is averaged.
        targets: [t] training targets.
        unit_tf: [t, f] float32 their vectors, of length 1; zeros where nothing is known of a target.
        knot_k: [k] float32 rising cosines.
        worth_k: [k] float32 non-decreasing correlation of effects beyond the mean at these cosines, in [0, 1].
    """

    features: FeatureMap
    lines: tuple[str, ...]
    targets: tuple[str, ...]
    unit_tf: np.ndarray
    knot_k: np.ndarray
    worth_k: np.ndarray

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Target -> row."""
        return {name: row for row, name in enumerate(self.targets)}

    def describe(self, names: list[str]) -> np.ndarray:
        """[n, f] float32 vectors of length 1 of any targets; zeros where nothing is known."""
        return unit_vectors(self.features, self.lines, names)

    def nearest(self, names: list[str], *, others_only: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Most similar training targets of each name.

        Args:
            names: n targets.
            others_only: Leave each name itself out.

        Returns:
            row_nk: [n, k] int rows of `targets`, the most similar first; k is at most `N_NEAREST`.
            cosine_nk: [n, k] float32; -1 where there is none.
        """
        k = min(N_NEAREST, len(self.targets))
        row_nk, cosine_nk = np.zeros((len(names), k), np.int64), np.full((len(names), k), -1, np.float32)
        for start in range(0, len(names), 4096):
            block = names[start : start + 4096]
            cosine_nt = self.describe(block) @ self.unit_tf.T
            if others_only:
                own = [(at, self.row_of[name]) for at, name in enumerate(block) if name in self.row_of]
                cosine_nt[tuple(np.array(own, dtype=np.int64).reshape(-1, 2).T)] = -1
            best = np.argpartition(-cosine_nt, k - 1, axis=1)[:, :k] if k else np.zeros((len(block), 0), np.int64)
            order = np.argsort(-np.take_along_axis(cosine_nt, best, axis=1), axis=1, kind="stable")
            best = np.take_along_axis(best, order, axis=1)
            row_nk[start : start + len(block)] = best
            cosine_nk[start : start + len(block)] = np.take_along_axis(cosine_nt, best, axis=1)
        return row_nk, cosine_nk

    def worth(self, cosine: np.ndarray) -> np.ndarray:
        """Expected correlation of effects beyond the mean, in [0, 1], of targets with such a cosine; 0 where it is not above 0."""
        if not len(self.knot_k):
            return np.zeros_like(cosine)
        return np.where(cosine > 0, np.interp(cosine, self.knot_k, self.worth_k), 0)

    def knows(self, names: list[str]) -> np.ndarray:
        """[n] bool, whether anything is known of each name: a measured gene, or an entity of a bank."""
        measured = set(self.features.contexts.genes)
        for bank in self.features.banks:
            measured |= bank.row_of.keys()
        return np.array([name in measured for name in names], dtype=bool)


def unit_vectors(features: FeatureMap, lines: tuple[str, ...], names: list[str]) -> np.ndarray:
    """[n, f] float32 features of targets without those of the action, mean over lines, of length 1 or 0."""
    keep = np.concatenate(
        [np.arange(block.start, block.stop) for name, block in features.blocks.items() if name != "action"]
    )
    actions = tuple(Action((name,), UNKNOWN_MODE) for name in names)
    total_nf = np.zeros((len(names), len(keep)), np.float32)
    for line in lines:
        total_nf += features.transform(Conditions(np.full(len(names), line), actions))[:, keep]
    length_n1 = np.linalg.norm(total_nf, axis=1, keepdims=True)
    return np.divide(total_nf, length_n1, out=np.zeros_like(total_nf), where=length_n1 > 1e-9)


def fit_relatives(table: EffectTable) -> Relatives:
    """Vectors of a table's single targets, and what their likeness is worth.

    Args:
        table: Training effects.
    """
    features = make_features(table)
    singles = np.flatnonzero(table.single_p)
    name_s = [table.conditions.actions[row].targets[0] for row in singles]
    targets = tuple(sorted(set(name_s)))
    lines = table.trained_lines
    bare = Relatives(features, lines, targets, unit_vectors(features, lines, list(targets)), np.zeros(0), np.zeros(0))
    if len(targets) < FEWEST:
        return bare
    own_tg, signal_t = _beyond_the_mean(table, singles, np.array([bare.row_of[name] for name in name_s]), len(targets))
    row_tk, cosine_tk = bare.nearest(list(targets), others_only=True)
    own = np.repeat(np.arange(len(targets)), row_tk.shape[1])
    cosine_n, other = cosine_tk.ravel(), row_tk.ravel()
    use = cosine_n > -1
    cross_n = np.einsum("ng,ng->n", own_tg[own[use]], own_tg[other[use]])
    size_n = np.sqrt(signal_t[own[use]] * signal_t[other[use]])
    knot_k, worth_k = _rising(cosine_n[use], cross_n, size_n)
    return Relatives(features, lines, targets, bare.unit_tf, knot_k, worth_k)


def _beyond_the_mean(
    table: EffectTable, singles: np.ndarray, row_s: np.ndarray, n_targets: int
) -> tuple[np.ndarray, np.ndarray]:
    """[t, g] effect of each target minus its line's mean single effect, and [t] its squared length without noise."""
    own_tg, noise_t, count_t = np.zeros((n_targets, len(table.genes))), np.zeros(n_targets), np.zeros(n_targets)
    sigma2_lg = table.contexts.sigma2_cg[table.contexts.positions(table.trained_lines)]
    for line in range(len(table.trained_lines)):
        at = np.flatnonzero(table.line_p[singles] == line)
        if len(at) == 0:
            continue
        deviation_sg = table.delta_pg[singles[at]] - table.delta_pg[singles[at]].mean(axis=0)
        np.add.at(own_tg, row_s[at], deviation_sg)
        np.add.at(noise_t, row_s[at], sigma2_lg[line].sum() / table.n_cells_p[singles[at]])
        np.add.at(count_t, row_s[at], 1)
    own_tg /= np.maximum(count_t, 1)[:, None]
    square_t = np.einsum("tg,tg->t", own_tg, own_tg)
    noise_t /= np.maximum(count_t, 1) ** 2
    # What is hardly above the noise keeps a tenth of its length, so that no ratio explodes.
    return own_tg, np.maximum(square_t - noise_t, 0.1 * square_t) + 1e-12


def _rising(cosine_n: np.ndarray, cross_n: np.ndarray, size_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knots of the non-decreasing correlation sum(cross) / sum(size) over the cosine, cut to [0, 1]."""
    from scipy.optimize import isotonic_regression

    order = np.argsort(cosine_n, kind="stable")
    if len(order) == 0:
        return np.zeros(0, np.float32), np.zeros(0, np.float32)
    fitted = isotonic_regression(cross_n[order] / size_n[order], weights=size_n[order])
    starts = fitted.blocks[:-1]
    # One knot in the middle of each level: between levels the worth rises evenly.
    knots = np.array([cosine_n[order][a:b].mean() for a, b in zip(starts, fitted.blocks[1:], strict=True)])
    return knots.astype(np.float32), np.clip(fitted.x[starts], 0, 1).astype(np.float32)
