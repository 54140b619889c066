"""What was never perturbed: calibrated chances, groups instead of a false order, the ideal action and the real ones."""

import numpy as np
import pytest
from vc_model.plan.bank import make_bank
from vc_model.plan.connect import agree, cosines
from vc_model.plan.extend import extend
from vc_model.plan.gradient import find_ideal
from vc_model.plan.library import make_library
from vc_model.plan.target import target

GENES = tuple(f"G{row}" for row in range(120))


@pytest.fixture(scope="module")
def wide():
    """160 perturbations, 100 of them measured; features tell half of what they do."""
    rng = np.random.default_rng(3)
    code_kr = rng.standard_normal((160, 8))
    own_kr = rng.standard_normal((160, 8))
    delta_kg = np.hstack([code_kr, own_kr]) @ rng.standard_normal((16, 120))
    names = [f"P{row}" for row in range(160)]
    bank = make_bank(names[:100], GENES, delta_kg[:100] + 0.3 * rng.standard_normal((100, 120)))
    return extend(bank, make_library(names, {"code": (names, code_kr)})), delta_kg


def test_chances_of_what_was_never_measured_hold(wide):
    bank, truth = wide
    said, came = [], []
    for row in range(100, 160, 3):
        found = agree(GENES, truth[row], bank, seed=row)
        real_k = cosines((truth - truth[:100].mean(axis=0)), (truth[row] - truth[:100].mean(axis=0))[None])[:, 0]
        others = np.setdiff1d(np.arange(100, 160), row)
        said.append(found.chance_k[others])
        came.append(real_k[others] >= np.quantile(real_k[:100], 0.95))
    said_n, came_n = np.concatenate(said), np.concatenate(came)
    assert abs(said_n.mean() - came_n.mean()) < 0.02
    first = said_n >= np.quantile(said_n, 0.9)
    assert came_n[first].mean() > 2 * came_n.mean()
    assert abs(said_n[first].mean() - came_n[first].mean()) < 0.1


def test_predicted_entries_are_less_sure_and_share_groups(wide):
    bank, truth = wide
    table = target(GENES, truth[120], bank).table
    new = table["name"].str[1:].astype(int) >= 100
    width = table["high"] - table["low"]
    assert width[new].mean() > width[~new].mean()
    assert (table["group"] == 1).sum() > 1
    assert table["evidence"][new].str.startswith("expected from features").all()


def test_the_ideal_action_is_no_worse_than_what_it_is_mapped_to(wide):
    bank, truth = wide
    for row in (5, 40, 130):
        found = agree(GENES, truth[row], bank)
        ideal = find_ideal(found.frame.left_km, found.cosine_k, found.goal_m, None)
        assert ideal.cosine >= ideal.real - 0.05
        assert ideal.gap == pytest.approx(ideal.cosine - ideal.real)
        assert row >= 100 or row in ideal.rows
        assert len(set(ideal.rows.tolist())) == 10
    decision = target(GENES, truth[5], bank)
    assert "a gap of" in decision.facts["ideal and real action"]


def test_an_action_like_none_in_the_library_is_not_proposed():
    rng = np.random.default_rng(0)
    left_km = np.hstack([rng.standard_normal((50, 5)), np.zeros((50, 40))])
    goal_m = np.append(np.zeros(5), np.ones(40))
    goal_m[0] = 0.5
    cosine_k = cosines(left_km, goal_m[None])[:, 0]
    ideal = find_ideal(left_km, cosine_k, goal_m, None)
    assert ideal.cosine <= 0.5 / np.linalg.norm(goal_m) + 1e-6


def test_a_background_of_ones_own_kind_is_removed(wide):
    bank, truth = wide
    common = 20 * np.random.default_rng(1).standard_normal(120)
    seen = [truth[row] + common for row in range(60, 90)]
    ranks = {None: [], "own": []}
    for row in range(60, 90):
        for key in ranks:
            background = None if key is None else np.mean(seen, axis=0)
            table = target(GENES, truth[row] + common, bank, background_g=background).table
            ranks[key].append(int(table.loc[table["name"] == f"P{row}", "rank"].iloc[0]))
    assert np.mean(ranks["own"]) < np.mean(ranks[None])
