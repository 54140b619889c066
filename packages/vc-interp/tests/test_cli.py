import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from vc_interp.cli.main import main
from vc_interp.latents import Latents, write_latents


@pytest.fixture
def files(tmp_path):
    names = tuple(f"G{i}" for i in range(40))
    latents = Latents(
        values_rd=np.linspace(1, -1, 40, dtype=np.float32)[:, None],
        rows=names,
        kinds=("gene",) * 40,
        dims=("z0",),
        site="genes",
        model="toy",
    )
    gmt = tmp_path / "sets.gmt"
    gmt.write_text("UP\t\t" + "\t".join(names[:8]) + "\nREST\t\t" + "\t".join(names[8:]) + "\n")
    return write_latents(tmp_path / "l.zarr", latents), gmt


def test_enrich_writes_a_table(files, tmp_path, capsys):
    latents, gmt = files
    out = tmp_path / "new" / "table.tsv"
    assert main(["enrich", str(latents), "--genesets", str(gmt), "--out", str(out), "--top", "8"]) == 0
    assert capsys.readouterr().out.startswith(f"wrote {out}: 1 of 4 tests")
    table = pd.read_csv(out, sep="\t")
    assert table.iloc[0][["end", "gene_set", "overlap"]].tolist() == ["high", "UP", 8]
    assert len(table) == 4


def test_max_fdr_filters_rows_only(files, tmp_path):
    latents, gmt = files
    for name, extra in (("all", []), ("few", ["--max-fdr", "0.05"])):
        out = str(tmp_path / f"{name}.tsv")
        assert main(["enrich", str(latents), "--genesets", str(gmt), "--out", out, "--top", "8", *extra]) == 0
    everything, few = (pd.read_csv(tmp_path / f"{name}.tsv", sep="\t") for name in ("all", "few"))
    assert len(few) == 1
    assert few.iloc[0]["fdr"] == everything.iloc[0]["fdr"]


def test_inspect(files, capsys):
    assert main(["inspect", str(files[0])]) == 0
    assert "40 rows (40 gene) x 1 dimensions" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["enrich", "absent.zarr", "--genesets", "sets.gmt", "--out", "t.tsv"], "absent.zarr"),
        (["enrich", "l.zarr", "--genesets", "absent.gmt", "--out", "t.tsv"], "absent.gmt"),
        (["enrich", "l.zarr", "--genesets", "sets.gmt", "--out", "t.parquet"], ".tsv"),
        (["enrich", "l.zarr", "--genesets", "sets.gmt", "--out", "t.tsv", "--min-size", "99"], "--min-size"),
    ],
)
def test_refusals_are_one_line_and_exit_2(files, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and words in error and error.count("\n") == 1
    assert not list(tmp_path.glob("*t.*tsv*"))


def test_help_imports_nothing_heavy():
    code = (
        "import sys, vc_interp.cli.main as c\n"
        "for command in ([], ['sae'], ['features'], ['attention'], ['probe'], ['report'], ['enrich'], ['inspect']):\n"
        "    try: c.main([*command, '--help'])\n"
        "    except SystemExit: pass\n"
        "heavy = {'anndata', 'pandas', 'scipy', 'zarr', 'torch', 'sae_lens', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "enrich" in done.stdout
