"""Tables of effects are scored like screens: known answers, ceilings from replicates, and the command with its report."""

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import vc_contracts
from vc_contracts.header import make_header
from vc_eval.cli.main import main
from vc_eval.errors import VcEvalError
from vc_eval.metrics.lists import list_scores
from vc_eval.split.score_tables import score_effects

N, GENES, REPEATS, NOISE = 24, 300, 4, 0.3


def table(values_ng: np.ndarray, labels: list[str], space: str, model: str | None = None) -> anndata.AnnData:
    n = len(values_ng)
    obs = pd.DataFrame(
        {
            "perturbation": labels,
            "target": labels,
            "cell_line": "K562",
            "batch": pd.Series(labels).groupby(labels).cumcount().astype(str).to_numpy(),
            "mode": np.zeros(n, np.int8),
            "dose": np.full(n, np.nan, np.float32),
            "n_cells": np.full(n, np.nan, np.float32),
        },
        index=[f"row{at}" for at in range(n)],
    )
    adata = anndata.AnnData(
        values_ng.astype(np.float32),
        obs=obs,
        var=pd.DataFrame(index=[f"G{at:03d}" for at in range(values_ng.shape[1])]),
    )
    adata.uns = {"contract": json.dumps(make_header("effects", writer="test")), "space": space}
    if model is not None:
        adata.uns |= {"model": model, "role": "model"}
    return adata


@pytest.fixture(scope="module")
def world() -> dict:
    rng = np.random.default_rng(0)
    truth_pg = rng.normal(size=(N, GENES))
    labels = [f"G{at:03d}" for at in range(N)]
    measured = np.repeat(truth_pg, REPEATS, axis=0) + NOISE * rng.normal(size=(N * REPEATS, GENES))
    conditions = [
        {"cell_line": "K562", "perturbation": name, "part": "test" if at < 12 else "train"}
        for at, name in enumerate(labels)
    ]
    empty: dict[str, list[str]] = {"input": [], "reference": [], "evaluation": []}
    header = make_header("splits", writer="test")
    splits = {"contract": header, "recipe": "by_perturbation", "seed": 0, "conditions": conditions, "controls": empty}
    return {
        "effects": table(measured, list(np.repeat(labels, REPEATS)), "z"),
        "splits": splits,
        "right": table(truth_pg[:12], labels[:12], "z", "right"),
        "noise": table(rng.normal(size=(12, GENES)), labels[:12], "z", "noise"),
    }


def mean_of(scores, model: str, metric: str) -> float:
    frame = scores.conditions
    return float(frame[(frame["model"] == model) & (frame["metric"] == metric)]["value"].mean())


def test_the_truth_scores_above_the_ceiling_of_halves_and_noise_at_chance(world: dict) -> None:
    files = {name: world[name] for name in ("right", "noise")}
    scores = score_effects(world["effects"], world["splits"], files, seed=0)
    assert mean_of(scores, "right", "mse_delta") == pytest.approx(NOISE**2 / REPEATS, rel=0.1)
    assert mean_of(scores, "split_half", "mse_delta") == pytest.approx(NOISE**2, rel=0.1)
    assert mean_of(scores, "right", "pearson_delta") > mean_of(scores, "split_half", "pearson_delta") > 0.8
    assert mean_of(scores, "right", "centroid_top1") == 1
    assert abs(mean_of(scores, "noise", "pearson_delta")) < 0.1
    assert mean_of(scores, "noise", "auroc_up100") == pytest.approx(0.5, abs=0.05)
    assert {"no_change", "mean_effect"} <= set(scores.models)
    assert scores.effects["K562", "G000"] == pytest.approx(np.sqrt(1 + NOISE**2 / REPEATS), rel=0.2)


def test_of_ranks_only_the_order_counts(world: dict) -> None:
    def ranked(adata: anndata.AnnData, power: float) -> np.ndarray:
        order = np.argsort(np.argsort(-np.asarray(adata.X), axis=1), axis=1) + 1
        return np.where(order <= GENES // 2, order, order - GENES - 1) * power

    labels = world["effects"].obs["perturbation"].tolist()
    truth = table(ranked(world["effects"], 1), labels, "rank")
    model = table(ranked(world["right"], 1), world["right"].obs["perturbation"].tolist(), "rank", "right")
    scores = score_effects(truth, world["splits"], {"right": model}, seed=0)
    metrics = set(scores.conditions["metric"])
    assert "mse_delta" not in metrics
    assert mean_of(scores, "right", "overlap_up100") > 0.8
    assert mean_of(scores, "right", "spearman_effect") > 0.8


def test_lists_leave_the_perturbed_gene_out_and_ask_for_enough_genes() -> None:
    measured = np.arange(200, dtype=float)[None]
    keep = np.ones((1, 200), bool)
    exact = list_scores(measured, measured, keep)
    assert exact["overlap_up100"][0] == exact["auroc_up100"][0] == exact["spearman_effect"][0] == 1
    assert np.isnan(exact["overlap_down100"][0])
    keep[0, 199] = False
    assert list_scores(np.where(keep, measured, -1e9), measured, keep)["overlap_up100"][0] == 1
    assert list_scores(-measured, measured, keep)["overlap_up100"][0] == 0


def test_another_space_or_a_missing_condition_is_refused(world: dict) -> None:
    other = world["right"].copy()
    other.uns = {**other.uns, "space": "log1p_delta"}
    with pytest.raises(VcEvalError, match="space"):
        score_effects(world["effects"], world["splits"], {"right": other}, seed=0)
    with pytest.raises(VcEvalError, match="missing"):
        score_effects(world["effects"], world["splits"], {"right": world["right"][1:].copy()}, seed=0)


def test_the_command_writes_scores_and_report(world: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    effects, splits, pred = tmp_path / "effects.h5ad", tmp_path / "splits.json", tmp_path / "right.h5ad"
    vc_contracts.write(effects, world["effects"].copy(), "effects")
    vc_contracts.write(pred, world["right"].copy(), "effects")
    splits.write_text(json.dumps(world["splits"]))
    arguments = ["split", "--screen", effects, "--splits", splits, "--pred", pred, "--out", tmp_path / "scores"]
    assert main([str(word) for word in [*arguments, "--n-boot", "50", "--n-ceiling", "3"]]) in (0, None)
    table = vc_contracts.read(tmp_path / "scores", "scores")["table"]
    row = table[(table["model"] == "right") & (table["metric"] == "pearson_delta") & (table["group"] == "all")].iloc[0]
    assert row["value"] > row["ceiling"] > row["baseline"]
    assert "overlap_up100" in (tmp_path / "scores/report.html").read_text()
    assert "space 'z'" in capsys.readouterr().out
