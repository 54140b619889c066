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
ROWS = 20_000
"""Pairs that are answered together."""
_TRIALS = (
    # share of features in K_f, share of features in K_g, noise over the interaction's variance
    (0.3, 0.3, 1.0),
    (0.3, 0.3, 4.0),
    (0.3, 0.8, 1.0),
    (0.8, 0.8, 4.0),
    (0.8, 0.95, 1.0),
)
TRIAL = _TRIALS[2]
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
        left_em: [e, m] what pairs of each entity with the m measured ones are told by, times the weights of those.
        right_em: [e, m] the same without the weights: g of a pair is the product of a row of each.
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


def alikeness(library: Library, names: tuple[str, ...], to: np.ndarray | None = None) -> np.ndarray:
    """[e, m] cosine of features, averaged over blocks; 0 where nothing is known.

    Args:
        library: Features.
        names: The e entities.
        to: [m] rows of `names`; default: all of them.
    """
    to = np.arange(len(names)) if to is None else to
    kernel_em = np.zeros((len(names), len(to)))
    rows = library.rows(names, "pairs")
    for block in library.blocks.values():
        x_ef = block[rows]
        known_e = x_ef.any(axis=1)
        if not known_e.any():
            continue
        x_ef = np.where(known_e[:, None], x_ef - x_ef[known_e].mean(axis=0), 0)
        length_e = np.linalg.norm(x_ef, axis=1, keepdims=True)
        x_ef = np.divide(x_ef, length_e, out=np.zeros_like(x_ef), where=length_e > 0)
        kernel_em += x_ef @ x_ef[to].T
    return kernel_em / max(len(library.blocks), 1)


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


def fit_pairs(pairs: PairScores, features_em: np.ndarray, trial: tuple[float, float, float] = TRIAL) -> PairFit:
    """Fit with given shares.

    Args:
        pairs: Measured pairs.
        features_em: [e, m] what features say about how alike the e entities and the m that are in any pair are
            (`PairScores.measured`).
        trial: Share of features in K_f and in K_g, and noise over the interaction's variance.
    """
    share_f, share_g, noise = trial
    used_m = pairs.measured
    n_e, n_m = len(pairs.names), len(used_m)
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


def choose_trial(
    pairs: PairScores, features_em: np.ndarray, *, new_entities: bool, seed: int = 0
) -> tuple[float, float, float]:
    """Shares and noise by predicting a tenth of the measured pairs, or the pairs of a tenth of the entities."""
    rng = np.random.default_rng(seed)
    if new_entities:
        used = np.unique(np.concatenate([pairs.a_n, pairs.b_n]))
        out = rng.choice(used, max(1, len(used) // 10), replace=False)
        hidden_n = np.isin(pairs.a_n, out) | np.isin(pairs.b_n, out)
    else:
        hidden_n = rng.random(len(pairs)) < 0.1
    if hidden_n.sum() < 5 or (~hidden_n).sum() < 5:
        return TRIAL
    losses = []
    for trial in _TRIALS:
        fitted = fit_shown(pairs, features_em, ~hidden_n, trial)
        said_n = fitted.predict(pairs.a_n[hidden_n], pairs.b_n[hidden_n])
        losses.append(np.square(said_n - pairs.score_n[hidden_n]).mean())
    return _TRIALS[int(np.argmin(losses))]


def fit_shown(
    pairs: PairScores, features_em: np.ndarray, shown_n: np.ndarray, trial: tuple[float, float, float]
) -> PairFit:
    """Fit to some of the pairs; `features_em` belongs to all of them."""
    shown = pairs.subset(np.flatnonzero(shown_n))
    return fit_pairs(shown, features_em[:, np.isin(pairs.measured, shown.measured)], trial)
