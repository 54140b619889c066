"""Several data sets on one panel, and variable genes that never see test cells."""

import gzip
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from vc_data.cli.main import main
from vc_data.convert.merge import MergeOptions, merge_screens
from vc_data.convert.run import convert
from vc_data.errors import GeneError, SourceError, TooFewError
from vc_data.genes.align import align_genes
from vc_data.genes.tables import read_aliases
from vc_data.genes.variable import training_cells, variable_genes
from vc_data.options import ConvertOptions
from vc_data.screen.file import read_screen
from vc_data.split import LeakError, by_perturbation
from vc_data.testing import make_foreign, write_foreign


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two screens: `b` lacks the first three genes of `a`, adds two, and knows GENE5 by an old name only."""
    path = tmp_path_factory.mktemp("merge")
    convert(write_foreign(make_foreign(), path / "a.h5ad"), path / "a.zarr")
    adata = make_foreign(seed=1, n_genes=14)[:, 3:].copy()
    names = adata.var["gene_name"].tolist()
    names[names.index("GENE5")] = "OLD5"
    ids = ["" if name == "OLD5" else gene_id for name, gene_id in zip(names, adata.var_names, strict=True)]
    adata.var = pd.DataFrame({"gene_id": ids, "gene_name": names}, index=names)
    adata.obs["cell_line"] = adata.obs["cell_line"].astype(str).replace({"RPE1": "HepG2"})
    convert(write_foreign(adata, path / "b.h5ad"), path / "b.zarr")
    (path / "aliases.tsv").write_text("symbol\talias_symbol\tprev_symbol\nGENE5\t\tOLD5\nGENE7\tSEVEN|VII\t\n")
    (path / "panel.txt").write_text("GENE13\nGENE0\nGENE5\nNOWHERE\n")
    return path


def dense(screen, names):
    """Counts by cell name and gene name, whatever the order; cells of merged screens lose their prefix."""
    table = pd.DataFrame(screen.X.toarray(), index=screen.obs_names, columns=screen.var_names)
    return table.loc[:, names]


@pytest.mark.parametrize("panel", ["union", "intersection", "panel.txt"])
def test_counts_and_measured_genes(folder, tmp_path, panel):
    options = MergeOptions(
        panel=str(folder / panel) if panel.endswith("txt") else panel, aliases=folder / "aliases.tsv"
    )
    report = merge_screens([folder / "a.zarr", folder / "b.zarr"], tmp_path / "m.zarr", options)
    merged = read_screen(tmp_path / "m.zarr")
    genes = [f"GENE{i}" for i in range(14)]
    expected = {"union": genes, "intersection": genes[3:12], "panel.txt": ["GENE13", "GENE0", "GENE5", "NOWHERE"]}[
        panel
    ]
    assert merged.var_names.tolist() == expected and merged.uns["datasets"].tolist() == ["a", "b"]
    in_a, in_b = np.isin(expected, genes[:12]), np.isin(expected, genes[3:])
    assert (merged.varm["measured"] == np.column_stack([in_a, in_b])).all()
    assert (merged.var["measured"] == (in_a & in_b)).all()
    assert report.measured == {"a": in_a.sum(), "b": in_b.sum()}
    for key, renamed in (("a", {}), ("b", {"OLD5": "GENE5"})):
        source = read_screen(folder / f"{key}.zarr")
        part = merged[merged.obs["dataset"] == key]
        names = [name.removeprefix(f"{key}:") for name in part.obs_names]
        table = pd.DataFrame(source.X.toarray(), source.obs_names, source.var_names).rename(columns=renamed)
        table = table.reindex(columns=expected, fill_value=0).loc[names]
        assert (part.X.toarray() == table.to_numpy()).all() and len(names) == source.n_obs
        assert part.obs["total_counts"].tolist() == source.obs.loc[names, "total_counts"].tolist()
        assert part.obs["batch"].astype(str).str.startswith(f"{key}:").all()


def test_shared_cell_lines_stay_apart_unless_asked(folder, tmp_path):
    report = merge_screens([folder / "a.zarr", folder / "b.zarr"], tmp_path / "m.zarr")
    lines = set(read_screen(tmp_path / "m.zarr").obs["cell_line"].astype(str))
    assert lines == {"K562_a", "K562_b", "RPE1", "HepG2"} and any("LINE_DATASET" in s for s in report.statements)
    merge_screens([folder / "a.zarr", folder / "b.zarr"], tmp_path / "j.zarr", MergeOptions(join_lines=True))
    assert set(read_screen(tmp_path / "j.zarr").obs["cell_line"].astype(str)) == {"K562", "RPE1", "HepG2"}


def test_a_merged_screen_merges_again(folder, tmp_path):
    merge_screens([folder / "a.zarr", folder / "b.zarr"], tmp_path / "m.zarr")
    third = make_foreign(seed=5)
    third.obs["cell_line"] = "H1"
    convert(write_foreign(third, tmp_path / "c.h5ad"), tmp_path / "c.zarr")
    merge_screens([tmp_path / "m.zarr", tmp_path / "c.zarr"], tmp_path / "n.zarr")
    merged = read_screen(tmp_path / "n.zarr")
    assert merged.uns["datasets"].tolist() == ["a", "b", "c"]
    measured = pd.DataFrame(merged.varm["measured"], merged.var_names, ["a", "b", "c"])
    assert measured.loc["GENE0"].tolist() == [True, False, True] and measured.loc["GENE13"].tolist() == [
        False,
        True,
        False,
    ]


def test_merges_that_make_no_sense(folder, tmp_path, capsys):
    with pytest.raises(LeakError, match="Leave one of them out"):
        merge_screens([folder / "a.zarr", folder / "a.zarr"], tmp_path / "m.zarr")
    for key in ("norman19_k562", "gears_norman"):
        adata = make_foreign()
        adata.obs = adata.obs.rename(columns={"target_gene": "perturbation"})
        convert(write_foreign(adata, tmp_path / f"{key}.h5ad"), tmp_path / f"{key}.zarr")
    copy = make_foreign()
    copy.obs = copy.obs.rename(columns={"target_gene": "perturbation"})
    for key in ("mine", "theirs"):
        source = write_foreign(copy, tmp_path / f"{key}.h5ad")
        convert(source, tmp_path / f"{key}.zarr", ConvertOptions(dataset=key))
    with pytest.raises(LeakError, match="same name and total count"):
        merge_screens([tmp_path / "mine.zarr", tmp_path / "theirs.zarr"], tmp_path / "m.zarr")
    with pytest.raises(LeakError, match="'gears_norman'"):
        merge_screens([tmp_path / "norman19_k562.zarr", tmp_path / "gears_norman.zarr"], tmp_path / "m.zarr")
    other = make_foreign(seed=2)
    other.var = pd.DataFrame({"gene_name": [f"X{i}" for i in range(12)]}, index=[f"X{i}" for i in range(12)])
    convert(write_foreign(other, tmp_path / "x.h5ad"), tmp_path / "x.zarr")
    with pytest.raises(GeneError, match="--panel union"):
        merge_screens([folder / "a.zarr", tmp_path / "x.zarr"], tmp_path / "m.zarr", MergeOptions(panel="intersection"))
    with pytest.raises(TooFewError):
        merge_screens([folder / "a.zarr"], tmp_path / "m.zarr")
    assert main(["merge", str(folder / "a.zarr"), str(tmp_path / "m.zarr")]) == 2
    assert "two screens and an output" in capsys.readouterr().err
    assert not list(tmp_path.glob("m.zarr")) and not list(tmp_path.glob(".m.zarr*"))


def test_the_commands(folder, tmp_path, capsys):
    both, splits, panel = tmp_path / "m.zarr", tmp_path / "s.json", tmp_path / "genes.txt"
    assert main(["merge", str(folder / "a.zarr"), str(folder / "b.zarr"), str(both), "--panel", "intersection"]) == 0
    assert main(["split", str(both), str(splits), "--min-cells", "3"]) == 0
    assert main(["check", str(both), str(splits)]) == 0
    assert main(["variable", str(both), str(splits), str(panel), "--n-top", "4"]) == 0
    assert "wrote 4 genes" in capsys.readouterr().out
    assert set(panel.read_text().split()) < set(read_screen(both).var_names)


def test_real_screens_on_one_panel(shared, tmp_path):
    names = ("norman2019_k562_crispra_500g", "mcfaline2023_gbm_crispri_500g", "datlinger2021_jurkat_crisprko_tcrstim")
    genes = []
    for name in names:
        path = shared / "single_cell" / f"{name}.h5ad"
        convert(path, tmp_path / f"{name}.zarr")
        genes.append(set(anndata.read_h5ad(path, backed="r").var_names))
    paths = [tmp_path / f"{name}.zarr" for name in names]
    report = merge_screens(paths, tmp_path / "m.zarr", MergeOptions(panel="intersection"))
    assert set(read_screen(tmp_path / "m.zarr").var_names) == set.intersection(*genes)
    union = merge_screens(paths, tmp_path / "u.zarr")
    assert union.n_genes == len(set.union(*genes)) and union.measured == dict(zip(names, map(len, genes), strict=True))
    assert report.n_cells == union.n_cells == 2975 + 2249 + 7500


# ------------------------------------------------------------------ names


def test_a_table_of_genes_gives_previous_names_before_aliases(tmp_path):
    with gzip.open(tmp_path / "hgnc.tsv.gz", "wt") as file:
        file.write("symbol\talias_symbol\tprev_symbol\nA\tX|Y\t\nB\t\tX\nC\tY\t\n")
    approved_of, approved = read_aliases(tmp_path / "hgnc.tsv.gz")
    assert approved == {"A", "B", "C"} and approved_of == {"X": {"B"}, "Y": {"A", "C"}}
    result = align_genes(["X", "Y", "A"], ["A", "B", "C"], aliases=tmp_path / "hgnc.tsv.gz")
    assert result.target.tolist() == [1, -1, 0] and result.how == ["alias", "not in panel", "name"]
    (tmp_path / "none.tsv").write_text("a\tb\n")
    with pytest.raises(SourceError, match=r"none\.tsv"):
        read_aliases(tmp_path / "none.tsv")


def test_real_gene_tables(shared):
    genes = shared / "side" / "genes"
    for table in ("hgnc_2023-10.tsv.gz", "symbol_alias_to_approved.tsv.gz"):
        result = align_genes(["KDELC2", "RNF78", "TP53"], ["POGLUT3", "RFPL1", "TP53"], aliases=genes / table)
        assert result.target.tolist() == [0, 1, 2] and result.how == ["alias", "alias", "name"]
    result = align_genes(["ENSG00000178202.5"], ["POGLUT3"], gene_table=genes / "hgnc_2023-10.tsv.gz")
    assert result.target.tolist() == [0]


def test_ids_of_a_panel_are_used():
    result = align_genes(
        ["RENAMED"], ["SYMBOL", "OTHER"], gene_ids=["ENSG00000000001"], panel_ids=["ENSG00000000001.4", ""]
    )
    assert result.target.tolist() == [0] and result.panel_ids == ["ENSG00000000001", ""]


def mixed(n_ids, n_symbols):
    names = [f"ENSG{i:011d}" for i in range(n_ids)] + [f"GENE{i}" for i in range(n_ids, n_ids + n_symbols)]
    adata = make_foreign(n_genes=n_ids + n_symbols)
    adata.var = pd.DataFrame(index=names)
    return adata


def test_mixed_gene_names_are_refused_or_completed(tmp_path):
    source = tmp_path / "a.h5ad"
    mixed(6, 8).write_h5ad(source)
    with pytest.raises(GeneError, match=r"6 genes with an id only.*--gene-table"):
        convert(source, tmp_path / "a.zarr")
    (tmp_path / "table.tsv").write_text("gene_id\tsymbol\n" + "".join(f"ENSG{i:011d}\tGENE{i}\n" for i in range(14)))
    report = convert(source, tmp_path / "a.zarr", ConvertOptions(gene_table=tmp_path / "table.tsv"))
    screen = read_screen(tmp_path / "a.zarr")
    assert screen.var["symbol"].tolist() == [f"GENE{i}" for i in range(14)] and (screen.var["gene_id"] != "").all()
    assert any("completed by the gene table: 6 ids, 8 symbols" in s for s in report.statements)
    # The same gene by two names is a repeated gene.
    twice = mixed(6, 8)
    twice.var_names = [*twice.var_names[:13], "GENE0"]
    twice.write_h5ad(source)
    with pytest.raises(GeneError, match=r"repeated: 'ENSG00000000000'.*--duplicates"):
        convert(source, tmp_path / "b.zarr", ConvertOptions(gene_table=tmp_path / "table.tsv"))


def test_genes_of_two_species_are_refused(tmp_path):
    adata = make_foreign()
    adata.var = pd.DataFrame(index=[f"ENS{'MUS' if i % 2 else ''}G{i:011d}" for i in range(12)])
    adata.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(GeneError, match=r"6 ENSG\.\.\., 6 ENSMUSG"):
        convert(tmp_path / "a.h5ad", tmp_path / "a.zarr")


# ------------------------------------------------------------------ variable genes


def planted(seed, variable, dataset, n_genes=400):
    """A screen in which some genes differ strongly between cells; means are spread evenly."""
    rng = np.random.default_rng(seed)
    labels = [f"G{i}" for i in range(12)] + ["control"]
    obs = pd.DataFrame({"perturbation": np.repeat(labels, 30)})
    obs["target"], obs["cell_line"], obs["batch"], obs["dataset"] = obs["perturbation"], "A", "b", dataset
    obs["is_control"] = obs["perturbation"] == "control"
    obs["total_counts"] = 5000.0
    obs.index = [f"{dataset}{i}" for i in range(len(obs))]
    names = [f"V{i}" for i in range(n_genes)]
    rate = np.tile(np.geomspace(2, 40, n_genes), (len(obs), 1))
    rate[:, variable] *= rng.gamma(0.3, 1 / 0.3, (len(obs), len(variable)))
    var = pd.DataFrame({"measured": True}, index=names)
    screen = anndata.AnnData(sp.csr_matrix(rng.poisson(rate)), obs=obs, var=var)
    return screen, by_perturbation(SimpleNamespace(obs=obs), min_cells=5, seed=seed)


def test_planted_genes_are_found_and_those_of_more_data_sets_go_first():
    both, first, second = [10, 60, 100], [30, 80], [45, 90]
    members = [planted(0, both + first, "one"), planted(1, both + second, "two")]
    genes = variable_genes(members, 5)
    assert set(genes[:3]) == {"V10", "V60", "V100"}
    assert set(variable_genes(members[:1], 5)) == {f"V{i}" for i in both + first}


def test_genes_that_one_data_set_lacks_never_compete():
    members = [planted(0, [10, 60], "one"), planted(1, [10, 60], "two")]
    members[1][0].var.loc["V60", "measured"] = False
    assert variable_genes(members, 1) == ["V10"] and "V60" not in variable_genes(members, 200)


def test_test_cells_decide_nothing():
    screen, splits = planted(3, [10, 60, 100], "one")
    before = variable_genes([(screen, splits)], 20)
    hidden = ~training_cells(screen, splits)
    label = screen.obs["perturbation"].astype(str)
    assert set(label[hidden]) == {name for _, name in splits.part("test")} | {"control"}
    counts = screen.X.toarray()
    rng = np.random.default_rng(9)
    counts[hidden] = rng.poisson(rng.gamma(0.1, 100, counts[hidden].shape))
    screen.X = sp.csr_matrix(counts)
    assert variable_genes([(screen, splits)], 20) == before
    counts[~hidden] = rng.poisson(rng.gamma(0.1, 100, counts[~hidden].shape))
    screen.X = sp.csr_matrix(counts)
    assert variable_genes([(screen, splits)], 20) != before
