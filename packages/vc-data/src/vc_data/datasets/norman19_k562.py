"""Norman et al. 2019, K562: CRISPR activation of one or two genes, the benchmark of combinations."""

from vc_data.datasets.hosts import control_of_copy, gears, geo_series, scperturb
from vc_data.datasets.registry import Dataset, RemoteFile
from vc_data.options import Columns

_ADVISED_AGAINST = "NegCtrl1_NegCtrl0__NegCtrl1_NegCtrl0"


def target_of_identity(identity: str) -> str | None:
    """Targets of a GEO guide identity: `A_B__A_B` is `A_B`, `A_NegCtrl0__A_NegCtrl0` is `A`; None where not to be used.

    The authors advise against one of the control pairs.
    """
    if identity == _ADVISED_AGAINST:
        return None
    genes = [part for part in identity.split("__")[0].split("_") if not part.startswith("NegCtrl")]
    return "_".join(genes) or "control"


TRAPS = (
    "CRISPR activation, although the paper and several tools say overexpression.",
    "RHOXF2 and RHOXF2B share one protospacer: a guide sequence is no key.",
)

ORIGIN = Dataset(
    key="norman19_k562",
    title="Norman 2019, K562 activation",
    citation="Norman et al., Exploring genetic interaction manifolds constructed from rich single-cell phenotypes, "
    "Science 365, 786-793 (2019).",
    doi="10.1126/science.aax4438",
    licence="none stated on GEO (GSE133344): confirm before redistributing",
    n_cells=111_445,
    n_genes=33_694,
    n_controls=11_855,
    perturbations="236 single genes and pairs",
    columns=Columns(
        perturbation="guide_identity",
        control=("control",),
        cell_line_name="K562",
        batch="gemgroup",
        dose="none",
        mode_name="crispra",
        total_counts="sum",
    ),
    convert={"combo_separator": "_"},
    guide="guide_identity",
    guide_source="Repository thomasmaxwellnorman/Perturbseq_GI (LGPL), data_sharing/20180821_guides_chosen_for_perturbseq"
    ".csv: 105 genes, one guide each; control guides are not in it.",
    files=tuple(
        RemoteFile(name=f"GSE133344_filtered_{part}.gz", urls=geo_series("GSE133344", f"GSE133344_filtered_{part}.gz"))
        for part in ("matrix.mtx", "barcodes.tsv", "genes.tsv", "cell_identities.csv")
    ),
    traps=(
        *TRAPS,
        "MatrixMarket files: `convert` reads .h5ad, so take scperturb_norman19_k562, or write an .h5ad with the table "
        "of cell identities as obs.",
        "223 barcodes have no identity.",
    ),
    fix_label=target_of_identity,
)

DATASETS = (
    ORIGIN,
    scperturb(
        ORIGIN,
        "NormanWeissman2019_filtered",
        n_bytes=698_680_199,
        md5="c870e6967d91c017d9da827bab183cd6",
        columns={
            "cell_line_name": "K562",
            "dose": "none",
            "total_counts": "sum",
            "gene_id": "ensemble_id",
            "symbol": "index",
        },
        convert={"combo_separator": "_"},
        guide="guide_id",
        traps=(
            *TRAPS,
            "Labels join genes with '_', controls are 'control'; the Ensembl column is misspelled 'ensemble_id'.",
            "8 gem groups; the name of their column is guessed: confirm in what `convert` prints.",
        ),
        fix_label=control_of_copy,
    ),
    gears(
        ORIGIN,
        "norman",
        6154020,
        cell_line="K562",
        n_cells=91_205,
        n_genes=5_045,
        perturbations="283 conditions (276 with a GO term)",
        convert={"combo_separator": "+", "layer": "counts"},
        traps=(
            "cell_type says A549; it is K562.",
            "The counts layer holds counts of 5,045 genes only: their sum is not the library size.",
            "RHOXF2B is written RHOXF2BB.",
        ),
    ),
)
