"""Every real single-cell file converts, and its counts are the source's."""

import anndata
import numpy as np
import pytest
from vc_contracts.text.ids import strip_version
from vc_data.convert.run import convert
from vc_data.errors import CountsError
from vc_data.genes.tables import read_panel
from vc_data.options import Columns, ConvertOptions
from vc_data.screen.describe import describe_screen
from vc_data.screen.file import read_screen
from vc_data.split import by_perturbation

# File -> (cells, genes, distinct labels without control, control cells), from the README of the data.
FILES = {
    "gasperini2019_k562_crispri_highmoi": (35130, 366, 282, 30298),
    "schraivogel2020_k562_crispri_tapseq": (19064, 72, 14, 7750),
    "datlinger2021_jurkat_crisprko_tcrstim": (7500, 2000, 20, 200),
    "norman2019_k562_crispra_500g": (2975, 500, 29, 100),
    "mcfaline2023_gbm_crispri_500g": (2249, 500, 9, 300),
    "kang2018_pbmc_ifnb": (1975, 6998, 1, 936),
    "zhao2021_glioblastoma_panobinostat": (5000, 300, 1, 2500),
    "srivatsan2020_a549_dexamethasone": (500, 198, 7, 56),
}


@pytest.mark.parametrize("name", FILES)
def test_counts_equal_the_sources(shared, tmp_path, name):
    path = shared / "single_cell" / f"{name}.h5ad"
    report = convert(path, tmp_path / "s.zarr")
    screen, source = read_screen(tmp_path / "s.zarr"), anndata.read_h5ad(path)
    assert (report.n_cells, report.n_genes, report.n_perturbations, report.n_controls) == FILES[name]
    source = source[screen.obs_names]
    if screen.var["gene_id"].all():
        columns = [[strip_version(gene) for gene in source.var_names].index(gene) for gene in screen.var["gene_id"]]
    else:
        columns = source.var["gene_name"].tolist()
        columns = [columns.index(gene) for gene in screen.var_names]
    assert (source.X[:, columns] != screen.X).nnz == 0
    assert screen.X.dtype.kind == "u"
    if "total_counts_all_genes" in source.obs:
        totals = source.obs["total_counts_all_genes"].to_numpy(np.float32)
    else:
        totals = source.X.sum(axis=1).A1
    assert (screen.obs["total_counts"] == totals).all()
    assert (screen.obs["is_control"] == source.obs["is_control"]).all()
    labels = ["+".join(sorted(label.split("+"))) for label in source.obs["perturbation"]]
    assert screen.obs["target"].tolist() == labels
    assert describe_screen(screen)["cells"] == screen.n_obs


def test_stimulation_is_part_of_the_context(shared, tmp_path):
    path = shared / "single_cell" / "datlinger2021_jurkat_crisprko_tcrstim.h5ad"
    options = ConvertOptions(columns=Columns(cell_line="cell_line,stimulation"))
    report = convert(path, tmp_path / "s.zarr", options)
    assert report.cell_lines == ["Jurkat_stimulated", "Jurkat_unstimulated"]
    splits = by_perturbation(read_screen(tmp_path / "s.zarr"))
    assert len(splits.part("test")) == 10


def test_challenge_panel_with_tables(shared, tmp_path):
    genes = shared / "side" / "genes"
    panel = genes / "vcc2025_gene_names.txt"
    options = ConvertOptions(
        panel=panel,
        gene_table=genes / "ensembl_grch38_genes.tsv.gz",
        aliases=genes / "symbol_alias_to_approved.tsv.gz",
    )
    path = shared / "single_cell" / "norman2019_k562_crispra_500g.h5ad"
    report = convert(path, tmp_path / "s.zarr", options)
    screen, source = read_screen(tmp_path / "s.zarr"), anndata.read_h5ad(path)
    assert screen.var_names.tolist() == read_panel(panel)
    assert report.alignment["matched"] == {"name": 428, "table": 0, "alias": 8}
    common = source.var_names.intersection(screen.var_names)
    assert (screen[:, common].X != source[screen.obs_names, common].X).nnz == 0
    dropped = set(report.alignment["dropped"]["not in panel"]["genes"])
    kept = source[screen.obs_names, [gene not in dropped for gene in source.var_names]]
    assert screen.X.sum() == kept.X.sum()


def test_tables_that_are_no_counts_are_refused(shared, tmp_path):
    for name in (
        "l1000_ht115_350compounds_level3",
        "mcfarland2020_navitoclax_logfc",
        "l1000_drugbank_consensus_zscores",
    ):
        with pytest.raises(CountsError, match="raw counts") as caught:
            convert(shared / "bulk_and_de" / f"{name}.h5ad", tmp_path / "s.zarr")
        assert name in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_drug_wells_convert_with_their_doses(shared, tmp_path):
    report = convert(shared / "bulk_and_de" / "macpie_drugseq_mcf10a_1000g.h5ad", tmp_path / "s.zarr")
    screen = read_screen(tmp_path / "s.zarr")
    assert report.n_controls == 19 and "Staurosporine@10" in set(screen.obs["perturbation"])
