"""Adamson et al. 2016, K562: CRISPRi of unfolded-protein-response genes (experiment 10X010)."""

from vc_data.datasets.hosts import gears, geo_sample, scperturb
from vc_data.datasets.registry import Dataset, RemoteFile
from vc_data.options import Columns


def target_of_guide(label: str) -> str | None:
    """Target of a label such as `SPI1_pDS255`; control for the `(mod)` guides; None for unassigned cells (`*`)."""
    if label == "*":
        return None
    if "(mod)" in label or label in ("control", "non-targeting"):
        return "control"
    return label.rpartition("_p")[0] or label


TRAPS = (
    "Labels are GENE_pDSxxx; the target is what precedes the last '_p'. Guides of one gene become one perturbation.",
    "Controls are the guides 62(mod), 63(mod) and Gal4-4(mod); '*' is unassigned.",
)

ORIGIN = Dataset(
    key="adamson16_10x010",
    title="Adamson 2016, K562 UPR",
    citation="Adamson et al., A multiplexed single-cell CRISPR screening platform enables systematic dissection of the "
    "unfolded protein response, Cell 167, 1867-1882 (2016).",
    doi="10.1016/j.cell.2016.11.048",
    licence="none stated on GEO (GSE90546): confirm before redistributing",
    n_cells=65_337,
    n_genes=32_738,
    perturbations="about 82 genes, 91 guides (114 labels)",
    columns=Columns(
        perturbation="guide identity",
        control=("control",),
        cell_line_name="K562",
        batch="none",
        dose="none",
        mode_name="crispri",
        total_counts="sum",
    ),
    convert={"make_unique": True},
    guide="guide identity",
    guide_source="Supplementary tables of the paper; no machine-readable file is known.",
    files=tuple(
        RemoteFile(name=f"GSM2406681_10X010_{part}", urls=geo_sample("GSM2406681", f"GSM2406681_10X010_{part}"))
        for part in ("matrix.mtx.txt.gz", "barcodes.tsv.gz", "genes.tsv.gz", "cell_identities.csv.gz")
    ),
    traps=(
        *TRAPS,
        "MatrixMarket files: `convert` reads .h5ad, so take scperturb_adamson16_10x010, or write an .h5ad with the "
        "table of cell identities as obs (column 'guide identity': confirm).",
    ),
    fix_label=target_of_guide,
)

DATASETS = (
    ORIGIN,
    scperturb(
        ORIGIN,
        "AdamsonWeissman2016_GSM2406681_10X010",
        n_bytes=471_286_951,
        md5="2fa44ea61a8dd35742af618638ec65fc",
        columns={"cell_line_name": "K562", "batch": "none", "dose": "none", "total_counts": "sum"},
        also=("https://exampledata.scverse.org/pertpy/adamson_2016_upr_perturb_seq.h5ad",),
        guide="perturbation",
        traps=(
            *TRAPS,
            "Barcode suffixes are gone: 2,539 cell names repeat, so they are numbered.",
            "2,613 cells have no label: dropped.",
        ),
        fix_label=target_of_guide,
    ),
    gears(
        ORIGIN,
        "adamson",
        6154417,
        cell_line="K562",
        n_cells=None,
        n_genes=None,
        perturbations="about 86 single genes (confirm)",
        convert={"combo_separator": "+"},
        traps=("No counts layer. About 68,603 cells x 5,060 genes: confirm.",),
    ),
)
