"""Questions to a model that was fitted on a table of effects: no cells, no counts, the same commands."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from vc_apps.cli import main

GENES = [f"G{number:02d}" for number in range(40)]
TARGETS = GENES[:24]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """z-scores of 24 knock-downs in two lines, two repeats each; targets of one half of the genes act alike."""
    rng = np.random.default_rng(0)
    groups = rng.normal(0, 3, (2, len(GENES)))
    rows = []
    for line in ("K562", "RPE1"):
        for at, target in enumerate(TARGETS):
            effect = groups[at % 2] + rng.normal(0, 1, len(GENES))
            rows += [[target, line, *(effect + rng.normal(0, 0.3, len(GENES)))] for _ in range(2)]
    path = tmp_path_factory.mktemp("effects") / "z.csv"
    pd.DataFrame(rows, columns=["perturbation", "line", *GENES]).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def fitted(table):
    from vc_data.cli.main import main as vc_data

    out = table.parent / "z.zarr"
    how = ["--values", "z", "--cell-line", "line", "--mode-name", "crispri"]
    assert (vc_data(["-q", "convert-effects", str(table), str(out), *how]) or 0) == 0
    assert main(["-q", "fit", str(out), "-o", str(table.parent / "model"), "--model", "anchored"]) == 0
    return table.parent / "model"


def test_answers_are_effects_in_the_space_of_the_table(fitted, table, tmp_path, capsys):
    import anndata as ad

    names = ["g03", "G30", "G02+G05", "made-up"]
    assert main(["predict", str(fitted), "--genes", *names, "--cell-line", "K562", "-o", str(tmp_path / "a")]) == 0
    assert "g03 as G03" in capsys.readouterr().err
    answers = pq.read_table(tmp_path / "a" / "answers.parquet").to_pandas().set_index("perturbation")
    assert answers.loc["G03", "support"] == "seen here" and not answers.loc["made-up", "answered"]
    said = ad.read_h5ad(tmp_path / "a" / "predictions.h5ad")
    assert said.uns["space"] == "z" and list(said.var_names) == GENES
    source = pd.read_csv(table).query("perturbation == 'G03' and line == 'K562'")[GENES].mean()
    mine = said[said.obs["perturbation"].astype(str) == "G03"].X.ravel()
    assert np.corrcoef(mine, source)[0, 1] > 0.9, "a measured effect comes back"
    assert answers.loc["G03", "genes_expected_to_change"] == pytest.approx((source.abs() > 2).sum(), abs=6)


def test_all_genes_support_figures_and_targets(fitted, table, tmp_path, capsys):
    assert main(["-q", "predict", str(fitted), "--all-genes", "--force", "-o", str(tmp_path / "all")]) == 0
    assert pq.read_table(tmp_path / "all" / "answers.parquet").num_rows == 2 * len(GENES)
    capsys.readouterr()
    assert main(["support", str(fitted), "--json", "-o", str(tmp_path / "map.svg")]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert sum(row["genes"] for row in rows if row["support"] == "seen here") == 2 * len(TARGETS)
    predictions = str(tmp_path / "all" / "predictions.h5ad")
    for kind in ("volcano", "heatmap"):
        assert main(["plot", kind, predictions, "-o", str(tmp_path / f"{kind}.svg")]) == 0
        assert "change (z-score)" in (tmp_path / f"{kind}.svg").read_text()
    measured = [
        "plot",
        "measured",
        predictions,
        "--against",
        str(fitted.parent / "z.zarr"),
        "-o",
        str(tmp_path / "m.svg"),
    ]
    assert main([*measured, "--condition", "RPE1 | G04"]) == 0
    wanted = pd.DataFrame({"gene": GENES, "value": np.random.default_rng(0).normal(0, 3, (2, len(GENES)))[1]})
    wanted.to_csv(tmp_path / "wanted.csv", index=False)
    (tmp_path / "library.txt").write_text("\n".join(TARGETS))
    question = [
        "discover",
        "target",
        "--model",
        str(fitted),
        "--context",
        "K562",
        "--library",
        str(tmp_path / "library.txt"),
    ]
    assert main([*question, "--signature", str(tmp_path / "wanted.csv"), "-o", str(tmp_path / "target")]) == 0
    best = pd.read_csv(tmp_path / "target" / "table.csv")["name"].head(8)
    assert all(TARGETS.index(name) % 2 == 1 for name in best), "targets of the wanted group come first"
    for bad, words in ((["--genes", "G01", "--cells", str(table)], "no control cells"), (["--genes", "G01@3"], "dose")):
        capsys.readouterr()
        assert main(["predict", str(fitted), *bad, "-o", str(tmp_path / "bad")]) == 2
        assert words in capsys.readouterr().err
