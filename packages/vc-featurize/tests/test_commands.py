"""The commands end to end, in one process."""

import pytest
from vc_featurize.bank import read_features
from vc_featurize.cli import main


def test_protein_guide_graph_table_and_compare(tmp_path, capsys):
    (tmp_path / "p.fa").write_text(">A\nMKVLAG\n>B\nmkvl\n>C\nMK*V\n>D\nAAAA\n>E\nGGGG\n")
    (tmp_path / "g.tsv").write_text("guide\tprotospacer\nA_1\tACGTACGTACGTACGTACGT\nA_2\tNNNN\n")
    (tmp_path / "e.tsv").write_text("source\ttarget\nA\tB\nB\tC\nC\tD\nD\tE\n")
    (tmp_path / "t.csv").write_text("gene,x,y\nA,1,2\nB,3,4\nC,0,1\nD,2,2\nE,5,1\n")
    proteins = tmp_path / "p.zarr"
    assert main(["protein", str(tmp_path / "p.fa"), "--out", str(proteins)]) == 0
    assert read_features(proteins).missing.tolist() == [False, False, True, False, False]
    assert main(["guide", str(tmp_path / "g.tsv"), "--out", str(tmp_path / "g.h5ad")]) == 0
    assert main(["graph", str(tmp_path / "e.tsv"), "--out", str(tmp_path / "e.zarr"), "--dim", "2"]) == 0
    assert main(["table", str(tmp_path / "t.csv"), "--out", str(tmp_path / "t.zarr")]) == 0
    assert main(["compare", str(tmp_path / "t.zarr"), str(tmp_path / "e.zarr")]) == 0
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    assert "5 of 5 found" in said and "CKA" in said and "not commercial" in said


def test_an_earlier_bank_is_kept_and_weights_are_asked_for(tmp_path, capsys):
    (tmp_path / "p.fa").write_text(">A\nMKVLAG\n")
    out = str(tmp_path / "p.zarr")
    assert main(["protein", str(tmp_path / "p.fa"), "--out", out]) == 0
    assert main(["protein", str(tmp_path / "p.fa"), "--out", out]) == 2
    assert main(["protein", str(tmp_path / "p.fa"), "--out", out, "--encoder", "esm2", "--overwrite"]) == 2
    assert "--weights" in capsys.readouterr().err


def test_compounds_by_other_encoders_go_through_shards_and_gene_sets_by_rarity(tmp_path, capsys):
    pytest.importorskip("rdkit", reason="the extra `chem` is not installed")
    (tmp_path / "d.tsv").write_text("name\tsmiles\naspirin\tCC(=O)Oc1ccccc1C(=O)O\nethanol\tCCO\nbroken\tC1C\n")
    table, out = str(tmp_path / "d.tsv"), tmp_path / "d.h5ad"
    arguments = ["compound", table, "--id-col", "name", "--out", str(out), "--encoder"]
    assert main([*arguments, "atompair", "--work", str(tmp_path / "work")]) == 0
    bank = read_features(out)
    assert bank.missing.tolist() == [False, False, True]
    assert bank.encoder["id"].startswith("atompair") and list((tmp_path / "work").iterdir())
    assert main([*arguments, "descriptors", "--overwrite"]) == 0
    assert read_features(out).encoder["id"].startswith("descriptors")
    assert main([*arguments, "smiles", "--overwrite"]) == 2
    assert "--weights" in capsys.readouterr().err
    (tmp_path / "s.gmt").write_text("all\t-\tA\tB\tC\tD\nfew\t-\tA\tB\npair\t-\tC\tD\n")
    for weight in ("size", "idf"):
        sets = str(tmp_path / f"{weight}.h5ad")
        assert main(["geneset", str(tmp_path / "s.gmt"), "--out", sets, "--weight", weight]) == 0
    by_size, by_rarity = (read_features(tmp_path / f"{name}.h5ad").vectors_ef for name in ("size", "idf"))
    # A set that holds every gene tells none apart, and counts nothing by rarity.
    assert by_size[0] @ by_size[2] > 0.1
    assert abs(by_rarity[0] @ by_rarity[2]) < 1e-6
