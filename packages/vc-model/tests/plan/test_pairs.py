"""Scores of pairs: few directions are completed, and pairs of alike entities that nothing was measured of are told."""

import numpy as np
from vc_model.plan.library import make_library
from vc_model.plan.pairs import PairScores, Recipe, choose_recipe, fit_pairs, known

NAMES = tuple(f"G{row}" for row in range(80))


def pairs_of(score_ee: np.ndarray, noise: float) -> PairScores:
    """All pairs of the entities, measured once."""
    a_n, b_n = np.triu_indices(len(NAMES), 1)
    return PairScores(NAMES, a_n, b_n, score_ee[a_n, b_n] + noise * np.random.default_rng(1).standard_normal(len(a_n)))


def split(pairs: PairScores, hidden_n: np.ndarray) -> tuple[PairScores, PairScores]:
    return pairs.subset(np.flatnonzero(~hidden_n)), pairs.subset(np.flatnonzero(hidden_n))


def correlation(fitted, test: PairScores) -> float:
    return float(np.corrcoef(fitted.predict(test.a_n, test.b_n), test.score_n)[0, 1])


def test_pairs_of_measured_entities_are_the_mean_of_the_process_and_a_completion_of_low_rank():
    axis_e = np.random.default_rng(0).standard_normal(80)
    pairs = pairs_of(np.outer(axis_e, axis_e), 1.0)
    shown, test = split(pairs, np.random.default_rng(2).random(len(pairs)) < 0.3)
    nothing = known(None, NAMES)
    recipe = choose_recipe(shown, nothing, 0)
    process, low = (fit_pairs(shown, nothing, Recipe(recipe.trial, share)) for share in (0.0, 1.0))
    at = test.a_n, test.b_n
    np.testing.assert_allclose(
        fit_pairs(shown, nothing, recipe).predict(*at), 0.5 * (process.predict(*at) + low.predict(*at)), atol=1e-9
    )
    assert correlation(low, test) > 0.3, "the few directions are found"
    assert choose_recipe(shown, nothing, 1).low == 0, "an entity that nothing was measured of has no row to complete"


def test_a_score_without_structure_gives_low_rank_no_weight_that_hurts():
    pairs = pairs_of(np.zeros((80, 80)), 1.0)
    shown, test = split(pairs, np.random.default_rng(2).random(len(pairs)) < 0.3)
    fitted = fit_pairs(shown, known(None, NAMES), choose_recipe(shown, known(None, NAMES), 0))
    assert abs(correlation(fitted, test)) < 0.15 and np.ptp(fitted.predict(test.a_n, test.b_n)) < 4


def test_pairs_of_two_unseen_entities_are_told_by_how_alike_they_are():
    rng = np.random.default_rng(3)
    features_ed = np.repeat(rng.standard_normal((16, 6)), 5, axis=0) + 0.3 * rng.standard_normal((80, 6))
    library = make_library(NAMES, {"kind": (NAMES, features_ed)})
    unit_ed = known(library, NAMES).units[0]
    pairs = pairs_of(-2 * unit_ed @ unit_ed.T, 0.5)
    out_e = rng.random(80) < 0.25
    n_out_n = out_e[pairs.a_n].astype(int) + out_e[pairs.b_n]
    shown, test = pairs.subset(np.flatnonzero(n_out_n == 0)), pairs.subset(np.flatnonzero(n_out_n == 2))
    features = known(library, NAMES)
    assert correlation(fit_pairs(shown, features, choose_recipe(shown, features, 2)), test) > 0.6
    shuffled = PairScores(NAMES, shown.a_n, shown.b_n, rng.permutation(shown.score_n))
    nothing = fit_pairs(shuffled, features, choose_recipe(shuffled, features, 2))
    assert nothing.predict(test.a_n, test.b_n).std() < 0.2 * test.score_n.std()
