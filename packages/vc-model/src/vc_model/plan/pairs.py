"""A Gaussian process on scores of pairs, exact up to conjugate gradients, whatever pairs were measured.

score(a, b) = mean + f(a) + f(b) + g(a, b), with covariances K_f over entities and K_g(a, c) K_g(b, d) + K_g(a, d) K_g(b, c)
over pairs (a symmetric Kronecker kernel: Pahikkala, Viljanen, Airola and Waegeman, J. Mach. Learn. Res. 14 (2013)). Each K mixes
the identity with features, so that a pair of entities that were measured in other pairs and a pair of entities that never
were are both answered, each with what is known.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg

from vc_model.plan.library import Library

STEPS = 40
RANK = 10
ROWS = 20_000
"""Pairs that are answered together."""
TRIALS = (
    # share of features in K_f, share of features in K_g, noise over the interaction's variance
    (0.3, 0.3, 1.0),
    (0.3, 0.3, 4.0),
    (0.3, 0.8, 1.0),
    (0.8, 0.8, 4.0),
    (0.8, 0.95, 1.0),
    (0.95, 0.95, 4.0),
)
TRIAL = TRIALS[2]
"""Shares and noise where there is too little to choose by."""


@dataclass(frozen=True, eq=False)
class PairScores:
    """Measured pairs of e entities.

    Attributes:
        names: [e] entities.
        a_n: [n] row of the first of each pair.
        b_n: [n] row of the second.
        score_n: [n] float64.
    """

    names: tuple[str, ...]
    a_n: np.ndarray
    b_n: np.ndarray
    score_n: np.ndarray

    def __len__(self) -> int:
        return len(self.score_n)

    @cached_property
    def measured(self) -> np.ndarray:
        """[m] rows of the entities that are in any pair, in order."""
        return np.unique(np.concatenate([self.a_n, self.b_n]))

    def subset(self, rows: np.ndarray) -> "PairScores":
        """The given pairs, all entities kept."""
        return PairScores(self.names, self.a_n[rows], self.b_n[rows], self.score_n[rows])


@dataclass(frozen=True, eq=False)
class PairFit:
    """A fitted process. Memory grows with entities times measured entities, never with the square of a library.

    Attributes:
        mean: Mean score.
        single_e: [e] f of each entity.
        left_em: [e, r] what pairs of each entity with the measured ones are told by, times the weights of those.
        right_em: [e, r] the same without the weights: g of a pair is the product of a row of each.
    """

    mean: float
    single_e: np.ndarray
    left_em: np.ndarray
    right_em: np.ndarray

    def predict(self, a_n: np.ndarray, b_n: np.ndarray) -> np.ndarray:
        """[n] expected scores of pairs."""
        pair_n = np.concatenate(
            [
                np.einsum("nm,nm->n", self.left_em[a_n[at : at + ROWS]], self.right_em[b_n[at : at + ROWS]])
                for at in range(0, len(a_n), ROWS)
            ]
            or [np.zeros(0)]
        )
        return self.mean + self.single_e[a_n] + self.single_e[b_n] + pair_n

    def grid(self, a_k: np.ndarray) -> np.ndarray:
        """[k, e] expected scores of some entities with all."""
        return self.mean + self.single_e[a_k][:, None] + self.single_e + self.left_em[a_k] @ self.right_em.T


@dataclass(frozen=True, eq=False)
class Known:
    """What features say of e entities.

    Attributes:
        units: [e, d] rows of length 1 for each block of features, zeros for entities that it does not know.
    """

    units: tuple[np.ndarray, ...]

    def to(self, rows: np.ndarray, n: int) -> np.ndarray:
        """[n, m] cosine of all entities with those of some rows, averaged over blocks; without features, who is who."""
        if not self.units:
            return np.eye(n)[:, rows]
        alike_em = np.zeros((n, len(rows)))
        for unit in self.units:
            alike_em += unit @ unit[rows].T
        return alike_em / len(self.units)

    def between(self, a_n: np.ndarray, b_n: np.ndarray) -> np.ndarray:
        """[n, blocks] cosine of both entities of each pair."""
        return np.stack([np.einsum("nd,nd->n", unit[a_n], unit[b_n]) for unit in self.units], axis=1)


def known(library: Library | None, names: tuple[str, ...]) -> Known:
    """Centred features of entities, block by block, at length 1."""
    if library is None:
        return Known(())
    rows, units = library.rows(names, "pairs"), []
    for block in library.blocks.values():
        x_ef = block[rows]
        known_e = x_ef.any(axis=1)
        if not known_e.any():
            continue
        x_ef = np.where(known_e[:, None], x_ef - x_ef[known_e].mean(axis=0), 0)
        length_e = np.linalg.norm(x_ef, axis=1, keepdims=True)
        units.append(np.divide(x_ef, length_e, out=np.zeros_like(x_ef), where=length_e > 0))
    return Known(tuple(units))


def profiles(pairs: PairScores) -> np.ndarray:
    """[e, e] correlation of the entities' measured scores with all others, shrunk; entities never measured have zeros."""
    n = len(pairs.names)
    sum_ee, count_ee = np.zeros((n, n)), np.zeros((n, n))
    for a_n, b_n in ((pairs.a_n, pairs.b_n), (pairs.b_n, pairs.a_n)):
        np.add.at(sum_ee, (a_n, b_n), pairs.score_n)
        np.add.at(count_ee, (a_n, b_n), 1)
    mean_e = sum_ee.sum(axis=1) / np.maximum(count_ee.sum(axis=1), 1)
    known_ee = count_ee > 0
    value_ee = np.where(known_ee, sum_ee / np.maximum(count_ee, 1) - 0.5 * (mean_e[:, None] + mean_e[None]), 0)
    top_ee = value_ee @ value_ee.T
    shared_ee = known_ee.astype(float)
    power_ee = np.square(value_ee) @ shared_ee.T
    size_e = np.sqrt(np.maximum(np.square(value_ee).sum(axis=1).mean(), 1e-12))
    # Two entities with few pairs in common are not told to be alike: twenty pairs of average size join the denominator.
    base = 20 * size_e**2 / max(float(shared_ee.sum(axis=1).mean()), 1)
    corr_ee = top_ee / (np.sqrt(power_ee * power_ee.T) + base)
    values, vectors = np.linalg.eigh((corr_ee + corr_ee.T) / 2)
    return (vectors * np.maximum(values, 0)) @ vectors.T


def fit_pairs(pairs: PairScores, features: Known, recipe: "Recipe | None" = None) -> PairFit:
    """Fit to measured pairs.

    Added up are what it means for a pair to be alike by features (ridge on the cosines of each block), the process on what
    that leaves, and, as far as the recipe says, a completion of low rank in place of the process.

    Args:
        pairs: Measured pairs.
        features: Of all entities.
        recipe: Shares; by default those for few data.
    """
    recipe = Recipe() if recipe is None else recipe
    alike_b = _alike_weights(pairs, features)
    rest_n = pairs.score_n - (features.between(pairs.a_n, pairs.b_n) @ alike_b if len(alike_b) else 0)
    rest = PairScores(pairs.names, pairs.a_n, pairs.b_n, rest_n)
    parts = [(1 - recipe.low, _fit_process(rest, features, recipe.trial))]
    if recipe.low > 0:
        parts.append((recipe.low, _fit_low_rank(rest)))
    lefts = [weight * fitted.left_em for weight, fitted in parts] + [
        weight * unit for weight, unit in zip(alike_b, features.units, strict=False)
    ]
    rights = [fitted.right_em for _, fitted in parts] + list(features.units[: len(alike_b)])
    return PairFit(
        sum(weight * fitted.mean for weight, fitted in parts),
        np.sum([weight * fitted.single_e for weight, fitted in parts], axis=0),
        np.concatenate(lefts, axis=1),
        np.concatenate(rights, axis=1),
    )


@dataclass(frozen=True)
class Recipe:
    """How pairs are fitted: shares and noise of the process, and the weight of a completion of low rank beside it."""

    trial: tuple[float, float, float] = TRIAL
    low: float = 0.0


def _alike_weights(pairs: PairScores, features: Known) -> np.ndarray:
    """[b] score per unit of each block's cosine between both entities, by ridge."""
    if not features.units:
        return np.zeros(0)
    x_nb = features.between(pairs.a_n, pairs.b_n)
    x_nb, y_n = x_nb - x_nb.mean(axis=0), pairs.score_n - pairs.score_n.mean()
    # A hundred pairs' worth of shrinkage for each block.
    ridge_b = 100 * np.maximum(x_nb.var(axis=0), 1e-12)
    return np.linalg.solve(x_nb.T @ x_nb + np.diag(ridge_b), x_nb.T @ y_n)


def _fit_low_rank(pairs: PairScores) -> PairFit:
    """Two-way means and the main components of what they leave, pairs without a score taken as average."""
    used_m, n_e = pairs.measured, len(pairs.names)
    place_e = np.zeros(n_e, np.int64)
    place_e[used_m] = np.arange(len(used_m))
    a_n, b_n, mean = place_e[pairs.a_n], place_e[pairs.b_n], float(pairs.score_n.mean())
    n_m = len(used_m)
    sum_m = np.bincount(a_n, pairs.score_n - mean, n_m) + np.bincount(b_n, pairs.score_n - mean, n_m)
    own_m = sum_m / np.maximum(np.bincount(a_n, minlength=n_m) + np.bincount(b_n, minlength=n_m), 1)
    grid_mm = np.zeros((n_m, n_m))
    for one, other in ((a_n, b_n), (b_n, a_n)):
        grid_mm[one, other] = pairs.score_n - mean - own_m[one] - own_m[other]
    values, vectors = np.linalg.eigh(grid_mm)
    keep = np.argsort(-np.abs(values))[:RANK]
    single_e, axes_er = np.zeros(n_e), np.zeros((n_e, len(keep)))
    single_e[used_m], axes_er[used_m] = own_m, vectors[:, keep]
    return PairFit(mean, single_e, axes_er * values[keep], axes_er)


def _fit_process(pairs: PairScores, features: Known, trial: tuple[float, float, float]) -> PairFit:
    """The Gaussian process: `trial` is the share of features in K_f, in K_g, and noise over the interaction's variance."""
    share_f, share_g, noise = trial
    used_m = pairs.measured
    n_e, n_m = len(pairs.names), len(used_m)
    features_em = features.to(used_m, n_e)
    own_em = np.zeros((n_e, n_m))
    own_em[used_m, np.arange(n_m)] = 1
    place_e = np.zeros(n_e, np.int64)
    place_e[used_m] = np.arange(n_m)
    a_n, b_n = place_e[pairs.a_n], place_e[pairs.b_n]
    seen_em = 0.5 * features_em
    seen_em[used_m] += 0.5 * profiles(PairScores(tuple(pairs.names[row] for row in used_m), a_n, b_n, pairs.score_n))
    f_em = share_f * features_em + (1 - share_f) * own_em
    g_em = share_g * seen_em + (1 - share_g) * own_em
    f_mm, g_mm = f_em[used_m], g_em[used_m]
    mean = float(pairs.score_n.mean())

    def both(weight_n: np.ndarray) -> np.ndarray:
        flat = np.bincount(a_n * n_m + b_n, weight_n, n_m * n_m).reshape(n_m, n_m)
        return flat + flat.T

    def times(weight_n: np.ndarray) -> np.ndarray:
        both_mm = both(weight_n)
        single_m, pair_mm = f_mm @ both_mm.sum(axis=1), g_mm @ both_mm @ g_mm
        return single_m[a_n] + single_m[b_n] + pair_mm[a_n, b_n] + noise * weight_n

    # pyrefly: ignore[missing-argument, unexpected-keyword, bad-keyword-argument] __new__ makes a class that takes these
    operator = LinearOperator((len(pairs), len(pairs)), matvec=times, dtype=np.float64)
    weight_n, _ = cg(operator, pairs.score_n - mean, rtol=1e-4, maxiter=STEPS)
    both_mm = both(weight_n)
    return PairFit(mean, f_em @ both_mm.sum(axis=1), g_em @ both_mm, g_em)


def choose_recipe(pairs: PairScores, features: Known, n_new: int, *, seed: int = 0) -> Recipe:
    """What predicts left-out pairs best: a tenth of the pairs, or pairs of which one or both entities were left out.

    Shares are those of the highest correlation, because ranks are what is asked. Among measured entities the completion of low
    rank counts half: it finds the few strong pairs better and the process ranks all pairs better, and weights estimated on
    left-out pairs, most of which are weak, are worse than equal ones (Bates and Granger, Oper. Res. Q. 20 (1969) 451-468).
    """
    hidden_n, shown_n = left_out_pairs(pairs, n_new, np.random.default_rng(seed), 0.1)
    if hidden_n.sum() < 5 or shown_n.sum() < 5 or np.ptp(pairs.score_n[hidden_n]) == 0:
        return Recipe()
    shown, truth_n = pairs.subset(np.flatnonzero(shown_n)), pairs.score_n[hidden_n]

    def told(recipe: Recipe) -> np.ndarray:
        return fit_pairs(shown, features, recipe).predict(pairs.a_n[hidden_n], pairs.b_n[hidden_n])

    said = {trial: told(Recipe(trial)) for trial in TRIALS}
    best = max(said, key=lambda trial: _correlation(said[trial], truth_n))
    return Recipe(best, 0.0 if n_new else 0.5)


def left_out_pairs(
    pairs: PairScores, n_new: int, rng: np.random.Generator, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """[n], [n] bool: pairs to predict, of which `n_new` entities are left out, and pairs to fit to.

    Args:
        pairs: Measured pairs.
        n_new: 0, 1 or 2.
        rng: Draws.
        share: Of the pairs, or of the entities, that is left out; three times as much where both are.
    """
    if n_new == 0:
        hidden_n = rng.random(len(pairs)) < share
        return hidden_n, ~hidden_n
    out_e = np.zeros(len(pairs.names), bool)
    n_out = max(n_new, round((3 if n_new == 2 else 1) * share * len(pairs.measured)))
    out_e[rng.choice(pairs.measured, n_out, replace=False)] = True
    n_out_n = out_e[pairs.a_n].astype(int) + out_e[pairs.b_n]
    return n_out_n == n_new, n_out_n == 0


def _correlation(x_n: np.ndarray, y_n: np.ndarray) -> float:
    return float(np.corrcoef(x_n, y_n)[0, 1]) if np.ptp(x_n) > 0 else -1.0
