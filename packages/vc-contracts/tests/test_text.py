"""Names and lists of strangers."""

import doctest
import gzip

import numpy as np
import pandas as pd
import pytest
from vc_contracts.text import lists, names, plain

GENES = ["TP53", "MYC", "HLA-A", "1-Mar"]


def test_examples():
    for module in (names, plain):
        assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n", " \n"])
@pytest.mark.parametrize("head", ["", "gene_name\n", '"Gene Symbol"\n'])
def test_a_list_is_read_whatever_program_saved_it(tmp_path, encoding, end, head):
    text = head + "".join(f'"{gene}"{end}' if head.startswith('"') else gene + end for gene in GENES)
    (tmp_path / "genes.txt").write_bytes(text.encode(encoding))
    assert lists.read_names(tmp_path / "genes.txt") == GENES


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_is_read_by_the_column_that_its_header_names(tmp_path, separator):
    rows = [["", "score", "target_gene"], *([str(n), "0.5", gene] for n, gene in enumerate(GENES))]
    text = "\n".join(separator.join(row) for row in rows)
    (tmp_path / "genes.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert lists.read_names(tmp_path / "genes.csv.gz") == GENES


def test_what_is_no_text_is_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"ABC\0\0\0\1")
    (tmp_path / "b.gz").write_bytes(b"\x1f\x8bnonsense")
    for name in ("a.txt", "b.gz", "absent.txt"):
        with pytest.raises(lists.ListError):
            lists.read_names(tmp_path / name)


def test_labels_are_no_formulas_and_numbers_stay():
    table = pd.DataFrame({"=1+1": ["=cmd()", "BRCA1"], "x": [-1.5, np.nan], "kind": pd.Categorical(["@a", "b"])})
    safe = names.safe_table(table)
    assert safe.columns.tolist() == ["'=1+1", "x", "kind"]
    assert safe.iloc[:, 0].tolist() == ["'=cmd()", "BRCA1"] and safe["kind"].tolist() == ["'@a", "b"]
    assert safe["x"].equals(table["x"])


def test_no_name_leads_out_of_a_folder(tmp_path):
    for name in ("../../x", "/etc/passwd", "..", "a\0b", "\n", "x" * 5000, "con\u202etxt", "\u00e9" * 200):
        part = names.file_name(name)
        assert (tmp_path / part).parent == tmp_path and len(part.encode()) <= 80
        (tmp_path / part).touch()


@pytest.mark.parametrize(
    "text",
    [
        "0\nTP53\nMYC\n",
        "# my genes\nTP53\nMYC\n",
        "TP53,MYC\n",
        "0,TP53\n1,MYC\n",
        "# made by hand\n,gene\n0,TP53\n1,MYC\n",
    ],
)
def test_headers_of_pandas_comments_and_one_line_are_understood(tmp_path, text):
    (tmp_path / "genes.csv").write_text(text)
    assert lists.read_names(tmp_path / "genes.csv") == ["TP53", "MYC"]


def test_json_is_no_list_and_one_name_is_one(tmp_path):
    (tmp_path / "genes.json").write_text('["TP53",\n "MYC"]')
    with pytest.raises(lists.ListError, match="found JSON"):
        lists.read_names(tmp_path / "genes.json")
    (tmp_path / "one.txt").write_text("TP53\n")
    assert lists.read_names(tmp_path / "one.txt") == ["TP53"]
    (tmp_path / "ids.txt").write_text("7157\n4609\n")
    assert lists.read_names(tmp_path / "ids.txt") == ["7157", "4609"]
