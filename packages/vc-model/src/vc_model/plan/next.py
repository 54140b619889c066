"""The next batch to test, from what was measured so far.

Two Gaussian processes on features of the library (`vc_model.plan.surrogate`): one of the score, one of its size. Together
they give every untested entity a chance to pass the threshold of a hit, which adapts to what was measured. A batch is
chosen greedily; after each choice the beliefs about similar entities are updated as if it had been measured at its
expected value, so that a batch is diverse (Desautels, Krause and Burdick, J. Mach. Learn. Res. 15 (2014) 3873-3923).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import numpy as np
from scipy.stats import norm

from vc_model.plan.doubt import association_p
from vc_model.plan.errors import PlanError
from vc_model.plan.library import Library
from vc_model.plan.query import Scores
from vc_model.plan.surrogate import Posterior, fit_posterior, left_out

Strategy = Literal["hits", "ucb", "thompson", "disagreement", "kcenter", "random", "essentials"]
Direction = Literal["high", "low", "both"]
STRATEGIES: tuple[Strategy, ...] = ("hits", "ucb", "thompson", "disagreement", "kcenter", "random", "essentials")
LEAST_TO_LEARN = 20
"""Measured entities before the features are asked; until then a batch is chosen for what it would teach."""
_CLIP, _BETA = 4.0, 1.0


@dataclass(frozen=True, eq=False)
class Beliefs:
    """What is believed about every entity of a library.

    Attributes:
        mean_e: [e] expected score; robustly standardised, and turned so that hits are high (or far from 0).
        spread_e: [e] standard deviation of a measured score around its expectation.
        chance_e: [e] probability that a measurement would be a hit.
        threshold: Standardised score from which an entity counts as a hit.
        two_sided: Whether hits are far from 0 rather than high.
        posterior: Of the score; None before there is anything to learn from.
        signal: Spearman correlation of left-out predictions with measured sizes, and its p-value.
        x_ed: [e, d] features of the library.
    """

    mean_e: np.ndarray
    spread_e: np.ndarray
    chance_e: np.ndarray
    threshold: float
    two_sided: bool
    posterior: Posterior | None
    signal: tuple[float, float]
    x_ed: np.ndarray

    @cached_property
    def sd_e(self) -> np.ndarray:
        """[e] standard deviation of the noise-free score; most of the work of a large library, so made when asked for."""
        return np.ones(len(self.mean_e)) if self.posterior is None else self.posterior.sd(self.x_ed)


@dataclass(frozen=True)
class Goal:
    """What counts as a hit.

    Attributes:
        direction: Which scores are wanted: high, low, or far from the middle.
        share: Share of the library that are hits, where the measured table does not say what is one.
    """

    direction: Direction = "both"
    share: float = 0.05


def learn(library: Library, measured: Scores, goal: Goal, *, seed: int = 0) -> Beliefs:
    """Beliefs after measuring some entities of a library.

    Args:
        library: All entities.
        measured: Scores of some of them.
        goal: What is looked for.
        seed: Of subsampling, where many were measured.

    Raises:
        PlanError: If scores name entities that are not in the library.
    """
    rows = library.rows(measured.names, "measured scores")
    if len(rows) < LEAST_TO_LEARN or not library.blocks:
        return unlearned(library)
    both = goal.direction == "both"
    value_n = oriented(measured.score_n, goal)
    threshold = _threshold(value_n, measured.hit_n, goal)
    clipped_n = np.clip(value_n, -_CLIP, _CLIP)
    size_n = np.sqrt(np.abs(clipped_n))
    parts = library.parts(rows)
    location = fit_posterior(parts, clipped_n, prior_b=library.prior_b, seed=seed)
    size = fit_posterior(parts, size_n, prior_b=library.prior_b, seed=seed)
    x_ed = library.features_ed
    mean_e = location.mean(x_ed)
    # E sqrt|z| = 0.822 for a standard normal z: the size's process says how widely measurements scatter.
    spread_e = np.maximum(size.mean(x_ed) / 0.822, 0.3) ** 2
    chance_e = norm.sf((threshold - mean_e) / spread_e)
    if both:
        chance_e += norm.cdf((-threshold - mean_e) / spread_e)
    own, wanted_n = (size, size_n) if both else (location, clipped_n)
    signal = association_p(left_out(own, parts, wanted_n), wanted_n)
    return Beliefs(mean_e, spread_e, chance_e, threshold, both, location, signal, x_ed)


def with_list(library: Library, listed: Sequence[str]) -> Library:
    """The library with one more block: whether an entity is on a list of those that are hit in screens of any kind."""
    listed_e = np.isin(np.array(library.names), list(listed)).astype(np.float64)
    if not 0 < listed_e.sum() < len(listed_e):
        return library
    block_e = (listed_e - listed_e.mean()) / listed_e.std()
    return Library(library.names, {**library.blocks, "listed": block_e[:, None]})


def choose(
    library: Library,
    beliefs: Beliefs,
    open_e: np.ndarray,
    batch: int,
    strategy: Strategy = "hits",
    *,
    seed: int = 0,
    essentials: Sequence[str] = (),
    tested_e: np.ndarray | None = None,
) -> np.ndarray:
    """[batch] rows of the entities to test next, in the order in which they were chosen.

    Args:
        library: All entities.
        beliefs: What is believed about them.
        open_e: [e] bool, what may be chosen.
        batch: How many; at most as many as are open.
        strategy: How.
        seed: Of draws.
        essentials: Names that `essentials` prefers.
        tested_e: [e] bool, what was tested; `kcenter` keeps away from it.

    Raises:
        PlanError: If more are asked for than are open.
    """
    if batch > open_e.sum():
        raise PlanError(f"batch {batch}: only {open_e.sum()} of the library are untested. Ask for at most so many.")
    rng = np.random.default_rng(seed)
    tie_e = rng.random(len(open_e))
    listed_e = np.isin(np.array(library.names), list(essentials))
    pick: dict[str, Callable[[], np.ndarray]] = {
        "random": lambda: _best(tie_e, open_e, batch),
        "essentials": lambda: _best(listed_e + tie_e, open_e, batch),
        "kcenter": lambda: _far_apart(library.features_ed, open_e, tested_e, batch, tie_e),
        "thompson": lambda: _thompson(library, beliefs, open_e, batch, rng),
    }
    if strategy in pick:
        return pick[strategy]()
    first = np.zeros(0, dtype=np.int64)
    if strategy == "hits" and beliefs.posterior is None:
        # What is hit in screens of any kind is the best guess before anything was measured: half of the batch tests it.
        first = _best(tie_e, open_e & listed_e, min(batch // 2, int((open_e & listed_e).sum())))
        open_e = open_e & ~np.isin(np.arange(len(open_e)), first)
    return np.append(first, _greedy(library, beliefs, open_e, batch - len(first), strategy, tie_e))


def oriented(score_n: np.ndarray, goal: Goal) -> np.ndarray:
    """[n] robustly standardised scores (median, median absolute deviation), hits high or far from 0."""
    middle = np.median(score_n)
    scale = float(1.4826 * np.median(np.abs(score_n - middle))) or float(score_n.std()) or 1.0
    return (-1.0 if goal.direction == "low" else 1.0) * (score_n - middle) / scale


def _threshold(value_n: np.ndarray, hit_n: np.ndarray | None, goal: Goal) -> float:
    """The standardised score from which an entity is a hit."""
    size_n = np.abs(value_n) if goal.direction == "both" else value_n
    usual = float(norm.isf(goal.share / (2 if goal.direction == "both" else 1)))
    if hit_n is None or not hit_n.any() or hit_n.all():
        return max(usual, float(np.quantile(size_n, 1 - goal.share)))
    # Scores are clipped, so a threshold beyond the clip would leave every entity without a chance, and all alike.
    return min(_CLIP, float((size_n[hit_n].min() + max(size_n[~hit_n].max(), size_n[hit_n].min() - 1)) / 2))


def unlearned(library: Library) -> Beliefs:
    """Beliefs before anything was measured: all entities alike."""
    flat_e = np.zeros(len(library.names))
    return Beliefs(flat_e, flat_e + 1, flat_e + 0.05, 2.0, False, None, (0.0, 1.0), library.features_ed)


def _best(value_e: np.ndarray, open_e: np.ndarray, batch: int) -> np.ndarray:
    return np.argsort(-np.where(open_e, value_e, -np.inf), kind="stable")[:batch]


def _first(value_e: np.ndarray, open_e: np.ndarray) -> int:
    return int(np.where(open_e, value_e, -np.inf).argmax())


def _far_apart(
    x_ed: np.ndarray, open_e: np.ndarray, tested_e: np.ndarray | None, batch: int, tie_e: np.ndarray
) -> np.ndarray:
    """Farthest-first traversal (k-center), from what was tested. Source: Gonzalez, Theor. Comput. Sci. 38 (1985)."""
    square_e = np.square(x_ed).sum(axis=1)

    def distance(rows: np.ndarray) -> np.ndarray:
        return (square_e[:, None] + square_e[rows] - 2 * x_ed @ x_ed[rows].T).min(axis=1)

    gap_e = np.full(len(x_ed), np.inf)
    tested = np.zeros(0, int) if tested_e is None else np.flatnonzero(tested_e)
    for rows in np.array_split(tested, len(tested) // 64 + 1) if len(tested) else ():
        gap_e = np.minimum(gap_e, distance(rows))
    chosen: list[int] = []
    free_e = open_e.copy()
    for _ in range(batch):
        value_e = np.where(np.isinf(gap_e), tie_e, gap_e + 1e-9 * tie_e)
        row = _first(value_e, free_e)
        chosen.append(row)
        free_e[row] = False
        gap_e = np.minimum(gap_e, distance(np.array([row])))
    return np.array(chosen)


def _thompson(
    library: Library, beliefs: Beliefs, open_e: np.ndarray, batch: int, rng: np.random.Generator
) -> np.ndarray:
    """Each choice is the best under one draw of the beliefs. Source: Thompson, Biometrika 25 (1933) 285-294."""
    free_e = open_e.copy()
    if beliefs.posterior is None:
        return _best(rng.random(len(free_e)), free_e, batch)
    root_ed = beliefs.posterior.root(library.features_ed)
    draws_eb = beliefs.mean_e[:, None] + root_ed @ rng.standard_normal((root_ed.shape[1], batch))
    draws_eb = np.abs(draws_eb) if beliefs.two_sided else draws_eb
    # Entities without features are all alike in every draw: chance decides between them, not the order of the library.
    draws_eb = draws_eb + 1e-9 * rng.random(draws_eb.shape)
    chosen = []
    for draw in range(batch):
        row = _first(draws_eb[:, draw], free_e)
        chosen.append(row)
        free_e[row] = False
    return np.array(chosen)


def _greedy(
    library: Library, beliefs: Beliefs, open_e: np.ndarray, batch: int, strategy: Strategy, tie_e: np.ndarray
) -> np.ndarray:
    """Best first, each choice taken as measured at its expected value before the next."""
    x_ed = library.features_ed
    posterior = beliefs.posterior
    prior = posterior is None
    if prior and open_e.sum() >= 4 * batch:
        # Before anything is known the widest features are not all there is: each seed looks at another half.
        open_e = open_e & (tie_e > np.median(tie_e[open_e]))
    kept = np.flatnonzero(open_e)
    if batch and not prior and strategy == "hits":
        # Whatever is chosen is worth at least the batch-th largest value that is left when there is nothing more to
        # learn, which is half of its chance; what is worth less than that now need not be looked at again.
        chance_m = beliefs.chance_e[kept]
        kept = kept[chance_m >= np.sort(0.5 * chance_m)[-batch]]
    root_md = x_ed[kept] / np.sqrt(max(len(library.blocks), 1)) if posterior is None else posterior.root(x_ed[kept])
    noise, centre_var = (1.0, 0.0) if posterior is None else (posterior.noise, posterior.centre_var)
    var_m = np.square(root_md).sum(axis=1)
    before_m = np.sqrt(var_m + centre_var)
    value_of = partial(_value, beliefs, "disagreement" if prior and strategy == "hits" else strategy, kept, before_m)
    tie_m = 1e-9 * tie_e[kept]
    free_m, chosen = np.ones(len(kept), bool), []
    seen_mb = np.zeros((len(kept), batch), dtype=root_md.dtype)
    for at in range(batch):
        row = _first(value_of(np.sqrt(np.maximum(var_m, 0))) + tie_m, free_m)
        chosen.append(kept[row])
        free_m[row] = False
        cov_m = root_md @ root_md[row] - seen_mb[:, :at] @ seen_mb[row, :at]
        seen_mb[:, at] = cov_m / np.sqrt(max(cov_m[row], 0) + noise)
        var_m = var_m - seen_mb[:, at] ** 2
    return np.array(chosen, dtype=np.int64)


def _value(
    beliefs: Beliefs, strategy: Strategy, rows: np.ndarray, before_m: np.ndarray, sd_m: np.ndarray
) -> np.ndarray:
    """[m] what testing each of some rows is worth, `before_m` and `sd_m` their uncertainty before the batch and now."""
    if strategy == "disagreement":
        return sd_m
    mean_m = beliefs.mean_e[rows]
    if strategy == "ucb":
        return (np.abs(mean_m) if beliefs.two_sided else mean_m) + _BETA * sd_m
    # What the batch would already tell counts half: the other half of a hit's worth is what it teaches.
    return beliefs.chance_e[rows] * (0.5 + 0.5 * sd_m / np.maximum(before_m, 1e-12))
