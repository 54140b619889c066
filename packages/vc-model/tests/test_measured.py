"""Models are fitted on tables of effects as on screens, and predict in the same space."""

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import vc_contracts
from vc_contracts.header import make_header
from vc_model.cli.main import main
from vc_model.contracts.effects import read_effects
from vc_model.errors import VcModelError
from vc_model.table.measured import load_effects, ranks_of_weights, weights_of_ranks

N, GENES = 40, 30


def make_effects(values_ng: np.ndarray, space: str, n_repeats: int = 1) -> anndata.AnnData:
    names = [f"T{at:02d}" for at in range(len(values_ng) // n_repeats)]
    label = np.repeat(names, n_repeats)
    obs = pd.DataFrame(
        {
            "perturbation": label,
            "target": label,
            "cell_line": "K562",
            "batch": np.tile([f"r{at}" for at in range(n_repeats)], len(names)),
            "mode": np.zeros(len(label), np.int8),
            "dose": np.full(len(label), np.nan, np.float32),
            "n_cells": np.full(len(label), np.nan, np.float32),
        },
        index=[f"row{at}" for at in range(len(label))],
    )
    var = pd.DataFrame(index=[f"G{at}" for at in range(values_ng.shape[1])])
    adata = anndata.AnnData(values_ng.astype(np.float32), obs=obs, var=var)
    adata.uns = {"contract": json.dumps(make_header("effects", writer="vc-data")), "space": space}
    return adata


def make_splits(names: list[str], n_test: int) -> dict:
    rows = [
        {"cell_line": "K562", "perturbation": name, "part": "test" if at < n_test else "train"}
        for at, name in enumerate(names)
    ]
    nothing: dict[str, list[str]] = {"input": [], "reference": [], "evaluation": []}
    header = make_header("splits", writer="vc-data")
    return {"contract": header, "recipe": "by_perturbation", "seed": 0, "conditions": rows, "controls": nothing}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, np.ndarray]:
    folder = tmp_path_factory.mktemp("effects")
    rng = np.random.default_rng(0)
    truth_pg = rng.normal(size=(N, 1)) * rng.normal(size=(1, GENES)) + rng.normal(size=(1, GENES))
    values_ng = np.repeat(truth_pg, 2, axis=0) + 0.1 * rng.normal(size=(2 * N, GENES))
    adata = make_effects(values_ng, "z", n_repeats=2)
    vc_contracts.write(folder / "effects.h5ad", adata, "effects")
    (folder / "splits.json").write_text(json.dumps(make_splits([f"T{at:02d}" for at in range(N)], 10)))
    return folder / "effects.h5ad", folder / "splits.json", truth_pg


def test_replicates_are_averaged_and_tell_the_noise(files: tuple[Path, Path, np.ndarray]) -> None:
    effects, splits, _ = files
    train, _, test = load_effects(effects, splits)
    values = read_effects(effects).value_ng.reshape(N, 2, GENES)
    np.testing.assert_allclose(train.delta_pg, values[10:].mean(axis=1), rtol=1e-5)
    assert len(test) == 10
    assert train.noise_pg().mean() == pytest.approx(0.01 / 2, rel=0.3)
    assert train.contexts.space == "z"


def test_held_out_rows_play_no_part(files: tuple[Path, Path, np.ndarray]) -> None:
    effects, splits, _ = files
    file = read_effects(effects)
    changed = np.array(file.value_ng)
    changed[:20] = 1e3
    other = type(file)(file.path, file.space, file.genes, file.obs, changed, file.se_ng)
    first, second = (load_effects(each, splits)[0] for each in (file, other))
    np.testing.assert_array_equal(first.delta_pg, second.delta_pg)
    np.testing.assert_array_equal(first.contexts.sigma2_cg, second.contexts.sigma2_cg)


def test_fit_and_predict_write_effects_in_the_same_space(files: tuple[Path, Path, np.ndarray], tmp_path: Path) -> None:
    effects, splits, truth_pg = files
    model, out = tmp_path / "model", tmp_path / "predicted.h5ad"
    main(["fit", str(effects), str(splits), str(model), "--model", "mean_effect"])
    main(["predict", str(model), str(effects), str(splits), str(out)])
    adata = vc_contracts.read(out, "effects")
    assert adata.uns["space"] == "z"
    assert adata.uns["model"] == "mean_effect"
    assert adata.uns["role"] == "baseline"
    assert adata.obs["perturbation"].astype(str).tolist() == [f"T{at:02d}" for at in range(10)]
    np.testing.assert_allclose(adata.X[0], truth_pg[10:].mean(axis=0), atol=0.1)
    assert (adata.layers["se"] > 0).all()


def test_a_model_of_another_space_is_refused(files: tuple[Path, Path, np.ndarray], tmp_path: Path) -> None:
    from vc_model.emit.effects import predict_effects
    from vc_model.models import make_model

    effects, splits, _ = files
    fitted = make_model("mean_effect").fit(load_effects(effects, splits)[0])
    adata = make_effects(read_effects(effects).value_ng, "log1p_delta", n_repeats=2)
    vc_contracts.write(tmp_path / "other.h5ad", adata, "effects")
    with pytest.raises(VcModelError, match="space"):
        predict_effects(fitted, tmp_path, tmp_path / "other.h5ad", splits, tmp_path / "out.h5ad", "test")


def test_ranks_fall_into_weights_and_come_back() -> None:
    rank_ng = np.array([[1, 2, 3, -1, -2, 0]])
    weight_ng = weights_of_ranks(rank_ng)
    assert weight_ng[0, 0] == 1
    assert weight_ng[0, 5] == 0
    assert (np.diff(weight_ng[0, :3]) < 0).all()
    np.testing.assert_array_equal(ranks_of_weights(weight_ng), rank_ng)


def test_a_bank_that_helps_moves_the_prediction_and_one_of_noise_beside_it_hardly_does(tmp_path: Path) -> None:
    from vc_model.anchored.gp import GPConfig, fit_gp
    from vc_model.contracts import FeatureBank

    rng = np.random.default_rng(1)
    known, noise = (rng.normal(size=(120, 4)).astype(np.float32) for _ in range(2))
    truth = known @ rng.normal(size=(4, GENES)) + 0.3 * rng.normal(size=(120, GENES))
    names = tuple(f"T{at:02d}" for at in range(120))
    vc_contracts.write(tmp_path / "e.h5ad", make_effects(truth, "z"), "effects")
    (tmp_path / "s.json").write_text(json.dumps(make_splits(list(names), 40)))
    present = np.zeros(120, bool)
    good, bad = FeatureBank("good", names, known, present), FeatureBank("noise", names, noise, present)
    error = {}
    for key, banks in {"none": (), "good": (good,), "both": (bad, good), "noise": (bad,)}.items():
        train, _, test = load_effects(tmp_path / "e.h5ad", tmp_path / "s.json", banks)
        assert len(train.banks) == len(banks)
        error[key] = float(((fit_gp(train, GPConfig()).delta(test) - truth[:40]) ** 2).mean())
    assert error["good"] < 0.5 * error["none"]
    assert error["both"] < 1.1 * error["good"]
    assert error["noise"] < 1.1 * error["none"]
