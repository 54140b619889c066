"""`vc discover VERB` as typed, on a folder like the one that `vc quickstart` writes."""

import json
import re
import shlex
import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from vc_apps.cli import main
from vc_apps.discover import settings
from vc_apps.discover.run import VERBS

RUN = ("biomarker", "combo", "escape", "lethal", "mechanism")
"""Verbs whose examples are run here."""
COLUMNS = ["rank", "name", "effect", "low", "high", "evidence", "doubts", "support"]


@pytest.fixture(scope="session")
def work(tmp_path_factory) -> Path:
    """A folder with run/, as the quickstart leaves it, and the files of their own that the examples of --help name."""
    from dataclasses import replace

    from vc_data import split as splitting
    from vc_data.convert.run import convert
    from vc_data.options import ConvertOptions
    from vc_data.simulate import PRESETS, write_simulation
    from vc_featurize.bank import write_features
    from vc_featurize.geneset import geneset_features
    from vc_model.plan.library import read_gmt

    folder = tmp_path_factory.mktemp("discover")
    run = folder / "run"
    run.mkdir()
    config = replace(PRESETS["tiny"], n_genes=120, n_singles=30, n_pairs=14, controls_per_line=100)
    write_simulation(config, 0, run / "simulated")
    adata = ad.read_h5ad(run / "simulated/screen.h5ad")
    convert(run / "simulated/screen.h5ad", run / "screen.zarr", ConvertOptions())
    targets = sorted({part for name in adata.obs["perturbation"].astype(str) for part in name.split("+")} - {"control"})
    bank = geneset_features(run / "simulated/pathways.gmt", targets)
    write_features(run / "features.zarr", bank, config={"genesets": "pathways.gmt"})
    from vc_data.screen.file import read_screen

    (run / "splits").mkdir()
    made = splitting.by_perturbation(read_screen(run / "screen.zarr"), seed=0, test=0.2, min_cells=5)
    splitting.write_splits(made, run / "splits/split-0.json", parents={})
    fitted = ["-q", "fit", str(run / "screen.zarr"), "-o", str(run / "model"), "--bank", str(run / "features.zarr")]
    assert main(fitted) == 0
    _own_files(folder, adata, targets, read_gmt(run / "simulated/pathways.gmt"))
    return folder


def _own_files(folder: Path, adata: ad.AnnData, targets: list[str], sets: list[list[str]]) -> None:
    """The user's own tables of the examples."""
    rng = np.random.default_rng(0)
    genes = list(adata.var_names)
    pd.DataFrame({"gene": targets[:24], "score": rng.standard_normal(24)}).to_csv(folder / "measured.csv", index=False)
    (folder / "genes.txt").write_text("\n".join(genes) + "\n")
    shutil.copy(folder / "run/simulated/pathways.gmt", folder / "pathways.gmt")
    truth = ad.read_h5ad(folder / "run/simulated/truth.h5ad")
    truth = truth[~truth.obs["perturbation"].astype(str).str.contains("+", regex=False)].copy()
    truth.obs["cell_line"] = truth.obs["cell_line"].astype(str).replace({"LineA": "K562"})
    truth.write_h5ad(folder / "effects.h5ad")
    for fname, line in (("a.h5ad", "K562"), ("b.h5ad", "LineB")):
        truth[(truth.obs["cell_line"] == line).to_numpy()].copy().write_h5ad(folder / fname)
    effect = np.asarray(truth.X)[0]
    for fname in ("wanted.csv", "profile.csv"):
        pd.DataFrame({"gene": genes, "value": effect}).to_csv(folder / fname, index=False)
    control = (adata.obs["cell_line"] == "LineA").to_numpy() & adata.obs["is_control"].to_numpy(bool)
    adata[control].copy().write_h5ad(folder / "resistant.h5ad")
    strong = str(adata.obs["perturbation"][~adata.obs["is_control"].to_numpy(bool)].iloc[0])
    adata[(adata.obs["perturbation"] == strong).to_numpy()].copy().write_h5ad(folder / "sensitive.h5ad")
    pool = targets[:20]
    pairs = [(a, b) for at, a in enumerate(pool) for b in pool[at + 1 :]][:150]
    strength = dict(zip(pool, rng.standard_normal(len(pool)), strict=True))
    scores = [3 * strength[a] * strength[b] + 0.3 * rng.standard_normal() for a, b in pairs]
    pd.DataFrame(pairs, columns=["gene_a", "gene_b"]).assign(score=scores).to_csv(folder / "pairs.csv", index=False)
    pd.DataFrame({"gene": targets, "score": rng.standard_normal(len(targets))}).to_csv(
        folder / "viability.csv", index=False
    )
    lines = [f"L{at}" for at in range(30)]
    base = pd.DataFrame(rng.standard_normal((30, 40)), columns=[f"M{at}" for at in range(40)])
    pd.DataFrame({"name": lines, "score": 2 * base["M3"] + rng.standard_normal(30)}).to_csv(
        folder / "sensitivity.csv", index=False
    )
    base.insert(0, "line", lines)
    base.to_csv(folder / "expression.csv", index=False)


def _examples() -> list[str]:
    """Every command line in the docstrings of the verbs."""
    classes = [cls for cls in vars(settings).values() if isinstance(cls, type) and cls in VERBS]
    found = [line for cls in classes for line in re.findall(r"^\s*(vc discover .*)$", cls.__doc__ or "", re.MULTILINE)]
    return sorted(set(found))


def _known(work: Path, line: str) -> str:
    """The example with names that this run knows: the quickstart has genes G0001 and MED1 by chance of its seed."""
    table = pd.read_csv(work / "measured.csv")
    names = _trained(work)
    line = line.replace("--gene G0001", f"--gene {pd.read_csv(work / 'wanted.csv')['gene'].iloc[0]}")
    line = line.replace("--query G0001", f"--query {table['gene'].iloc[0]}")
    line = line.replace("MED1", str(pd.read_csv(work / "wanted.csv")["gene"].iloc[0]))
    return line.replace("G0001", names[0])


def _trained(work: Path) -> list[str]:
    from vc_apps.discover.sources import read_run

    actions = read_run(work / "run").conditions.actions
    return sorted({action.label for action in actions if len(action.targets) == 1})


def test_every_verb_has_an_example():
    assert {line.split()[2] for line in _examples()} == {cls.__name__.lower() for cls in VERBS}


@pytest.mark.parametrize("line", [line for line in _examples() if line.split()[2] in RUN])
def test_examples_of_help_run_on_the_quickstarts_output(line, work, tmp_path, monkeypatch):
    monkeypatch.chdir(work)
    args = shlex.split(_known(work, line))[1:]
    args[args.index("-o") + 1] = str(tmp_path / "answer")
    args = [str(tmp_path / "campaign") if arg == "campaign" else arg for arg in args]
    assert main(["-q", *args]) == 0
    answer = tmp_path / "answer"
    table = pd.read_parquet(answer / "table.parquet")
    assert list(table.columns[: len(COLUMNS)]) == COLUMNS and len(table)
    assert len(pd.read_csv(answer / "table.csv")) == len(table)
    assert set(table["support"]) <= {"supported", "extrapolation", "no support"}
    assert table["rank"].tolist() == list(range(1, len(table) + 1))
    record = json.loads((answer / "answer.json").read_text())
    assert record["verb"] == args[1] and record["answer"].endswith((".", ")"))
    page = (answer / "page.html").read_text()
    assert "<svg" in page and "default-src 'none'" in page
