"""Srivatsan et al. 2020 (sci-Plex 3): 188 compounds at four doses in three lines."""

from vc_data.datasets.hosts import control_of_copy, geo_sample, scperturb
from vc_data.datasets.registry import Dataset, RemoteFile
from vc_data.options import Columns

STRUCTURES = (
    "Repository cole-trapnell-lab/sci-plex (no licence file: read it, do not copy it), large_screen/bin: "
    "Supplementary_Table_3.txt has SMILES, drugProperties_short.tsv target and pathway, both by catalogue number."
)
TRAPS = (
    "Human and mouse genes share the table: pass --panel with human genes.",
    "36,522 cells have no drug, dose, time or plate: dropped.",
    "384 wells of A549 are 72 h, all others 24 h: time is part of the context.",
    "Few vehicle cells per plate: the batch is the replicate, not the plate.",
    "Names hold '+', ',' and '/': never split them. Key compounds by catalogue number, with stereochemistry: after "
    "salt stripping two pairs of compounds coincide.",
    "The direction of action is not in the annotation: mode 8 unless a reviewed table says otherwise.",
)

ORIGIN = Dataset(
    key="sciplex3",
    title="Srivatsan 2020, sci-Plex 3",
    citation="Srivatsan et al., Massively multiplex chemical transcriptomics at single-cell resolution, "
    "Science 367, 45-51 (2020).",
    doi="10.1126/science.aax6234",
    licence="none stated on GEO (GSE139944): confirm before redistributing",
    organism="human and mouse genes",
    n_cells=799_317,
    n_genes=110_983,
    n_controls=17_578,
    perturbations="188 compounds x 4 doses",
    columns=Columns(
        perturbation="product_name",
        control=("Vehicle",),
        cell_line="cell_type,time_point",
        batch="replicate",
        dose="dose",
        mode_name="drug",
        total_counts="sum",
    ),
    convert={"combo_separator": "none"},
    guide_source=STRUCTURES,
    dose_unit="nM",
    files=tuple(
        RemoteFile(name=f"GSM4150378_sciPlex3_{part}", urls=geo_sample("GSM4150378", f"GSM4150378_sciPlex3_{part}"))
        for part in (
            "A549_MCF7_K562_screen_UMI.count.matrix.gz",
            "A549_MCF7_K562_screen_gene.annotations.txt.gz",
            "A549_MCF7_K562_screen_cell.annotations.txt.gz",
            "pData.txt.gz",
        )
    ),
    traps=(
        *TRAPS,
        "Text matrices: `convert` reads .h5ad, so take scperturb_sciplex3, or write an .h5ad with pData as obs "
        "(its column names: confirm).",
    ),
    fix_label=str.strip,
)


def name_of_compound(label: str) -> str:
    """A product name without the trailing space some have; vehicle cells are 'control'."""
    return control_of_copy(label.strip())


DATASETS = (
    ORIGIN,
    scperturb(
        ORIGIN,
        "SrivatsanTrapnell2020_sciplex3",
        n_bytes=2_526_631_614,
        md5="c9e70629505d98c7ca1a837f62b14e89",
        columns={
            "cell_line": "cell_line,time",
            "batch": "replicate",
            "dose": "dose_value",
            "total_counts": "sum",
            "gene_id": "ensembl_id",
            "symbol": "index",
        },
        convert={"combo_separator": "none", "duplicates": "sum"},
        traps=(
            *TRAPS,
            "Ensembl versions are stripped, so some ids repeat: their counts are summed.",
            "'nM' was added by the converters, not by the authors; catalogue numbers are gone, so structures join by "
            "product name only.",
        ),
        fix_label=name_of_compound,
    ),
)
