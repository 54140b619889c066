"""Nourreddine et al. 2026, KOLF2.1J stem cells: a genome-scale CRISPRi atlas."""

from vc_data.datasets.hosts import figshare
from vc_data.datasets.registry import Dataset, RemoteFile
from vc_data.options import Columns

DATASETS = (
    Dataset(
        key="kolf25_pangenome",
        title="KOLF2.1J pan-genome",
        citation="Nourreddine et al., Nature Biotechnology (2026).",
        doi="10.1038/s41587-026-03199-w",
        licence="CC BY 4.0 (figshare+ 27261219)",
        n_cells=2_659_209,
        n_genes=37_567,
        n_controls=146_747,
        perturbations="11,687 to 11,692 genes",
        columns=Columns(
            perturbation="gene_target",
            control=("NTC",),
            cell_line_name="KOLF2.1J",
            batch="channel",
            dose="none",
            mode_name="crispri",
            total_counts="sum",
            gene_id="gene_ids",
            symbol="index",
        ),
        convert={"layer": "counts"},
        guide="gRNA",
        guide_source="obs column gRNA; sequences with the paper.",
        files=(
            RemoteFile(
                name="KOLF_Pan_Genome_QC_Filtered.h5ad",
                urls=figshare(64650261),
                n_bytes=189_393_177_972,
                checksum="md5:afd30fde1e6ad32969c29868394385d1",
            ),
            RemoteFile(
                name="KOLF_Strong_Perturbations.h5ad",
                urls=figshare(64650852),
                n_bytes=46_718_752_086,
                checksum="md5:28bcfff0679e7c6c35bdd584f3626362",
                optional=True,
            ),
        ),
        access="Article 27261219 at figshare+ also has the chromatin-modifier (4.64 GB) and metabolic-enzyme (6.98 GB) "
        "subsets, the sensible files to develop with; their file numbers are not registered here.",
        traps=(
            "The matrix is stored by columns (CSC): it is read in blocks of genes, never by cell.",
            "The control is exactly 'NTC': KNTC1 is a gene.",
            "The earlier preprint is an .h5mu with other cells, labels GENE-<n> and the control 'Non-Targeting': not "
            "this data set.",
        ),
    ),
)
