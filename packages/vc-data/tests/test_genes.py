import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vc_contracts.text.ids import strip_version
from vc_data.errors import ColumnError, GeneError, SourceError
from vc_data.genes.align import align_genes
from vc_data.genes.names import identify_genes, unique_names
from vc_data.genes.tables import read_panel

SYMBOLS = [f"G{i}" for i in range(12)]


@pytest.fixture
def tables(tmp_path):
    table, aliases = tmp_path / "genes.tsv", tmp_path / "aliases.tsv"
    table.write_text(
        "ensgene\tsymbol\nENSG00000000001\tA\nENSG00000000002\tB\nENSG00000000003\tC\nENSG00000000004\tC\n"
    )
    aliases.write_text("Symbol\tApproved.Symbol\nA\tA\nB\tB\nOLD_B\tB\nB2\tB\nSHARED\tA\nSHARED\tB\nA\tB\n")
    return {"gene_table": table, "aliases": aliases}


@given(st.lists(st.sampled_from(SYMBOLS), min_size=1), st.permutations(SYMBOLS), st.integers(1, 12))
def test_exact_names_align_like_a_dictionary(names, order, n_panel):
    panel = order[:n_panel]
    if not set(names) & set(panel):
        with pytest.raises(GeneError):
            align_genes(names, panel)
        return
    alignment = align_genes(names, panel)
    assert alignment.target.tolist() == [panel.index(name) if name in panel else -1 for name in names]
    assert alignment.measured.tolist() == [name in names for name in panel]
    report = alignment.to_json()
    assert report["matched"]["name"] + report["dropped"]["not in panel"]["n"] == len(names)
    assert report["n_measured"] + report["unmeasured"]["n"] == n_panel
    assert {g: len(s) for g, s in report["summed"]["genes"].items()} == {
        g: names.count(g) for g in panel if names.count(g) > 1
    }


@given(st.lists(st.sampled_from(SYMBOLS), min_size=1, unique=True), st.randoms())
def test_alignment_does_not_depend_on_the_order_of_the_file(names, random):
    panel = SYMBOLS
    shuffled = random.sample(names, len(names))
    one = dict(zip(names, align_genes(names, panel).target.tolist(), strict=True))
    two = dict(zip(shuffled, align_genes(shuffled, panel).target.tolist(), strict=True))
    assert one == two


def test_each_rule(tables):
    alignment = align_genes(["A", "ENSG00000000002.7", "OLD_B", "SHARED", "XYZ"], ["A", "B", "D"], **tables)
    assert alignment.how == ["name", "table", "alias", "not in panel", "not in panel"]
    assert alignment.target.tolist() == [0, 1, 1, -1, -1]
    assert alignment.summed == {"B": ["ENSG00000000002", "OLD_B"]}
    assert alignment.measured.tolist() == [True, True, False]


def test_approved_symbol_is_never_read_as_an_alias(tables):
    # 'A' is approved, and also listed as an alias of B.
    assert align_genes(["A", "B"], ["B"], **tables).target.tolist() == [-1, 0]


def test_panel_with_a_former_name_is_reached_by_the_approved_one(tables):
    alignment = align_genes(["B"], ["OLD_B"], **tables)
    assert (alignment.how, alignment.target.tolist()) == (["alias"], [0])


def test_one_to_many_is_dropped_as_ambiguous(tables):
    alignment = align_genes(["C", "A"], ["ENSG00000000003", "ENSG00000000004", "ENSG00000000001"], **tables)
    assert alignment.how == ["ambiguous", "table"]
    assert alignment.target.tolist() == [-1, 2]
    assert alignment.to_json()["dropped"]["ambiguous"] == {"n": 1, "genes": ["C"]}
    # Two panel entries that are former names of one gene leave no way to choose either.
    assert align_genes(["B", "A"], ["OLD_B", "B2", "A"], **tables).how == ["ambiguous", "name"]


def test_id_is_preferred_over_symbol():
    alignment = align_genes(["A"], ["A", "ENSG00000000009"], gene_ids=["ENSG00000000009.1"])
    assert alignment.target.tolist() == [1]


@pytest.mark.parametrize("panel", [[], ["A", "A"], ["Z"]])
def test_unusable_panels_are_refused(panel):
    with pytest.raises(GeneError, match="the panel"):
        align_genes(["A"], panel)


def test_table_without_the_columns_is_refused(tmp_path):
    (tmp_path / "t.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(SourceError, match=r"t\.tsv: header"):
        align_genes(["A"], ["A"], gene_table=tmp_path / "t.tsv")
    with pytest.raises(SourceError, match="nothing"):
        align_genes(["A"], ["A"], aliases=tmp_path / "no.tsv")


def test_versions():
    assert strip_version("ENSG00000000001.12") == "ENSG00000000001"
    assert strip_version("ENSMUSG00000000001.3") == "ENSMUSG00000000001"
    assert strip_version("ENSG00000002586.20_PAR_Y") == "ENSG00000002586_PAR_Y"
    assert strip_version("AC000032.1") == "AC000032.1"


def test_identifiers_are_found_wherever_they_are():
    ids, symbols = ["ENSG00000000001.4", "ENSG00000000002.1"], ["A", "B"]
    for var in (
        pd.DataFrame({"gene_name": symbols}, index=ids),
        pd.DataFrame({"ensemble_id": ids}, index=symbols),
        pd.DataFrame({"gene_ids": ids, "feature_name": symbols}, index=["0", "1"]),
    ):
        genes = identify_genes(var)
        assert genes.gene_ids == ["ENSG00000000001", "ENSG00000000002"]
        assert genes.symbols == symbols


def test_an_id_in_place_of_a_symbol_is_an_id():
    genes = identify_genes(pd.DataFrame({"gene_name": ["A", "B", "ENSG00000000003.1"]}, index=["A", "B", "C"]))
    assert genes.symbols == ["A", "B", ""]
    assert genes.gene_ids == ["", "", "ENSG00000000003"]


def test_no_identifiers_are_refused():
    with pytest.raises(ColumnError, match="--gene-id"):
        identify_genes(pd.DataFrame({"n": [1, 2]}, index=["0", "1"]))


def test_symbols_that_two_ids_share_are_named_by_their_ids():
    ids = ["ENSG00000000001", "ENSG00000000002", "ENSG00000000003"]
    genes = identify_genes(pd.DataFrame({"gene_name": ["TBCE", "TBCE", "X"]}, index=ids))
    assert unique_names(genes) == [ids[0], ids[1], "X"]


def test_panel_file_has_no_header(shared):
    panel = read_panel(shared / "side" / "genes" / "vcc2025_gene_names.txt")
    assert len(panel) == 18080 and panel[0] == "SAMD11"


def test_known_movers_reach_the_challenge_panel(shared):
    genes = shared / "side" / "genes"
    panel = read_panel(genes / "vcc2025_gene_names.txt")
    alignment = align_genes(
        ["C19orf26", "KIAA1804", "SAMD11", "ENSG00000141510.18"],
        panel,
        gene_table=genes / "ensembl_grch38_genes.tsv.gz",
        aliases=genes / "symbol_alias_to_approved.tsv.gz",
    )
    reached = [panel[i] if i >= 0 else None for i in alignment.target]
    assert reached == ["CBARP", "MAP3K21", "SAMD11", "TP53"]
    assert alignment.how == ["alias", "alias", "name", "table"]
    assert np.flatnonzero(alignment.measured).size == 4


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("GRCh38_{symbol}", "begin with 'GRCh38_'"),
        ("{symbol}_{gene_id}.3", "read apart"),
        ("{gene_id}|{symbol}", "read apart"),
        (" {symbol} ", "gene symbols: 'index'"),
    ],
)
def test_names_that_hold_more_than_the_gene_are_read(written, said):
    symbols = ["TP53", "HLA-A", "MT-ND1"]
    index = [written.format(symbol=symbol, gene_id=f"ENSG{i:011d}") for i, symbol in enumerate(symbols)]
    genes = identify_genes(pd.DataFrame(index=index))
    assert genes.symbols == symbols
    assert any(said in statement for statement in genes.statements)
    assert genes.gene_ids == ([f"ENSG{i:011d}" for i in range(3)] if "gene_id" in written else ["", "", ""])


def test_names_are_left_alone_where_only_some_hold_more():
    index = ["GRCh38_TP53", "mm10_Tp53", "MYC_ENSG00000000001"]
    assert identify_genes(pd.DataFrame(index=index)).symbols == index
