"""Learned baselines of `next`: the model and acquisitions of GeneDisco, and ridge, after their descriptions.

GeneDisco (Mehrjou et al., ICLR 2022) fits a random forest to what was measured and picks by its spread over trees (top
uncertain), by drawing with chances that grow with it (soft uncertain), by the margin between trees, or, without a model,
by clusters of the features (k-means) and far from what was tested (core-set, `kcenter` of `vc discover next`). Written
from the paper; its gradient-based acquisitions (BADGE, adversarial BIM) need a network and are left out.
"""

from collections.abc import Callable

import numpy as np
from vc_model.plan.library import Library
from vc_model.plan.next import Goal, oriented
from vc_model.plan.query import Scores

N_TREES = 50
N_RIDGE = 100
Pick = Callable[[np.ndarray, np.ndarray, np.ndarray, int, np.random.Generator], np.ndarray]


def replay(
    x_ed: np.ndarray, truth: Scores, goal: Goal, pick: Pick, batch: int, n_rounds: int, *, seed: int
) -> np.ndarray:
    """[n_rounds] share of all hits found after each round; the first batch is drawn at random.

    Args:
        x_ed: [e, d] features, in the order of `truth`.
        truth: Scores and hits of all entities.
        goal: Which scores are wanted.
        pick: Features, tested rows, their wanted sizes, how many, draws -> rows to test.
        batch: Entities in a round.
        n_rounds: Rounds.
        seed: Of draws.
    """
    rng = np.random.default_rng([seed, 77])
    # Genes without features are alike to a model. Files are often sorted by score: the order of rows must not decide.
    order = rng.permutation(len(truth))
    x_ed, truth = x_ed[order], truth.subset(order)
    hit_e = np.asarray(truth.hit_n)
    tested = rng.choice(len(truth), batch, replace=False)
    found = [hit_e[tested].sum() / hit_e.sum()]
    for _ in range(n_rounds - 1):
        value_n = oriented(truth.score_n[tested], goal)
        wanted_n = np.abs(value_n) if goal.direction == "both" else value_n
        tested = np.append(tested, pick(x_ed, tested, wanted_n, batch, rng))
        found.append(hit_e[tested].sum() / hit_e.sum())
    return np.array(found)


def ridge_matrix(library: Library) -> np.ndarray:
    """[e, 100] main components of gene-set membership (as many as the blocks hold)."""
    x_ed = np.concatenate([library.blocks[name] for name in ("go", "pathways") if name in library.blocks], axis=1)
    u, s, _ = np.linalg.svd(x_ed - x_ed.mean(axis=0), full_matrices=False)
    return (u * s)[:, :N_RIDGE]


def ridge_best(x_ed, tested, wanted_n, batch, rng) -> np.ndarray:
    """Highest expected size by ridge, its penalty by leave-one-out."""
    from sklearn.linear_model import RidgeCV

    mean_e = RidgeCV(np.logspace(-2, 3, 11)).fit(x_ed[tested], wanted_n).predict(x_ed)
    return _best(mean_e, tested, batch)


def forest_best(x_ed, tested, wanted_n, batch, rng) -> np.ndarray:
    """Highest expected size by the forest."""
    return _best(_trees(x_ed, tested, wanted_n, rng).mean(axis=0), tested, batch)


def top_uncertain(x_ed, tested, wanted_n, batch, rng) -> np.ndarray:
    """Widest spread over trees."""
    return _best(_trees(x_ed, tested, wanted_n, rng).std(axis=0), tested, batch)


def soft_uncertain(x_ed, tested, wanted_n, batch, rng) -> np.ndarray:
    """Drawn with chances that grow with the spread over trees (temperature 0.9)."""
    spread_e = _trees(x_ed, tested, wanted_n, rng).std(axis=0)
    return _best(spread_e / 0.9 + rng.gumbel(size=len(x_ed)), tested, batch)


def margin(x_ed, tested, wanted_n, batch, rng) -> np.ndarray:
    """Largest difference between two trees."""
    return _best(np.ptp(_trees(x_ed, tested, wanted_n, rng), axis=0), tested, batch)


def k_means(x_ed, tested, wanted_n, batch, rng) -> np.ndarray:
    """The untested entity nearest to each of as many cluster centres as the batch has places."""
    from sklearn.cluster import MiniBatchKMeans

    open_e = np.setdiff1d(np.arange(len(x_ed)), tested)
    model = MiniBatchKMeans(batch, n_init=1, max_iter=10, batch_size=4096, random_state=int(rng.integers(2**31))).fit(
        x_ed[open_e]
    )
    gap_eb = model.transform(x_ed[open_e])
    chosen: list[int] = []
    for column in range(batch):
        gap_eb[chosen, column] = np.inf
        chosen.append(int(gap_eb[:, column].argmin()))
    return open_e[chosen]


def _trees(x_ed, tested, wanted_n, rng) -> np.ndarray:
    """[t, e] what each tree says."""
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(N_TREES, max_features="sqrt", random_state=int(rng.integers(2**31)))
    forest.fit(x_ed[tested], wanted_n)
    x_ed = np.ascontiguousarray(x_ed, dtype=np.float32)
    return np.stack([tree.predict(x_ed) for tree in forest.estimators_])


def _best(value_e: np.ndarray, tested: np.ndarray, batch: int) -> np.ndarray:
    value_e = value_e.copy()
    value_e[tested] = -np.inf
    return np.argsort(-value_e, kind="stable")[:batch]


PICKS: dict[str, Pick] = {
    "ridge on gene sets": ridge_best,
    "random forest, best expected": forest_best,
    "GeneDisco, top uncertain": top_uncertain,
    "GeneDisco, soft uncertain": soft_uncertain,
    "GeneDisco, margin": margin,
    "GeneDisco, k-means": k_means,
}
"""Name -> how it picks."""
