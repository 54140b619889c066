"""A Gaussian process on scores of pairs, exact up to conjugate gradients, whatever pairs were measured.

score(a, b) = mean + f(a) + f(b) + g(a, b), with covariances K_f over entities and K_g(a, c) K_g(b, d) + K_g(a, d) K_g(b, c)
over pairs (a symmetric Kronecker kernel: Pahikkala, Viljanen, Airola and Waegeman, J. Mach. Learn. Res. 14 (2013)). Each K mixes
the identity with features, so that a pair of entities that were measured in other pairs and a pair of entities that never
were are both answered, each with what is known.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg

from vc_model.plan.library import Library

STEPS = 40
_TRIALS = (
    # share of features in K_f, share of features in K_g, noise over the interaction's variance
    (0.3, 0.3, 1.0),
    (0.3, 0.3, 4.0),
    (0.3, 0.8, 1.0),
    (0.8, 0.8, 4.0),
    (0.8, 0.95, 1.0),
)


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

    def subset(self, rows: np.ndarray) -> "PairScores":
        """The given pairs, all entities kept."""
        return PairScores(self.names, self.a_n[rows], self.b_n[rows], self.score_n[rows])


@dataclass(frozen=True, eq=False)
class PairFit:
    """A fitted process.

    Attributes:
        mean: Mean score.
        single_e: [e] f of each entity.
        pair_ee: [e, e] g of each pair.
        share_f: Share of features in K_f.
        share_g: Share of features in K_g.
        noise: Noise over the interaction's variance.
    """

    mean: float
    single_e: np.ndarray
    pair_ee: np.ndarray
    share_f: float
    share_g: float
    noise: float

    def predict(self, a_m: np.ndarray, b_m: np.ndarray) -> np.ndarray:
        """[m] expected scores."""
        return self.mean + self.single_e[a_m] + self.single_e[b_m] + self.pair_ee[a_m, b_m]


def alikeness(library: Library, names: tuple[str, ...]) -> np.ndarray:
    """[e, e] cosine of features, averaged over blocks; 1 on the diagonal, 0 where nothing is known."""
    kernel_ee = np.zeros((len(names), len(names)))
    rows = library.rows(names, "pairs")
    for block in library.blocks.values():
        x_ef = block[rows]
        x_ef = (
            x_ef - np.where(x_ef.any(axis=1, keepdims=True), x_ef[x_ef.any(axis=1)].mean(axis=0), 0)
            if x_ef.any()
            else x_ef
        )
        length_e = np.linalg.norm(x_ef, axis=1, keepdims=True)
        x_ef = np.divide(x_ef, length_e, out=np.zeros_like(x_ef), where=length_e > 0)
        kernel_ee += x_ef @ x_ef.T
    kernel_ee /= max(len(library.blocks), 1)
    return kernel_ee


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


def fit_pairs(pairs: PairScores, features_ee: np.ndarray, trial: tuple[float, float, float] = _TRIALS[2]) -> PairFit:
    """Fit with given shares; `features_ee` [e, e] is what features say about alikeness."""
    share_f, share_g, noise = trial
    n_e = len(pairs.names)
    seen_ee = 0.5 * features_ee + 0.5 * profiles(pairs)
    k_f = share_f * features_ee + (1 - share_f) * np.eye(n_e)
    k_g = share_g * seen_ee + (1 - share_g) * np.eye(n_e)
    mean = float(pairs.score_n.mean())
    a_n, b_n = pairs.a_n, pairs.b_n

    def spread(weight_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        both_ee = np.zeros((n_e, n_e))
        np.add.at(both_ee, (a_n, b_n), weight_n)
        both_ee = both_ee + both_ee.T
        return k_f @ both_ee.sum(axis=1), k_g @ both_ee @ k_g

    def times(weight_n: np.ndarray) -> np.ndarray:
        single_e, pair_ee = spread(weight_n)
        return single_e[a_n] + single_e[b_n] + pair_ee[a_n, b_n] + noise * weight_n

    # pyrefly: ignore[missing-argument, unexpected-keyword, bad-keyword-argument] __new__ makes a class that takes these
    operator = LinearOperator((len(pairs), len(pairs)), matvec=times, dtype=np.float64)
    weight_n, _ = cg(operator, pairs.score_n - mean, rtol=1e-4, maxiter=STEPS)
    single_e, pair_ee = spread(weight_n)
    return PairFit(mean, single_e, pair_ee, share_f, share_g, noise)


def choose_trial(
    pairs: PairScores, features_ee: np.ndarray, *, new_entities: bool, seed: int = 0
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
        return _TRIALS[2]
    shown, hidden = pairs.subset(np.flatnonzero(~hidden_n)), pairs.subset(np.flatnonzero(hidden_n))
    losses = []
    for trial in _TRIALS:
        fitted = fit_pairs(shown, features_ee, trial)
        losses.append(np.square(fitted.predict(hidden.a_n, hidden.b_n) - hidden.score_n).mean())
    return _TRIALS[int(np.argmin(losses))]
