import json

import anndata
import jax
import numpy as np
import pandas as pd
import pytest
from vc_model.biojepa.actions import make_action_bank
from vc_model.biojepa.config import BioJepaConfig
from vc_model.biojepa.fitted import FittedBioJepa
from vc_model.biojepa.stages import init_stage
from vc_model.checkpoint import save_checkpoint
from vc_model.cli.main import main
from vc_model.contracts import read_context_vectors, read_predictions, write_context_vectors
from vc_model.emit.output import make_prediction_file
from vc_model.errors import ContractError
from vc_model.models import make_model
from vc_model.table.pseudobulk import load_control_cells, load_tables


def run(*arguments):
    main([str(argument) for argument in arguments])


def test_fit_and_predict_write_what_the_model_says(tiny, tmp_path, capsys):
    screen, splits, _ = tiny()
    run("fit", screen, splits, tmp_path / "model", "--model", "mean_effect")
    run("predict", tmp_path / "model", screen, splits, tmp_path / "out.zarr")
    printed = capsys.readouterr().out
    assert "note: batches without reference: 1" in printed
    assert "Wrote" in printed.splitlines()[-1]
    found = read_predictions(tmp_path / "out.zarr")
    train, _, test = load_tables(screen, splits)
    expected = make_prediction_file(make_model("mean_effect").fit(train), test)
    assert found.perturbation.tolist() == ["control", "G2"]
    assert found.model == "mean_effect"
    np.testing.assert_array_equal(found.mean_ng, expected.mean_ng)
    np.testing.assert_array_equal(found.sd_ng, expected.sd_ng)
    np.testing.assert_array_equal(found.mean_ng[0], train.contexts.base_cg[0])
    run("predict", tmp_path / "model", screen, splits, tmp_path / "cells.zarr", "--cells", 5)
    cells = read_predictions(tmp_path / "cells.zarr")
    assert (cells.space, cells.unit) == ("counts", "cell")
    assert (cells.perturbation == "G2").sum() == 5
    assert (cells.mean_ng == np.rint(cells.mean_ng)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit", "absent.zarr", "splits.json", "out"), "absent.zarr"),
        (("fit", "SCREEN", "SPLITS", "out", "--model", "oracle"), "oracle"),
        (("predict", "absent", "SCREEN", "SPLITS", "out.zarr"), "absent"),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_2(tiny, tmp_path, monkeypatch, capsys, arguments, message):
    screen, splits, _ = tiny()
    monkeypatch.chdir(tmp_path)
    names = {"SCREEN": screen, "SPLITS": splits}
    with pytest.raises(SystemExit) as stop:
        run(*(names.get(argument, argument) for argument in arguments))
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert message in printed
    assert len(printed.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_list_names_every_model(capsys):
    run("list")
    printed = capsys.readouterr().out
    for name in ("anchored", "blup", "mean_effect", "lowrank_ridge_random_genes"):
        assert name in printed


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit) as stop:
        run("--help")
    assert stop.value.code == 0
    assert "vc-model fit screen.zarr splits.json model" in capsys.readouterr().out


def write_latents(path, change=None):
    """Two cells of line A and one of B, in two dimensions."""
    obs = pd.DataFrame({"kind": "cell", "cell_line": ["A", "A", "B"]}, index=["a1", "a2", "b1"])
    adata = anndata.AnnData(np.array([[0, 1], [2, 3], [5, 6]], np.float32), obs=obs)
    adata.uns |= {"contract": json.dumps({"name": "latents", "version": "1.0"}), "site": "x", "model": "m"}
    if change is not None:
        change(adata)
    adata.write_h5ad(path)
    return path


def test_cell_lines_may_be_described_by_latents(tiny, tmp_path, capsys):
    screen, splits, _ = tiny()
    latents = write_latents(tmp_path / "latents.h5ad")
    vectors = read_context_vectors(latents)
    np.testing.assert_array_equal(vectors["A"], [1, 2])
    np.testing.assert_array_equal(vectors["B"], [5, 6])
    run("fit", screen, splits, tmp_path / "model", "--model", "anchored", "--contexts", latents)
    run("predict", tmp_path / "model", screen, splits, tmp_path / "out.zarr", "--contexts", latents)
    assert np.isfinite(read_predictions(tmp_path / "out.zarr").mean_ng).all()
    for arguments, message in (
        (("predict", tmp_path / "model", screen, splits, tmp_path / "other.zarr"), "same `contexts` as fit"),
        (("fit", screen, splits, tmp_path / "no", "--model", "knn", "--contexts", latents), "--contexts"),
    ):
        with pytest.raises(SystemExit):
            run(*arguments)
        assert message in capsys.readouterr().err


def test_an_encoder_of_this_package_describes_cell_lines(tiny, tmp_path, capsys):
    screen, splits, _ = tiny()
    train, _, _ = load_tables(screen, splits)
    config = BioJepaConfig.tiny(n_genes=len(train.genes), n_layers=1)
    params, frozen = init_stage("pretrain", config, 0, {})
    cells = load_control_cells(screen, splits, train.genes, 8)
    bank = make_action_bank(train, [], seq_width=24, target_width=64, modality_widths=(24, 16, 20))
    parts = jax.tree.map(np.asarray, params | frozen)
    fitted = FittedBioJepa(config, parts, ("pretrain",), train.contexts, cells, bank)
    save_checkpoint(tmp_path / "encoder", fitted)
    run("encode", tmp_path / "encoder", screen, splits, tmp_path / "lines.zarr")
    assert f"on {len(cells.lines)} cell lines" in capsys.readouterr().out
    vectors = read_context_vectors(tmp_path / "lines.zarr")
    np.testing.assert_array_equal(np.stack([vectors[line] for line in cells.lines]), fitted.encode_contexts())
    one_nd = fitted.encode_cells(cells.lines[-1])
    assert one_nd.shape == (int((cells.line_n == len(cells.lines) - 1).sum()), config.width)
    np.testing.assert_allclose(one_nd.mean(axis=0), vectors[cells.lines[-1]], rtol=1e-5)
    run("fit", screen, splits, tmp_path / "model", "--model", "anchored", "--contexts", tmp_path / "lines.zarr")
    with pytest.raises(SystemExit):
        run("encode", tmp_path / "model", screen, splits, tmp_path / "no.zarr")
    assert "expected a BioJEPA" in capsys.readouterr().err
    with pytest.raises(ContractError, match="finite"):
        write_context_vectors(tmp_path / "no.zarr", {"A": np.array([np.nan])}, model="m", site="x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda adata: adata.obs.__setitem__("kind", "gene"), "kind"),
        (lambda adata: adata.uns.pop("site"), "site"),
        (lambda adata: adata.X.__setitem__((0, 0), np.nan), "finite"),
        (lambda adata: adata.obs.drop(columns="cell_line", inplace=True), "cell_line"),
    ],
)
def test_latents_that_describe_no_line_are_refused(tmp_path, change, message):
    with pytest.raises(ContractError, match=message):
        read_context_vectors(write_latents(tmp_path / "latents.h5ad", change))
