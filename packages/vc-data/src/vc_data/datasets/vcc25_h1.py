"""Virtual Cell Challenge 2025: CRISPRi in H1 embryonic stem cells, split by the organisers."""

from vc_data.datasets.registry import Dataset, RemoteFile
from vc_data.options import Columns

_BASE = "https://storage.googleapis.com/arc-institute-virtual-cell-atlas/virtual-cell-challenge/2025"


def _file(path: str, n_bytes: int, checksum: str | None = None, *, optional: bool = False) -> RemoteFile:
    name = path.rpartition("/")[2]
    return RemoteFile(name=name, urls=(f"{_BASE}/{path}",), n_bytes=n_bytes, checksum=checksum, optional=optional)


DATASETS = (
    Dataset(
        key="vcc25_h1",
        title="Virtual Cell Challenge 2025, H1",
        citation="Roohani et al., Virtual Cell Challenge: Toward a Turing test for the virtual cell, "
        "Cell 188, 3370-3374 (2025).",
        doi="10.1016/j.cell.2025.06.008",
        licence="CC0 by the atlas page, challenge terms by others: confirm",
        n_cells=221_273,
        n_genes=18_080,
        n_controls=38_176,
        perturbations="150 train, 50 validation, 100 test genes, two guides each",
        columns=Columns(
            perturbation="target_gene",
            control=("non-targeting",),
            cell_line_name="H1",
            batch="batch",
            dose="none",
            mode_name="crispri",
            total_counts="sum",
            gene_id="gene_id",
            symbol="index",
        ),
        guide="guide_id",
        guide_source="Not in the file and not found in public: use the gene, or the top-ranked hCRISPRi-v2 pair, and "
        "record that as an assumption.",
        files=(
            _file("gene_names.csv", 116_023),
            _file(
                "train/adata_Training.h5ad",
                15_482_497_461,
                "sha256:a09977104fefb622368ca74b50c9d3c1e891733e6c83db07acfca49b0219c02b",
            ),
            _file("train/pert_counts_Training.csv", 2_824),
            _file("validation/pert_counts_Validation.csv", 978),
            _file("test/pert_counts_Test.csv", 1_894),
            _file("validation/adata_Validation.h5ad", 6_928_967_541, optional=True),
            _file("test/adata_Test.h5ad", 11_950_739_168, optional=True),
        ),
        access="The owner describes a marketplace listing with requester-pays billing. On HTTP 400 or 403, fetch with "
        "`gcloud storage cp` from gs://arc-institute-virtual-cell-atlas/virtual-cell-challenge/2025/ under your own "
        "billing project and place the files by hand.",
        traps=(
            "Numbers of cells and controls are those of the training file; validation has 98,927 cells.",
            "Validation (and test: confirm) repeats the 38,176 training controls: keep each cell name once.",
            "gene_names.csv has no header: 18,080 lines, the first is SAMD11.",
            "The file has no cell line; guide_id is not one.",
            "The validation file has crc32c EendZg== by its host, no sha256.",
            "Submissions take this gene order and at most 100,000 cells, controls included.",
            "The 2026 edition has another axis (18,533 genes).",
        ),
    ),
)
