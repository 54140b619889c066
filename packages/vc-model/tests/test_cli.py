import subprocess
import sys

import numpy as np
import pytest
from vc_model.cli import main
from vc_model.contracts import read_predictions
from vc_model.models import make_model
from vc_model.output import make_prediction_file
from vc_model.pseudobulk import load_tables


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
    for name in ("anchored", "stacked", "mean_effect", "lowrank_ridge_random_genes"):
        assert name in printed


def test_the_command_line_imports_nothing_heavy():
    code = "import sys, vc_model, vc_model.cli; print([m for m in ('jax', 'numpy', 'pandas', 'anndata', 'scipy') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit) as stop:
        run("--help")
    assert stop.value.code == 0
    assert "vc-model fit screen.zarr splits.json model" in capsys.readouterr().out
