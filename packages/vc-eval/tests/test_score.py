import json

import anndata
import numpy as np
import pandas as pd
import pytest
from vc_eval import roles, testing
from vc_eval.errors import VcEvalError
from vc_eval.split.score import score_split

QUICK = {"seed": 0, "n_ceiling": 2, "n_ceiling_des": 1}


def means(scores):
    return scores.conditions.pivot_table(index="metric", columns="model", values="value", dropna=False)


def test_the_truth_is_perfect(scored):
    m = means(scored)["truth"]
    # The file holds float32 and its delta is not batch-matched, hence not exactly 1.
    assert m["pearson_delta"] > 0.97
    assert m["vcc2025/pds"] == 1
    assert m["vcc2025/mae"] == pytest.approx(0, abs=1e-6)
    assert m["centroid_accuracy"] == 1 and m["centroid_top1"] == 1
    assert m["r2_top50_abs"] == pytest.approx(1, abs=1e-6)


def test_the_measured_delta_is_perfect(scored):
    m = means(scored)["oracle"]
    assert m["pearson_delta"] > 0.99  # below 1 only where the profile was clipped at 0
    assert m["mse_delta"] < 0.02
    assert m["centroid_accuracy"] == 1


def test_no_change_is_chance(scored):
    frame = scored.conditions.query("model == 'no_change'")
    m = frame.groupby("metric")["value"].mean()
    n = frame.query("metric == 'vcc2025/pds'").groupby("cell_line").size()
    # One prediction for all: ranks are spread evenly but for the left-out target genes.
    assert m["vcc2025/pds"] == pytest.approx(0.5 + 1 / (2 * n.iloc[0]), abs=0.1)
    assert m["vcc2025/des"] < 0.02
    assert np.isnan(m["pearson_delta"])
    reasons = frame[frame["metric"] == "pearson_delta"]["reason"]
    assert (reasons == "constant prediction or truth").all()
    assert (frame[frame["value"].notna()]["reason"] == "").all()


def test_permuted_labels_are_chance(world):
    screen, splits, predictions = world
    scores = []
    for seed in range(12):
        shuffled = predictions["oracle"].copy()
        rng = np.random.default_rng(seed)
        for line in ("A", "B"):
            rows = np.flatnonzero(((shuffled.obs["cell_line"] == line) & ~shuffled.obs["is_control"]).to_numpy())
            shuffled.X[rows] = shuffled.X[rng.permutation(rows)]
        m = means(score_split(screen, splits, {"m": shuffled}, seed=0, n_ceiling=1, n_ceiling_des=0))["m"]
        scores.append((m["centroid_accuracy"], m["vcc2025/pds"]))
    accuracy, pds = np.mean(scores, axis=0)
    assert abs(accuracy - 0.5) < 0.08
    assert abs(pds - (0.5 + 1 / 16)) < 0.08  # 8 conditions in a line


def test_order_of_cells_genes_and_rows_changes_no_bit(world):
    screen, splits, predictions = world
    expected = score_split(screen, splits, {"m": predictions["random"]}, **QUICK)
    rng = np.random.default_rng(1)
    rows = screen.uns["groups"].apply(lambda g: rng.permutation(np.arange(g["start"], g["stop"])), axis=1)
    moved = screen[np.concatenate(rows.to_list())][:, rng.permutation(screen.n_vars)].copy()
    moved.X.sort_indices()
    moved.uns["groups"] = screen.uns["groups"]
    prediction = predictions["random"]
    prediction = prediction[rng.permutation(prediction.n_obs)][:, rng.permutation(prediction.n_vars)].copy()
    content = json.loads(json.dumps(splits))
    rng.shuffle(content["conditions"])
    for names in content["controls"].values():
        rng.shuffle(names)
    found = score_split(moved, content, {"m": prediction}, **QUICK)
    pd.testing.assert_frame_equal(found.conditions, expected.conditions, check_exact=True)


def test_threads_and_repetition_change_no_bit(world):
    screen, splits, predictions = world
    one, two = (score_split(screen, splits, {"m": predictions["random"]}, **QUICK, n_threads=n) for n in (1, 2))
    pd.testing.assert_frame_equal(one.conditions, two.conditions, check_exact=True)


def test_other_models_in_the_table_change_no_score(world, scored):
    screen, splits, predictions = world
    alone = score_split(screen, splits, {"random": predictions["random"]}, seed=0, n_ceiling=6, n_ceiling_des=1)
    for model in ("random", "cell_eval_mean"):
        a, b = (s.conditions[s.conditions["model"] == model].reset_index(drop=True) for s in (alone, scored))
        pd.testing.assert_frame_equal(a, b, check_exact=True)


def test_mean_baseline_predicts_one_profile_for_all(scored):
    m = means(scored)["cell_eval_mean"]
    assert 0.4 < m["vcc2025/pds"] < 0.75
    assert 0 <= m["vcc2025/des"] <= 1


def test_a_cell_file_scores_like_its_mean_profile(world):
    screen, splits, predictions = world
    profile = predictions["random"]
    rows = np.repeat(np.arange(profile.n_obs), 3)
    shift = np.tile(np.array([-0.1, 0.0, 0.1], np.float32), profile.n_obs)[:, None]
    cells = anndata.AnnData(
        profile.X[rows] + shift * (profile.X[rows] > 0.2),
        obs=profile.obs.iloc[rows].set_index(np.arange(rows.size).astype(str)),
        var=profile.var,
    )
    cells.uns |= dict(profile.uns) | {"unit": "cell"}
    a, b = (
        means(score_split(screen, splits, {"m": file}, **QUICK))["m"].drop("vcc2025/des") for file in (profile, cells)
    )
    shared = a.index[a.index.isin(b.index) & ~a.index.str.startswith("vcc2025/des")]
    np.testing.assert_allclose(b[shared], a[shared], rtol=1e-3, atol=1e-4)


def test_counts_are_brought_to_log1p_cp10k(world):
    screen, splits, predictions = world
    profile = predictions["random"]
    counts = anndata.AnnData(
        np.expm1(profile.X), obs=profile.obs.assign(total_counts=np.float32(10_000)), var=profile.var
    )
    counts.uns |= dict(profile.uns) | {"space": "counts"}
    a, b = (means(score_split(screen, splits, {"m": file}, **QUICK))["m"] for file in (profile, counts))
    kept = [name for name in b.index if not name.startswith("calibration")]
    np.testing.assert_allclose(b[kept], a[kept], rtol=2e-3, atol=1e-3)


def test_genes_missing_from_one_model_are_missing_for_all(world):
    screen, splits, predictions = world
    short = predictions["random"][:, 10:].copy()
    result = score_split(screen, splits, {"m": short, "full": predictions["oracle"]}, **QUICK)
    assert result.notes["genes_scored"] == screen.n_vars - 10 and result.notes["genes_measured"] == screen.n_vars
    assert all(line.genes.size == screen.n_vars - 10 for line in result.deltas)


def test_a_single_test_condition_has_no_rank():
    screen = testing.make_screen(n_perturbations=4)
    splits = testing.make_splits(screen, n_test=1)
    result = score_split(screen, splits, {"m": testing.make_predictions(screen, splits, "mean_effect")}, **QUICK)
    rows = result.conditions.query("model == 'm' and metric in ['vcc2025/pds', 'centroid_accuracy', 'centroid_top1']")
    assert len(rows) == 3 and rows["value"].isna().all()
    assert (rows["reason"] == "no other condition in the cell line").all()


def test_refusals(world):
    screen, splits, predictions = world
    with pytest.raises(VcEvalError, match="split_half"):
        score_split(screen, splits, {"split_half": predictions["random"]}, seed=0)
    with pytest.raises(VcEvalError, match="none"):
        score_split(screen, splits, {}, seed=0)
    with pytest.raises(VcEvalError, match=r"1 of 8 test conditions of 'B' are missing"):
        last = predictions["random"][:-1].copy()
        score_split(screen, splits, {"m": last}, seed=0)
    with pytest.raises(VcEvalError, match="0 genes in common"):
        foreign = predictions["random"].copy()
        foreign.var_names = [f"X{k}" for k in range(foreign.n_vars)]
        score_split(screen, splits, {"m": foreign}, seed=0)


def test_notes_say_what_was_held_out(world, scored):
    _, splits, _ = world
    test = sorted([c["cell_line"], c["perturbation"]] for c in splits["conditions"] if c["part"] == "test")
    assert scored.notes["test"] == test
    assert [row[2] for row in scored.notes["unused"]] == ["kept aside by the toy split"] * 2
    assert scored.notes["control_gap"]["no_change"] < 1e-6 < scored.notes["control_gap"]["truth"]
    assert roles.MEAN_BASELINE not in scored.models
    json.dumps(scored.notes)
