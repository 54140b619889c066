import pytest
from vc_featurize.bank import read_features
from vc_featurize.cli import main


@pytest.fixture
def gmt(tmp_path):
    path = tmp_path / "sets.gmt"
    path.write_text("S1\td\tTP53\tMDM2\nS2\td\tMDM2\tMYC\n")
    return path


def test_geneset_writes_a_bank_and_says_what_next(tmp_path, gmt, capsys):
    (tmp_path / "genes.txt").write_text("TP53\nNOWHERE\n")
    out = tmp_path / "bank.zarr"
    assert main(["geneset", str(gmt), "--genes", str(tmp_path / "genes.txt"), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "missing: NOWHERE: in no set" in printed
    assert f"wrote {out}: 2 entities (1 missing)" in printed.splitlines()[-1]
    assert set(read_features(out).header["parents"]) == {"sets.gmt", "genes.txt"}
    assert main(["inspect", str(out)]) == 0
    assert "geneset-svd" in capsys.readouterr().out


def test_same_input_same_bytes(tmp_path, gmt, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    for name in ("a", "b"):
        assert main(["geneset", str(gmt), "--out", str(tmp_path / f"{name}.zarr")]) == 0
    contents = [
        {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
        for name in ("a.zarr", "b.zarr")
    ]
    assert contents[0] == contents[1]


def test_compound_command(tmp_path, capsys):
    pytest.importorskip("rdkit", reason="the extra `chem` is not installed")
    (tmp_path / "drugs.tsv").write_text("name\tsmiles\nethanol\tCCO\nodd\tC1(\n")
    out = tmp_path / "drugs.h5ad"
    assert main(["compound", str(tmp_path / "drugs.tsv"), "--id-col", "name", "--n-bits", "64", "--out", str(out)]) == 0
    assert "missing: odd: invalid SMILES" in capsys.readouterr().out
    assert read_features(out).missing.tolist() == [False, True]


@pytest.mark.parametrize("arguments", [["geneset", "absent.gmt", "--out", "b.zarr"], ["inspect", "absent.zarr"]])
def test_refusals_are_one_line_and_exit_2(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: absent") and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_refuses_an_odd_output_name(tmp_path, gmt, capsys):
    assert main(["geneset", str(gmt), "--out", str(tmp_path / "bank.csv")]) == 2
    assert ".zarr or .h5ad" in capsys.readouterr().err


def test_a_repeated_gene_name_is_refused(tmp_path, gmt, capsys):
    (tmp_path / "genes.txt").write_text("TP53\nTP53\n")
    assert main(["geneset", str(gmt), "--genes", str(tmp_path / "genes.txt"), "--out", str(tmp_path / "b.zarr")]) == 2
    assert "'TP53'" in capsys.readouterr().err
