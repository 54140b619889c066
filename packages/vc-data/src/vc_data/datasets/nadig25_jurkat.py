"""Nadig et al. 2025, Jurkat: the essential-gene screen of Replogle in a fourth line."""

from vc_data.datasets.hosts import geo_series, scperturb
from vc_data.datasets.nadig25_hepg2 import CITATION, DOI, LICENCE, NO_CHECKSUM
from vc_data.datasets.registry import Dataset, RemoteFile
from vc_data.datasets.replogle22_k562_essential import COPY_COLUMNS, GUIDES, TRAPS, read_as

ORIGIN = Dataset(
    key="nadig25_jurkat",
    title="Nadig 2025, Jurkat essential",
    citation=CITATION,
    doi=DOI,
    licence=LICENCE,
    n_cells=262_956,
    n_genes=8_882,
    n_controls=12_013,
    perturbations="about 2,393 genes, two guides each",
    columns=read_as("Jurkat"),
    guide="sgID_AB",
    guide_source=GUIDES,
    files=(
        RemoteFile(
            name="GSE264667_jurkat_raw_singlecell_01.h5ad",
            urls=geo_series("GSE264667", "GSE264667_jurkat_raw_singlecell_01.h5ad"),
            n_bytes=9_366_490_264,
        ),
    ),
    traps=(*TRAPS, NO_CHECKSUM),
)

DATASETS = (
    ORIGIN,
    scperturb(
        ORIGIN,
        "NadigOConner2024_jurkat",
        n_bytes=1_293_665_804,
        md5="d8b05d00bfbd686d37ffdd4293bc6c8c",
        columns=COPY_COLUMNS,
        guide="guide_id",
    ),
)
