"""The class of a question, and what such questions were worth."""

from dataclasses import replace

import numpy as np
import pytest
from vc_model.ask.levels import clearness, tell_apart
from vc_model.ask.precedent import UNMEASURED, find, make_precedents
from vc_model.ask.relatives import fit_relatives
from vc_model.ask.rules import AnswerRules, _refusal
from vc_model.ask.sample import Sample, correlation, other_means, repeatability, share_of_repeat
from vc_model.ask.verdict import ELSEWHERE, HERE, NOWHERE, PARTS, RELATIVE, judge
from vc_model.table.effects import Action, Conditions
from vc_model.table.folds import recall
from vc_model.testing import make_world


def judged(model, line, *targets):
    question = Conditions(np.array([line]), (Action(targets, 0),))
    return judge(model.memory.known, model.memory.relatives, question)


def test_every_class_is_told_apart(model, world):
    assert judged(model, "A", "G3").kind_q == [HERE]
    pair = next(a for a in world.train.conditions.actions if len(a.targets) == 2)
    assert judged(model, "A", *pair.targets).kind_q == [HERE]
    singles = {(a.targets[0]) for a in world.train.conditions.actions if len(a.targets) == 1}
    taken = {a.targets for a in world.train.conditions.actions}
    new = next((a, b) for a in sorted(singles) for b in sorted(singles) if a < b and (a, b) not in taken)
    assert judged(model, "A", *new).kind_q == [PARTS]
    assert judged(model, "C", "G3").kind_q == [ELSEWHERE] and judged(model, "C", "G3").new_line_q.all()
    assert judged(model, "A", "made-up").kind_q == [NOWHERE] and not judged(model, "A", "made-up").known_q.any()
    assert judged(model, "A", "G3", "made-up").kind_q == [NOWHERE]
    assert judged(model, "A").kind_q == [HERE]


def test_a_relative_is_named_with_what_its_likeness_was_worth(model):
    found = judged(model, "A", "G33")
    assert found.kind_q == [RELATIVE]
    name, cosine, worth = found.closest[0][0]
    assert name in model.memory.targets and 0 < cosine <= 1 and worth >= 0.1 and name in found.why[0]


def test_likeness_is_worth_something_where_features_tell_of_effects_and_nothing_where_they_do_not():
    best = {}
    for features in ("good", "useless"):
        world = make_world(n_train=60, n_genes=80, features=features, measured_targets=False, seed=3)
        relatives = fit_relatives(world.train)
        best[features] = relatives.worth(relatives.nearest(list(relatives.targets), others_only=True)[1]).mean()
    assert best["good"] > 0.3 > best["useless"]


def test_a_target_is_most_like_itself_and_never_its_own_other(model):
    relatives = model.memory.relatives
    row, cosine = relatives.nearest(["G3", "made-up"])
    assert relatives.targets[row[0, 0]] == "G3" and cosine[0, 0] == pytest.approx(1, abs=1e-5)
    assert (cosine[1] <= 0).all()
    generous = replace(relatives, worth_k=np.ones_like(relatives.worth_k))
    assert (generous.worth(cosine[1]) == 0).all(), "what nothing is known of resembles nothing"
    row, _ = relatives.nearest(["G3"], others_only=True)
    assert "G3" not in [relatives.targets[at] for at in row[0]]


def test_accuracy_out_of_fold_is_a_share_of_a_repeat(model):
    here, relative = (find(model.memory.precedents, kind, False) for kind in (HERE, RELATIVE))
    assert here is not None and here.n == 0, "a table alone has no cells to put aside"
    assert here.measured_on == UNMEASURED and relative.measured_on == relative.level
    assert 0 < relative.lower <= relative.share <= relative.upper <= 1.2
    assert relative.share > relative.mean_share, "features are good in this world"


def test_too_few_relatives_to_judge_are_worth_what_nowhere_is(model, world):
    relatives = replace(model.memory.relatives, worth_k=np.zeros_like(model.memory.relatives.worth_k))
    oof = recall(world.train, model.fitted.name)
    said_mg = oof.delta_mg[model.fitted.name]
    made = make_precedents(world.train, relatives, oof, said_mg, np.zeros(len(said_mg)))
    relative, nowhere = (find(made, kind, False) for kind in (RELATIVE, NOWHERE))
    assert nowhere.n >= 5 and (relative.share, relative.n) == (nowhere.share, nowhere.n)
    assert {RELATIVE, NOWHERE} <= set(nowhere.pooled) and "a relative seen" in relative.level


def test_where_a_repeat_repeats_nothing_no_accuracy_is_stated(model, world):
    rng = np.random.default_rng(0)
    table = replace(world.train, check_pg=rng.normal(0, 1, world.train.check_pg.shape).astype(np.float32))
    sigma2_cg = np.ones_like(table.contexts.sigma2_cg)
    sigma2_cg /= np.mean(1 / table.n_cells_p + 1 / table.n_check_p)  # as much noise as there is variance
    table = replace(table, contexts=replace(table.contexts, sigma2_cg=sigma2_cg))
    oof = recall(world.train, model.fitted.name)
    said_mg = oof.delta_mg[model.fitted.name]
    made = make_precedents(table, model.memory.relatives, oof, said_mg, np.zeros(len(said_mg)))
    assert any(one.pooled for one in made) and all(one.n == 0 for one in made)
    told = next(one for one in made if one.pooled)
    assert "repeating the experiment would correlate" in told.measured_on
    assert "a repeat of this screen correlates" in _refusal(RELATIVE, True, told, AnswerRules())
    assert _refusal(HERE, True, told, AnswerRules()) is None, "what was measured is answered all the same"


def test_a_share_needs_a_repeat_that_is_clear_of_chance():
    assert answers(0.5).measurable
    rng = np.random.default_rng(1)
    noise = replace(answers(0.5), repeat_m=rng.normal(0, 0.3, 40))
    assert not noise.measurable
    assert not replace(answers(0.5), unit_m=np.array(["G1"] * 40, dtype=object)).measurable, (
        "one perturbation has no spread"
    )


def test_repeatability_is_what_repeats_show():
    rng = np.random.default_rng(0)
    truth_mg = rng.standard_normal((200, 300)) * 0.3
    one_mg, other_mg = (truth_mg + 0.4 * rng.standard_normal(truth_mg.shape) for _ in range(2))
    stated = repeatability(one_mg, np.full(200, 0.16)).mean()
    assert stated == pytest.approx(correlation(one_mg, other_mg).mean(), abs=0.02)


def test_the_share_of_a_perfect_model_is_above_one_repeat_and_of_chance_is_zero():
    rng = np.random.default_rng(0)
    truth_mg = rng.standard_normal((50, 400))
    measured_mg = truth_mg + 0.5 * rng.standard_normal(truth_mg.shape)
    repeat_m = repeatability(measured_mg, np.full(50, 0.25))
    chance_m = correlation(rng.standard_normal(truth_mg.shape), measured_mg)
    share, lower, upper, by_chance = share_of_repeat(
        correlation(truth_mg, measured_mg), chance_m, repeat_m, np.arange(50)
    )
    assert lower <= share <= upper and share > 1 and abs(by_chance) < 0.05


def test_the_mean_of_the_others_leaves_every_row_of_the_target_out(world):
    mean_pg = other_means(world.train)
    conditions = world.train.conditions
    row = next(at for at, a in enumerate(conditions.actions) if a.targets == ("G3",))
    others = [
        at
        for at, (line, a) in enumerate(zip(conditions.cell_line, conditions.actions, strict=True))
        if line == conditions.cell_line[row] and len(a.targets) == 1 and a.targets != ("G3",)
    ]
    np.testing.assert_allclose(mean_pg[row], world.train.half_pg[others].mean(axis=0), atol=1e-5)


def answers(accuracy, n=40, noise=0.1, seed=0, first=0):
    """Answers that correlate so much with effects without noise, measured so that a repeat correlates 0.5."""
    rng = np.random.default_rng(seed)
    said_m = accuracy * np.sqrt(0.5) + noise * rng.standard_normal(n)
    units = np.array([f"G{first + at}" for at in range(n)], dtype=object)
    return Sample(said_m, np.zeros(n), 0.5 + noise * rng.standard_normal(n), units)


def test_classes_are_told_apart_only_where_the_difference_is_clear():
    clear = {HERE: answers(0.9), ELSEWHERE: answers(0.6, seed=1), NOWHERE: answers(0.2, seed=2)}
    assert [kinds for kinds, _ in tell_apart(clear)] == [(HERE,), (ELSEWHERE,), (NOWHERE,)]
    level = {HERE: answers(0.9), ELSEWHERE: answers(0.6, seed=1), NOWHERE: answers(0.6, seed=2)}
    assert [kinds for kinds, _ in tell_apart(level)] == [(HERE,), (ELSEWHERE, NOWHERE)]
    wrong = {HERE: answers(0.2), NOWHERE: answers(0.9, seed=1)}
    assert [kinds for kinds, _ in tell_apart(wrong)] == [(HERE, NOWHERE)], "a class known better is never ranked below"


def test_by_chance_alone_classes_are_seldom_told_apart():
    apart = sum(
        len(tell_apart({HERE: answers(0.5, 12, seed=2 * seed), NOWHERE: answers(0.5, 12, seed=2 * seed + 1)})) > 1
        for seed in range(200)
    )
    assert apart <= 12, "one-sided, 2.5 % of 200"


def test_the_same_perturbations_on_both_sides_are_compared_in_pairs():
    shared = answers(0.5, noise=0.5)
    better = Sample(shared.said_m + 0.1, shared.mean_m, shared.repeat_m, shared.unit_m)
    apart = Sample(better.said_m, better.mean_m, better.repeat_m, answers(0.5, first=100).unit_m)
    assert clearness(better, shared) > 1 > clearness(apart, shared) > 0
