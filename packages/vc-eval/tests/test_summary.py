import dataclasses

import numpy as np
import pytest
from vc_eval import testing
from vc_eval.contracts import SCORE_TYPES
from vc_eval.errors import VcEvalError
from vc_eval.metrics import challenge2025 as vcc
from vc_eval.split import score
from vc_eval.stats.summary import paired_differences, summarise, undefined_counts


@pytest.fixture(scope="module")
def table(scored, baselines):
    return summarise([scored], baselines=baselines, seed=0, n_boot=200)


def value(table, model, metric, group="all", column="value"):
    rows = table[(table["model"] == model) & (table["metric"] == metric) & (table["group"] == group)]
    assert len(rows) == 1
    return rows[column].iloc[0]


def test_layout_and_groups(table, scored):
    assert list(table.columns) == list(SCORE_TYPES)
    assert not table.duplicated(["model", "dataset", "split", "metric", "group"]).any()
    plain = {g for g in table["group"] if not g.startswith("condition:")}
    assert plain == {"all", "single", "combo", "A", "B", "weak", "medium", "strong"}
    assert {f"condition:{line}|{name}" for line, name in scored.notes["test"]} == set(table["group"]) - plain
    assert not ((table["value"] < table["lower"]) | (table["value"] > table["upper"])).any()


def test_values_are_means_over_conditions(table, scored):
    frame = scored.conditions.query("model == 'random' and metric == 'mse_delta'")
    assert value(table, "random", "mse_delta") == pytest.approx(frame["value"].mean())
    assert value(table, "random", "mse_delta", "A") == pytest.approx(frame.query("cell_line == 'A'")["value"].mean())
    assert value(table, "random", "mse_delta", "combo") == pytest.approx(frame.query("kind == 'combo'")["value"].mean())
    row = frame.iloc[0]
    assert value(table, "random", "mse_delta", f"condition:{row['cell_line']}|{row['perturbation']}") == row["value"]


def test_best_baseline_and_ceiling_stand_beside_each_value(table, baselines):
    errors = {name: value(table, name, "mse_delta") for name in baselines}
    assert value(table, "oracle", "mse_delta", column="baseline") == min(errors.values())
    accuracy = {name: value(table, name, "centroid_accuracy") for name in baselines}
    assert value(table, "oracle", "centroid_accuracy", column="baseline") == max(accuracy.values())
    assert value(table, "oracle", "mse_delta", column="ceiling") == value(table, "split_half", "mse_delta")


def test_challenge_score_is_made_of_the_means(table):
    base, user = (
        {k: value(table, m, f"vcc2025/{k}") for k in ("des", "pds", "mae")} for m in ("cell_eval_mean", "oracle")
    )
    expected = vcc.overall_score(
        *(vcc.scaled_score(user[k], base[k], 0 if k == "mae" else 1) for k in ("des", "pds", "mae"))
    )
    assert value(table, "oracle", "vcc2025/overall") == pytest.approx(float(expected))
    assert value(table, "cell_eval_mean", "vcc2025/overall") == 0
    assert value(table, "truth", "vcc2025/mae_scaled") == pytest.approx(1, abs=1e-5)


def test_beat_rates(table, baselines):
    assert value(table, "oracle", "beat/mean_effect") == 1
    assert value(table, "oracle", "beat_pearson/no_change") == 1
    assert (
        value(table, "no_change", "beat_pearson/mean_effect") + value(table, "mean_effect", "beat_pearson/no_change")
        <= 1
    )
    assert value(table, "oracle", "beat_wmse/no_change") == 1
    assert value(table, "truth", "wmse") == pytest.approx(0, abs=1e-9)
    for name in baselines:  # nothing beats itself, so there is no such row
        assert table[(table["model"] == name) & (table["metric"] == f"beat/{name}")].empty
        for family in ("beat", "beat_pearson", "beat_wmse"):
            assert 0.5 < value(table, "split_half", f"{family}/{name}") <= 1


def test_undefined_values_are_excluded_and_counted(table, scored):
    assert np.isnan(value(table, "no_change", "pearson_delta"))
    assert value(table, "no_change", "pearson_delta", column="n") == 0
    assert value(table, "random", "pearson_delta", column="n") == 16
    counts = undefined_counts([scored])
    assert {
        "model": "no_change",
        "metric": "pearson_delta",
        "reason": "constant prediction or truth",
        "conditions": 16,
    } in counts


def test_calibration_rows_exist_for_models_that_state_an_sd(table):
    assert 0 <= value(table, "random", "calibration/coverage_error") <= 0.5
    assert table[(table["model"] == "cell_eval_mean") & table["metric"].str.startswith("calibration")].empty
    assert np.isnan(value(table, "random", "calibration/spearman"))  # a constant sd ranks nothing


def test_spearman_brown_row_is_above_the_raw_ceiling_and_holds_correlations_only(table):
    assert value(table, "split_half_sb", "pearson_delta") > value(table, "split_half", "pearson_delta")
    assert set(table[table["model"] == "split_half_sb"]["metric"]) == {"pearson_delta", "pearson_systema"}


def test_paired_differences(scored, table):
    rows = paired_differences(
        [scored],
        models=["oracle"],
        baselines=["mean_effect"],
        metrics=["mse_delta", "vcc2025/overall"],
        seed=0,
        n_boot=300,
    )
    error, overall = rows.to_dict("records")
    assert error["difference"] == pytest.approx(
        value(table, "mean_effect", "mse_delta") - value(table, "oracle", "mse_delta")
    )
    assert 0 < error["lower"] <= error["difference"] <= error["upper"]
    assert overall["difference"] == pytest.approx(
        value(table, "oracle", "vcc2025/overall") - value(table, "mean_effect", "vcc2025/overall")
    )
    copy = paired_differences(
        [scored], models=["random"], baselines=["random", "mean_effect"], metrics=["mse_delta"], seed=0
    )
    assert copy["baseline"].tolist() == ["mean_effect"]


def test_pooled_splits_share_clusters(world, scored, baselines):
    screen, _, _ = world
    splits = testing.make_splits(screen, n_test=8, seed=5)
    predictions = {
        k: testing.make_predictions(screen, splits, k, sd=0.1)
        for k in ("truth", "oracle", "mean_effect", "no_change", "random")
    }
    second = score.score_split(screen, splits, predictions, seed=0, n_ceiling=2, n_ceiling_des=1)
    pooled = summarise([scored, second], baselines=baselines, seed=0, n_boot=60)
    assert set(pooled["split"]) == {"by_perturbation-0+by_perturbation-5"}
    assert value(pooled, "random", "mse_delta", column="n") == 32
    both = [s.conditions.query("model == 'random' and metric == 'mse_delta'")["value"] for s in (scored, second)]
    assert value(pooled, "random", "mse_delta") == pytest.approx(np.concatenate(both).mean())
    # The same split twice holds no more perturbations than once: the interval must not shrink.
    once, twice = (summarise([scored] * k, baselines=baselines, seed=0, n_boot=60) for k in (1, 2))
    assert value(twice, "random", "mse_delta", column="lower") == pytest.approx(
        value(once, "random", "mse_delta", column="lower")
    )


def test_same_seed_same_table(scored, baselines, table):
    assert summarise([scored], baselines=baselines, seed=0, n_boot=200).equals(table)


def test_refuses_what_was_not_scored(scored):
    with pytest.raises(VcEvalError, match="'additive' was not scored"):
        summarise([scored], baselines=["additive"], seed=0)
    with pytest.raises(VcEvalError, match="at least one"):
        summarise([], baselines=[], seed=0)


def test_lines_are_resampled_where_there_are_fewer_perturbations_than_lines(scored, baselines):
    frame = scored.conditions
    shared = frame.groupby("perturbation")["cell_line"].nunique()
    only = frame[frame["perturbation"] == shared.index[shared == 2][0]]
    table = summarise([dataclasses.replace(scored, conditions=only)], baselines=baselines, seed=0, n_boot=200)
    per_line = [value(table, "random", "mse_delta", line) for line in ("A", "B")]
    assert value(table, "random", "mse_delta", column="lower") == pytest.approx(min(per_line))
    assert value(table, "random", "mse_delta", column="upper") == pytest.approx(max(per_line))
