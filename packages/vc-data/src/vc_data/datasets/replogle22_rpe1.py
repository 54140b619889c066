"""Replogle et al. 2022, RPE1, essential genes (day 7): the second line of the common benchmark."""

from vc_data.datasets.hosts import figshare, gears, scperturb
from vc_data.datasets.registry import Dataset, RemoteFile
from vc_data.datasets.replogle22_k562_essential import CITATION, COPY_COLUMNS, DOI, GUIDES, LICENCE, TRAPS, read_as

ORIGIN = Dataset(
    key="replogle22_rpe1",
    title="Replogle 2022, RPE1 essential",
    citation=CITATION,
    doi=DOI,
    licence=LICENCE,
    n_cells=247_914,
    n_genes=8_749,
    n_controls=11_485,
    perturbations="2,393 genes, two guides each",
    columns=read_as("RPE1"),
    guide="sgID_AB",
    guide_source=GUIDES,
    files=(
        RemoteFile(
            name="rpe1_raw_singlecell_01.h5ad",
            urls=figshare(35775606),
            n_bytes=8_700_873_216,
            checksum="md5:6a2a9d0d2bf4ec147f4d1104043b268c",
        ),
        RemoteFile(
            name="rpe1_normalized_singlecell_01.h5ad",
            urls=figshare(35775554),
            approx_bytes=8_700_000_000,
            checksum="md5:2c36a053960f3fae157adacdbccd4485",
            optional=True,
        ),
        RemoteFile(
            name="rpe1_raw_bulk_01.h5ad",
            urls=figshare(35775581),
            n_bytes=95_350_546,
            checksum="md5:74765fa87635467a869ea972356ae0e7",
            optional=True,
        ),
        RemoteFile(
            name="rpe1_normalized_bulk_01.h5ad",
            urls=figshare(35775512),
            n_bytes=95_350_546,
            checksum="md5:6f1e7d6a09e2f869759e3c4526b7f171",
            optional=True,
        ),
    ),
    traps=(*TRAPS, "File 35775581 is the raw bulk; scripts circulate that call it the raw single cells."),
)

DATASETS = (
    ORIGIN,
    scperturb(
        ORIGIN,
        "ReplogleWeissman2022_rpe1",
        n_bytes=1_236_886_900,
        md5="cc7f1ec50aeb3a3e1b4a6cfa713d80fa",
        columns=COPY_COLUMNS,
        guide="guide_id",
    ),
    gears(
        ORIGIN,
        "replogle_rpe1_essential",
        7458694,
        cell_line="RPE1",
        n_cells=162_733,
        n_genes=5_000,
        perturbations="1,543 conditions",
        traps=("No counts layer.",),
    ),
)
