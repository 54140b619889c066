"""Replogle et al. 2022, K562, genome-wide (day 8): the widest single-line CRISPRi screen of its layout."""

from vc_data.datasets.hosts import figshare, scperturb
from vc_data.datasets.registry import Dataset, RemoteFile
from vc_data.datasets.replogle22_k562_essential import CITATION, COPY_COLUMNS, DOI, GUIDES, LICENCE, TRAPS, read_as

ORIGIN = Dataset(
    key="replogle22_k562_gwps",
    title="Replogle 2022, K562 genome-wide",
    citation=CITATION,
    doi=DOI,
    licence=LICENCE,
    n_cells=1_989_578,
    n_genes=8_248,
    n_controls=75_328,
    perturbations="9,866 genes, two guides each",
    columns=read_as("K562"),
    guide="sgID_AB",
    guide_source=GUIDES,
    files=(
        RemoteFile(
            name="K562_gwps_raw_singlecell_01.h5ad",
            urls=figshare(35775507),
            n_bytes=65_830_941_948,
            checksum="md5:887e3e6a8c8df6eadf7a3030a53c9546",
        ),
        RemoteFile(
            name="K562_gwps_normalized_singlecell_01.h5ad",
            urls=figshare(35774440),
            approx_bytes=65_830_000_000,
            checksum="md5:6cd393e369506849ebf959175989d632",
            optional=True,
        ),
        RemoteFile(
            name="K562_gwps_raw_bulk_01.h5ad",
            urls=figshare(35774443),
            n_bytes=374_587_922,
            checksum="md5:4570b53c9d62ff6df281e622f0350060",
            optional=True,
        ),
        RemoteFile(
            name="K562_gwps_normalized_bulk_01.h5ad",
            urls=figshare(35773217),
            n_bytes=374_587_922,
            checksum="md5:a3dfaa94ea8724217f5ecb1e14a5f0c8",
            optional=True,
        ),
    ),
    traps=(
        *TRAPS,
        "File 35773217 is the normalised bulk; scripts circulate that call it the normalised single cells.",
        "Few cells per perturbation (median near 150, confirm): set the least number of cells for this data set alone.",
    ),
)

DATASETS = (
    ORIGIN,
    scperturb(
        ORIGIN,
        "ReplogleWeissman2022_K562_gwps",
        n_bytes=8_805_466_154,
        md5="13db594f8f1d2ccb88fec44a13e414dc",
        columns=COPY_COLUMNS,
        guide="guide_id",
    ),
)
