"""One key for targets: what two files call one gene is one, and what nobody can say is said."""

import json

import pandas as pd
import pytest
from vc_contracts import ContractError
from vc_contracts.parents import check_parent
from vc_contracts.targets import TargetTable, match_names, read_targets, target_keys, tell_unproven, unproven_of

VAR = pd.DataFrame(
    {"gene_id": ["ENSG00000141510", "ENSG00000136997", "ENSG00000206503"], "symbol": ["TP53", "MYC", "HLA-A"]},
    index=["TP53", "MYC", "HLA-A"],
)


def linked(*names, var=VAR, **labels):
    record = {"kind": "gene", "targets": {}}
    for name in names:
        row = var.loc[name] if name in var.index else {"gene_id": "", "symbol": ""}
        known = name in var.index
        record["targets"][name] = {"gene_id": row["gene_id"], "symbol": row["symbol"], "how": "symbol" if known else ""}
        if name in labels:
            record["targets"][name]["labels"] = [labels[name]]
    return read_targets(names, var, json.dumps(record))


def test_targets_meet_by_id_symbol_and_spelling():
    bare = TargetTable(frozenset(["ENSG00000141510.18", "Myc", "hla.a"]), {})
    (mine, theirs) = target_keys([linked("TP53", "MYC", "HLA-A"), bare])
    assert mine == {"TP53": "TP53", "MYC": "MYC", "HLA-A": "HLA-A"}
    assert theirs == {"ENSG00000141510.18": "TP53", "Myc": "MYC", "hla.a": "HLA-A"}


def test_a_screen_finds_what_others_call_its_genes():
    table = linked("TP53", "GENE9", GENE9="sgGENE9-1")
    for name in ("TP53", "tp53", "ENSG00000141510.3"):
        assert table.call(name) == "TP53"
    assert (table.call("HLA.A"), table.call("sgGENE9-1"), table.call("NOTHING")) == ("HLA-A", "GENE9", None)
    assert (table.gene_of("TP53"), table.gene_of("GENE9")) == ("TP53", None)
    assert TargetTable.from_text(table.to_text()).call("ENSG00000136997") == "MYC"


def test_two_genes_of_one_spelling_are_nobodys():
    var = pd.DataFrame(
        {"gene_id": ["ENSG00000000001", "ENSG00000000002"], "symbol": ["A-B", "AB"]}, index=["A-B", "AB"]
    )
    table = linked("A-B", var=var)
    assert (table.call("A-B"), table.call("a.b")) == ("A-B", None)


def test_compounds_keep_their_identity():
    table = TargetTable(frozenset(["NAD", "NADplus", "(plus)-JQ1"]), {}, compounds=True)
    assert (table.call("NAD+"), table.call("nad"), table.call("(+)-JQ1 ")) == ("NADplus", "NAD", "(plus)-JQ1")
    assert target_keys([table, TargetTable(frozenset(["nad"]), {}, compounds=True)])[1] == {"nad": "NAD"}


def test_within_one_screen_a_plain_symbol_is_one_gene():
    assert unproven_of(linked("TP53", "GENE9", "C1orf112")) == []
    assert unproven_of(linked("TP53", "locus 7", "x_1")) == ["locus 7", "x_1"]
    mixed = linked("GENE9", "ENSG00000999999")
    assert unproven_of(mixed) == ["ENSG00000999999", "GENE9"]


def test_between_screens_a_target_is_settled_where_both_know_its_name():
    one, other = linked("TP53", "GENE9"), linked("MYC", "GENE9", "OLDNAME")
    assert unproven_of(one, [other]) == []
    assert tell_unproven([one, other], ["a", "b"]) == [
        "b: not proven for 1 of 3 targets, which are no known gene ('OLDNAME')"
    ]
    assert unproven_of(linked("TP53", "MYC"), [other]) == []


def test_a_parent_is_compared_by_its_hash(tmp_path):
    (tmp_path / "screen.zarr").write_text("one")
    (tmp_path / "other.zarr").write_text("two")
    from vc_contracts import sha256_tree

    header = {"parents": {"screen.zarr": sha256_tree(tmp_path / "screen.zarr")}}
    check_parent(header, "split.json", tmp_path / "screen.zarr", only=True)
    check_parent(header, "prediction.zarr", tmp_path / "other.zarr")
    check_parent({"parents": {}}, "split.json", tmp_path / "other.zarr", only=True)
    with pytest.raises(ContractError, match="parents"):
        check_parent(header, "split.json", tmp_path / "other.zarr", only=True)
    (tmp_path / "screen.zarr").write_text("changed")
    with pytest.raises(ContractError, match="parents"):
        check_parent(header, "prediction.zarr", tmp_path / "screen.zarr")


def test_names_of_two_lists_meet_by_spelling_where_one_alone_is_meant():
    known = ["HLA-A", "ENSG00000141510", "MYC", "(-)-JQ1", "AB-1", "AB1"]
    names = ["HLA.A", "ENSG00000141510.18", "MYC", "Myc", "(+)-JQ1", "AB.1", "AB-1", "TP53"]
    assert match_names(names, known) == [0, 1, 2, -1, -1, -1, 4, -1]
