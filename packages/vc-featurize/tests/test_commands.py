"""The commands end to end, in one process."""

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
