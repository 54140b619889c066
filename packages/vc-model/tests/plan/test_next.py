"""The next batch: finds more than chance where features tell, and no more where they do not; goes on after a kill."""

import numpy as np
import pytest
from vc_model.plan.errors import PlanError
from vc_model.plan.library import make_library
from vc_model.plan.next import STRATEGIES, Goal, choose, learn
from vc_model.plan.propose import propose
from vc_model.plan.query import Scores
from vc_model.plan.rounds import Plan, next_batch, replay
from vc_model.plan.surrogate import fit_posterior


def _found(known, strategy, shuffled=False, seeds=range(3)) -> float:
    library, truth = known
    runs = [
        replay(library, truth, Plan(strategy=strategy, batch=25, seed=seed), 4, shuffled=shuffled) for seed in seeds
    ]
    return float(np.mean([run[-1] for run in runs]))


def test_hits_beats_random_and_its_own_permuted_feedback(known):
    ours = _found(known, "hits")
    assert ours > 1.5 * _found(known, "random")
    assert ours > 1.5 * _found(known, "hits", shuffled=True)


@pytest.mark.parametrize("direction", ["high", "low"])
def test_one_sided_goals_prefer_their_side(known, direction):
    library, truth = known
    beliefs = learn(library, truth.subset(np.arange(150)), Goal(direction))
    rest = np.arange(150, 400)
    best = rest[np.argsort(-beliefs.chance_e[rest])[:25]]
    sign = 1 if direction == "high" else -1
    assert sign * truth.score_n[best].mean() > 1


def test_every_strategy_gives_a_batch_of_different_open_entities(known):
    library, truth = known
    beliefs = learn(library, truth.subset(np.arange(60)), Goal())
    open_e = np.arange(400) >= 60
    for strategy in STRATEGIES:
        rows = choose(library, beliefs, open_e, 12, strategy, seed=1, essentials=["G70", "G71"], tested_e=~open_e)
        assert len(set(rows.tolist())) == 12
        assert open_e[rows].all()
        if strategy == "essentials":
            assert {70, 71} <= set(rows.tolist())


def test_a_batch_does_not_repeat_itself():
    rng = np.random.default_rng(0)
    kinds = rng.standard_normal((10, 8))
    names = [f"G{row}" for row in range(100)]
    library = make_library(names, {"kind": (names, np.repeat(kinds, 10, axis=0))})
    beliefs = learn(library, Scores((), np.zeros(0)), Goal())
    rows = choose(library, beliefs, np.ones(100, bool), 10, "disagreement")
    assert len(set(rows // 10)) >= 6


def test_sources_that_agree_are_trusted_first_and_a_lone_one_when_measurements_bear_it_out():
    rng = np.random.default_rng(0)
    names = [f"G{row}" for row in range(300)]
    truth_ed = rng.standard_normal((300, 5))
    blocks = {name: truth_ed @ rng.standard_normal((5, 12)) + 0.5 * rng.standard_normal((300, 12)) for name in "ab"}
    blocks["alone"] = rng.standard_normal((300, 12))
    library = make_library(names, {name: (names, block) for name, block in blocks.items()})
    prior = dict(zip(library.blocks, library.prior_b, strict=True))
    assert library.prior_b.sum() == pytest.approx(1)
    assert prior["a"] > 3 * prior["alone"] and prior["alone"] >= 0.08
    alone_n = blocks["alone"] @ rng.standard_normal(12)
    fitted = fit_posterior(library.parts(np.arange(200)), alone_n[:200], prior_b=library.prior_b)
    assert fitted.share_b.argmax() == 2
    assert np.corrcoef(fitted.mean(library.features_ed[200:]), alone_n[200:])[0, 1] > 0.9


def test_a_library_of_one_source_or_none_has_a_prior():
    names = ["G1", "G2", "G3"]
    assert make_library(names, {}).prior_b.size == 0
    assert make_library(names, {"one": (names, np.eye(3))}).prior_b.tolist() == [1.0]


def test_shuffled_scores_are_said_to_tell_nothing(known):
    library, truth = known
    rng = np.random.default_rng(1)
    p_n = []
    for _ in range(20):
        told = Scores(truth.names[:150], rng.permutation(truth.score_n)[:150])
        p_n.append(learn(library, told, Goal()).signal[1])
    assert np.mean(np.array(p_n) < 0.05) <= 0.2
    assert learn(library, truth.subset(np.arange(150)), Goal("high")).signal[1] < 1e-4


def test_a_killed_loop_goes_on_with_the_same_choices(known, tmp_path):
    library, truth = known
    plan = Plan(batch=10, seed=3)

    def loop(dpath, stop_after=None):
        tested, seen = [], []
        for number in range(4):
            batch = next_batch(library, truth.subset(np.array(tested, int)), plan, dpath)
            seen.append(batch.rows.tolist())
            if number == stop_after:
                return seen, tested
            tested += batch.rows.tolist()
        return seen, tested

    whole, _ = loop(tmp_path / "whole")
    part, tested = loop(tmp_path / "killed", stop_after=2)
    again = next_batch(library, truth.subset(np.array(tested, int)), plan, tmp_path / "killed")
    assert again.waiting
    assert again.rows.tolist() == part[2] == whole[2]
    tested += part[2]
    assert next_batch(library, truth.subset(np.array(tested, int)), plan, tmp_path / "killed").rows.tolist() == whole[3]


def test_refusals(known, tmp_path):
    library, truth = known
    some = truth.subset(np.arange(30))
    with pytest.raises(PlanError, match="budget 500: the library has 400"):
        next_batch(library, some, Plan(budget=500))
    with pytest.raises(PlanError, match="budget 20: spent"):
        next_batch(library, some, Plan(budget=20))
    with pytest.raises(PlanError, match="nearest: G1"):
        next_batch(library, Scores(("g1x",), np.ones(1)), Plan())
    next_batch(library, some, Plan(batch=5), tmp_path)
    with pytest.raises(PlanError, match="another strategy"):
        next_batch(library, some, Plan(batch=5, strategy="ucb"), tmp_path)


def test_the_answer_has_every_column_and_a_page(known, tmp_path):
    library, truth = known
    decision = propose(library, truth.subset(np.arange(100)), Plan(batch=10))
    decision.write(tmp_path)
    assert list(decision.table.columns[:8]) == [
        "rank",
        "name",
        "effect",
        "low",
        "high",
        "evidence",
        "doubts",
        "support",
    ]
    page = (tmp_path / "page.html").read_text()
    assert "<svg" in page
    assert "default-src 'none'" in page and 'http-equiv="refresh"' not in page and "src=" not in page
    assert (tmp_path / "table.parquet").stat().st_size > 0
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 11
