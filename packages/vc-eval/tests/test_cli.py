import json

import anndata
import pytest
from vc_eval import contracts, testing
from vc_eval.cli.main import main
from vc_eval.roles import REFERENCES


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    screen = testing.make_screen(n_perturbations=8, n_genes=40, n_cells=12)
    splits = testing.make_splits(screen)
    screen.write_zarr(folder / "screen.zarr")
    (folder / "split.json").write_text(json.dumps(splits))
    for kind, name in (("oracle", "mine"), ("mean_effect", "mean_effect"), ("no_change", "no_change")):
        testing.make_predictions(screen, splits, kind, name=name, sd=0.1).write_zarr(folder / f"{name}.zarr")
    return folder


def run(files, out, *extra, pred=("no_change", "mine", "mean_effect"), screens=None):
    screens = screens or files
    paths = [str(files / f"{name}.zarr") for name in pred]
    base = [
        "split",
        "--screen",
        str(screens / "screen.zarr"),
        "--splits",
        str(screens / "split.json"),
        "--pred",
        *paths,
    ]
    main([*base, "--out", str(out), "--n-boot", "50", "--n-ceiling", "2", "--n-ceiling-des", "1", "--quiet", *extra])


def test_run_writes_scores_and_report_and_says_so(files, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    run(files, tmp_path / "one")
    assert "open " + str(tmp_path / "one" / "report.html") in capsys.readouterr().out.splitlines()[-1]
    table, summary = contracts.read_scores(tmp_path / "one")
    assert summary["model"] == "mine"
    assert set(table["model"]) == {"mine", "mean_effect", "no_change", "cell_eval_mean", *REFERENCES}
    header = json.loads((tmp_path / "one" / "scores.json").read_text())["contract"]
    assert header["parents"]["screen.zarr"] == contracts.sha256_tree(files / "screen.zarr")
    run(files, tmp_path / "two")
    for name in ("scores.parquet", "scores.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == [
        "report.html",
        "scores.json",
        "scores.parquet",
    ]
    assert str(tmp_path) not in (tmp_path / "one" / "report.html").read_text()


def test_scores_are_replaced_only_on_request_and_only_where_nothing_else_lies(files, tmp_path, capsys):
    run(files, tmp_path / "out", pred=("mine",))
    before = (tmp_path / "out" / "scores.parquet").read_bytes()
    for words, stranger in (((), None), (("--overwrite",), "notes.txt")):
        if stranger:
            (tmp_path / "out" / stranger).write_text("mine")
        with pytest.raises(SystemExit):
            run(files, tmp_path / "out", "--seed", "1", *words, pred=("mine",))
        assert (stranger or "--overwrite") in capsys.readouterr().err
    assert (tmp_path / "out" / "scores.parquet").read_bytes() == before
    (tmp_path / "out" / "notes.txt").unlink()
    run(files, tmp_path / "out", "--seed", "1", "--overwrite", pred=("mine",))
    assert (tmp_path / "out" / "scores.parquet").read_bytes() != before


@pytest.mark.parametrize(
    ("extra", "pred", "message"),
    [
        (("--model", "nobody"), ("mine",), "nobody"),
        ((), ("mine", "mine"), "are both named 'mine'"),
        ((), ("absent",), "nothing there"),
        (("--baselines", "additive"), ("mine",), "additive"),
    ],
)
def test_refusals_are_one_line_and_exit_2(files, tmp_path, capsys, extra, pred, message):
    with pytest.raises(SystemExit) as stop:
        run(files, tmp_path / "out", *extra, pred=pred)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_list_prints_every_metric(capsys):
    main(["list"])
    text = capsys.readouterr().out
    for name in ("pearson_delta", "vcc2025/des", "beat/BASELINE", "calibration/coverage_error"):
        assert f"\n{name}  (" in "\n" + text
    main(["list", "--family", "vcc2025"])
    assert all(line.startswith(("vcc2025/", "    ")) for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(("words", "name"), [(["--screen", "s.zarr"], "split"), (["--real", "r.h5ad"], "cells")])
def test_the_old_spelling_names_the_new_one(capsys, words, name):
    with pytest.raises(SystemExit) as stop:
        main(["run", *words])
    assert stop.value.code == 2
    assert f"vc-eval {name} {' '.join(words)}" in capsys.readouterr().err


def test_roles_come_from_the_files_and_silence_is_said(files, tmp_path, capsys):
    def write(name, role):
        adata = anndata.read_zarr(files / f"{name}.zarr")
        if role is None:
            adata.uns.pop("role", None)
        else:
            adata.uns["role"] = role
        adata.write_zarr(tmp_path / f"{name}.zarr")

    for name, role in (("no_change", "reference"), ("mine", None), ("mean_effect", "baseline")):
        write(name, role)
    run(tmp_path, tmp_path / "out", screens=files)
    assert "mine: no role is stated" in capsys.readouterr().out
    _, summary = contracts.read_scores(tmp_path / "out")
    assert summary["model"] == "mine"
    write("mine", "teacher")
    with pytest.raises(SystemExit):
        run(tmp_path, tmp_path / "again", screens=files)
    assert "one of model, baseline, reference" in capsys.readouterr().err
