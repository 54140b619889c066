"""The four essential-gene screens as the STATE authors joined and filtered them: a copy, normalised."""

from vc_data.datasets.hosts import huggingface
from vc_data.datasets.registry import Dataset, RemoteFile
from vc_data.options import Columns

_REPOSITORY = "arcinstitute/Replogle-Nadig-Preprint"

DATASETS = (
    Dataset(
        key="state_replogle_nadig",
        title="Replogle and Nadig, joined by STATE",
        citation="Adduri et al., Predicting cellular responses to perturbation across diverse contexts with State, "
        "bioRxiv (2025). Data: Replogle et al. (2022), Nadig et al. (2025).",
        doi="10.1101/2025.06.26.661135",
        licence="as its sources; confirm at the host",
        n_cells=643_413,
        n_genes=6_642,
        n_controls=39_165,
        perturbations="2,023 genes in 4 lines, those that pass the on-target filter",
        columns=Columns(
            perturbation="gene",
            control=("non-targeting",),
            cell_line="cell_line",
            batch="gem_group",
            dose="none",
            mode_name="crispri",
        ),
        values="log-normalised",
        files=(
            RemoteFile(
                name="replogle.h5ad", urls=huggingface(_REPOSITORY, "replogle.h5ad"), approx_bytes=22_300_000_000
            ),
            RemoteFile(
                name="replogle_matched_hvg.h5ad",
                urls=huggingface(_REPOSITORY, "replogle_matched_hvg.h5ad"),
                optional=True,
            ),
        ),
        mirror_of=("replogle22_k562_essential", "replogle22_rpe1", "nadig25_hepg2", "nadig25_jurkat"),
        traps=(
            "Log-normalised to the median depth, not CP10k: `convert` refuses it. Use it to compare, not to train.",
            "Lines are lower case (hepg2, jurkat, k562, rpe1).",
        ),
    ),
)
