"""Gates: verdicts on scores whose truth is known, and paired differences against a direct computation."""

import numpy as np
import pandas as pd
import pytest
from vc_eval.stats import differences, gates
from vc_eval.stats.differences import compare, coverage_error, resampled

NAMES = gates.Names("ours", "shuffled", "nameless", "half", "truth")
MODELS = {
    "ours": 0.6,
    "mean_effect": 0.9,
    "additive": 0.8,
    "no_change": 1.0,
    "half": 0.5,
    "shuffled": 0.95,
    "nameless": 0.95,
}
LEVELS = np.arange(1, 10) / 10


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(differences, "N_BOOT", 200)


def make_scores(seed: int = 0, *, worse: bool = False, shift: float = 0.0) -> pd.DataFrame:
    """Forty conditions of two lines, ten of them pairs; a model's error is its level times that of no change."""
    rng, rows = np.random.default_rng(seed), []
    for at in range(40):
        size = rng.uniform(0.5, 1.5)
        key = {"split": at % 2, "cell_line": f"L{at % 2}", "perturbation": f"A{at}+B{at}" if at < 10 else f"A{at}"}
        for model, level in MODELS.items():
            level = 1.2 if worse and model == "ours" else level
            error = size * level * rng.uniform(0.9, 1.1)
            said = rng.uniform(-0.1, 0.1) if model in ("shuffled", "nameless") else 1 - error / 2
            rows.append({
                **key, "model": model, "seed": 0, "mse_delta": error, "pearson_delta": said, "noise": size / 4,
                "pearson_other": rng.uniform(-0.1, 0.1), "planned_noise": size / 4, "predicted_error": np.sqrt(error),
                **{f"coverage_{k}": level_k + shift for k, level_k in enumerate(LEVELS)},
                **{f"planned_coverage_{k}": level_k for k, level_k in enumerate(LEVELS)},
            })  # fmt: skip
    return pd.DataFrame(rows)


VALIDATION = pd.DataFrame(
    {"mse_delta": {"mean_effect": 1.0, "no_change": 2.0}, "pearson_delta": {"mean_effect": 0.3, "no_change": 0.0}}
)


def verdicts(scores: pd.DataFrame, *, shuffled: bool = True) -> dict[str, bool | None]:
    return {v.gate: v.passed for v in gates.judge(scores, VALIDATION, NAMES, shuffled=shuffled)}


def test_a_better_model_passes_every_gate():
    assert verdicts(make_scores()) == {
        "Pearson delta not worse": True,
        "Pearson delta better": True,
        "MSE not worse": True,
        "MSE better": True,
        "pairs not worse than additive": True,
        "beats the best baseline in 50 %": True,
        "beats no_change in 80 %": True,
        "coverage error at most 0.05": True,
        "predicted error ranks the true one, at least 0.2": True,
        "null run like nameless conditions": True,
    }


def test_a_worse_model_fails_what_it_should():
    found = verdicts(make_scores(worse=True, shift=0.06))
    kept = ("null run like nameless conditions", "predicted error ranks the true one, at least 0.2")
    assert {gate for gate, passed in found.items() if passed} == set(kept)


def test_a_null_run_that_knows_its_conditions_fails():
    scores = make_scores()
    scores.loc[scores["model"] == "shuffled", "pearson_delta"] += 0.3
    assert verdicts(scores)["null run like nameless conditions"] is False
    assert verdicts(scores, shuffled=False)["null run like nameless conditions"] is None


def test_without_pairs_their_gate_is_open():
    scores = make_scores()
    assert (
        verdicts(scores[~scores["perturbation"].str.contains("+", regex=False)])["pairs not worse than additive"]
        is None
    )


def test_synergistic_pairs_have_a_gate_of_their_own():
    scores = make_scores()
    pairs = scores["perturbation"].str.contains("+", regex=False)
    scores["synergy"] = np.where(pairs, scores["noise"], np.nan)
    found = {v.gate: v for v in gates.judge(scores, VALIDATION, NAMES, shuffled=True)}
    verdict = found["synergistic pairs better than additive"]
    assert verdict.passed and verdict.measured.startswith("4 held out")  # the upper third of ten, both ends counted


def test_wins_and_noise_are_shares_of_conditions():
    scores = make_scores()
    wide = scores.pivot(index=["split", "cell_line", "perturbation"], columns="model", values="mse_delta")
    assert gates.wins(scores, "ours", "mean_effect").mean() == (wide["ours"] < wide["mean_effect"]).mean()
    assert gates.above_noise(scores).mean() == 1.0


def test_gain_is_the_mean_of_paired_differences_and_turns_with_the_order():
    scores = make_scores()
    scores = pd.concat([scores, scores.assign(seed=1, mse_delta=scores["mse_delta"] + 0.2)])
    wide = scores.groupby(["perturbation", "model"])["mse_delta"].mean().unstack()
    gain, lower, upper, n = compare(scores, "mse_delta", "mean_effect", "ours")
    assert gain == pytest.approx((wide["mean_effect"] - wide["ours"]).mean())
    assert 0 < lower < gain < upper and n == 40
    back = compare(scores, "mse_delta", "ours", "mean_effect")
    assert back[:3] == pytest.approx((-gain, -upper, -lower))
    assert compare(scores, "mse_delta", "ours", "nobody")[3] == 0


def test_intervals_resample_perturbations_as_a_whole():
    """The same perturbation in many lines is one unit: copies of a condition make no interval narrower."""
    index = pd.MultiIndex.from_product([[0], ["L0"], list("abcdefgh")], names=["split", "cell_line", "perturbation"])
    value = pd.Series(np.arange(8.0), index)
    copies = pd.concat([value.rename(lambda _, k=k: f"L{k}", level="cell_line") for k in range(5)])
    assert resampled(copies) == pytest.approx(resampled(value))


def test_coverage_error_is_the_mean_distance_to_the_levels():
    found, lower, upper = coverage_error(make_scores(shift=0.03), "ours", "coverage")
    assert found == pytest.approx(0.03)
    assert (lower, upper) == pytest.approx((found, found))  # the same in every condition
