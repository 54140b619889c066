"""Nadig et al. 2025, HepG2: the essential-gene screen of Replogle in a third line."""

from vc_data.datasets.hosts import geo_series, scperturb
from vc_data.datasets.registry import Dataset, RemoteFile
from vc_data.datasets.replogle22_k562_essential import COPY_COLUMNS, GUIDES, TRAPS, read_as

CITATION = (
    "Nadig et al., Transcriptome-wide analysis of differential expression in perturbation atlases, "
    "Nature Genetics 57, 1228-1237 (2025)."
)
DOI = "10.1038/s41588-025-02169-3"
LICENCE = "none stated on GEO (GSE264667): confirm before redistributing"
NO_CHECKSUM = "GEO states no checksum: the sha256 of the first download is recorded and enforced from then."

ORIGIN = Dataset(
    key="nadig25_hepg2",
    title="Nadig 2025, HepG2 essential",
    citation=CITATION,
    doi=DOI,
    licence=LICENCE,
    n_cells=145_473,
    n_genes=9_624,
    n_controls=4_976,
    perturbations="2,393 genes, two guides each",
    columns=read_as("HepG2"),
    guide="sgID_AB",
    guide_source=GUIDES,
    files=(
        RemoteFile(
            name="GSE264667_hepg2_raw_singlecell_01.h5ad",
            urls=geo_series("GSE264667", "GSE264667_hepg2_raw_singlecell_01.h5ad"),
            n_bytes=5_614_460_941,
        ),
    ),
    traps=(*TRAPS, NO_CHECKSUM, "Median 45 cells per target."),
)

DATASETS = (
    ORIGIN,
    scperturb(
        ORIGIN,
        "NadigOConner2024_hepg2",
        n_bytes=850_590_740,
        md5="af2be47f7477cf32fa6e4bec1c6a4868",
        columns=COPY_COLUMNS,
        guide="guide_id",
    ),
)
