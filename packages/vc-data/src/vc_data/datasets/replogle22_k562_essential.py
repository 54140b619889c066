"""Replogle et al. 2022, K562, essential genes (day 6): the common benchmark of single-gene CRISPRi."""

from vc_data.datasets.hosts import figshare, gears, scperturb
from vc_data.datasets.registry import Dataset, RemoteFile
from vc_data.options import Columns

CITATION = (
    "Replogle et al., Mapping information-rich genotype-phenotype landscapes with genome-scale Perturb-seq, "
    "Cell 185, 2559-2575 (2022)."
)
DOI = "10.1016/j.cell.2022.05.013"
LICENCE = "CC BY 4.0 (figshare+ 20029387)"
GUIDES = (
    "sgID_AB holds two guide ids joined by '|'. Look each up in the hCRISPRi-v2, then the v2.1 library table (Horlbeck "
    "et al. 2016, supplement), after replacing ',' by '-'; or in the dual-library table of Replogle et al., eLife 2022."
)
TRAPS = (
    "X is dense, uncompressed float32: read it in blocks of rows.",
    "Categorical columns use the older encoding, obs/__categories.",
    "'normalized' files are z-scores against the controls of the gem group: neither counts nor CP10k.",
    "raw bulk files hold mean counts per construct, with NaN; normalised bulk files hold inf and NaN.",
    "UMI_count is taken as the library size over all genes: confirm. It must not be below the row sum.",
    "Ensembl ids share the symbols TBCE and HSPA14: two genes each, not to be summed.",
)


def read_as(cell_line: str) -> Columns:
    """Columns of the Replogle and Nadig layout; the cell line is a constant, the file has no column for it."""
    return Columns(
        perturbation="gene", control=("non-targeting",), cell_line_name=cell_line, batch="gem_group", dose="none",
        mode_name="crispri", total_counts="UMI_count", gene_id="index", symbol="gene_name",
    )  # fmt: skip


COPY_COLUMNS = {
    "cell_line": "cell_line", "batch": "batch", "dose": "none", "total_counts": "ncounts", "gene_id": "ensembl_id",
    "symbol": "index",
}  # fmt: skip
"""The same in the scPerturb copies."""

ORIGIN = Dataset(
    key="replogle22_k562_essential",
    title="Replogle 2022, K562 essential",
    citation=CITATION,
    doi=DOI,
    licence=LICENCE,
    n_cells=310_385,
    n_genes=8_563,
    n_controls=10_691,
    perturbations="2,057 genes, two guides each",
    columns=read_as("K562"),
    guide="sgID_AB",
    guide_source=GUIDES,
    files=(
        RemoteFile(
            name="K562_essential_raw_singlecell_01.h5ad",
            urls=figshare(35773219),
            n_bytes=10_661_879_995,
            checksum="md5:4f1122ce1c7f13299a68df6459a266d3",
        ),
        RemoteFile(
            name="K562_essential_normalized_singlecell_01.h5ad",
            urls=figshare(35773075),
            approx_bytes=10_661_879_995,
            checksum="md5:f1e221fbf6eac774c21c4242ed440c3f",
            optional=True,
        ),
        RemoteFile(
            name="K562_essential_raw_bulk_01.h5ad",
            urls=figshare(35773070),
            n_bytes=79_766_954,
            checksum="md5:8321d5d3ffc99db2a5c71edca4189735",
            optional=True,
        ),
        RemoteFile(
            name="K562_essential_normalized_bulk_01.h5ad",
            urls=figshare(35780870),
            n_bytes=79_766_954,
            checksum="md5:30496767641cd2e660ee6ecb5baee132",
            optional=True,
        ),
    ),
    traps=TRAPS,
)

DATASETS = (
    ORIGIN,
    scperturb(
        ORIGIN,
        "ReplogleWeissman2022_K562_essential",
        n_bytes=1_546_729_675,
        md5="d8cba17576d1a8afc0f7d71b79cad0f7",
        columns=COPY_COLUMNS,
        guide="guide_id",
    ),
    gears(
        ORIGIN,
        "replogle_k562_essential",
        7458695,
        cell_line="K562",
        n_cells=162_751,
        n_genes=5_000,
        perturbations="1,092 conditions (1,087 with a GO term), strong ones only",
        traps=("No counts layer. The zip has md5 84eed779531de88f83d3eb16a773a261.",),
    ),
)
