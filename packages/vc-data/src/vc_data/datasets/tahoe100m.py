"""Tahoe-100M: about 379 compounds in 50 cancer lines, as rows of (gene, count) lists in parquet shards."""

import ast
from collections.abc import Sequence
from typing import Any

from vc_data.datasets.hosts import huggingface
from vc_data.datasets.registry import Dataset, RemoteFile
from vc_data.options import Columns

_SENTINEL = (1, -2)
"""Token and value of the first element of every row, which is no gene."""


def read_conc(text: Any) -> float | None:
    """Dose in uM of a literal such as `[('Bortezomib', 0.05, 'uM')]`; None for several compounds or another unit.

    Raises:
        ValueError: The text is no such literal. It is parsed, never evaluated.
    """
    try:
        entries = [(str(drug), float(dose), str(unit)) for drug, dose, unit in ast.literal_eval(str(text))]
    except (SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f"drugname_drugconc: expected [(name, number, unit)], found {text!r}") from error
    return entries[0][1] if len(entries) == 1 and entries[0][2] == "uM" else None


def drop_sentinel(genes: Sequence[int], values: Sequence[float]) -> tuple[Sequence[int], Sequence[float]]:
    """One row without the leading element that is no gene; rows without it stay as they are."""
    if len(genes) and (int(genes[0]), float(values[0])) == _SENTINEL:
        return genes[1:], values[1:]
    return genes, values


DATASETS = (
    Dataset(
        key="tahoe100m",
        title="Tahoe-100M",
        citation="Zhang et al., Tahoe-100M: a giga-scale single-cell perturbation atlas for context-dependent gene "
        "function and cellular modeling, bioRxiv (2025).",
        doi="10.1101/2025.02.20.639398",
        licence="CC0 1.0",
        n_cells=95_600_000,
        n_genes=62_710,
        perturbations="about 379 compounds, 1,100 compound-dose pairs, 50 lines",
        columns=Columns(
            perturbation="drug",
            control=("DMSO_TF",),
            cell_line="cell_line",
            batch="plate",
            dose="drugname_drugconc",
            mode_name="drug",
            total_counts="sum",
        ),
        convert={"combo_separator": "none"},
        guide_source="SMILES and targets: drug_metadata.parquet.",
        dose_unit="uM",
        files=tuple(
            RemoteFile(name=f"{name}.parquet", urls=huggingface("tahoebio/Tahoe-100M", f"metadata/{name}.parquet"))
            for name in ("gene_metadata", "sample_metadata", "drug_metadata", "cell_line_metadata")
        ),
        access="The counts are about 338 GB in 3,388 shards, data/train-?????-of-03388.parquet, of the Hugging Face data "
        "set tahoebio/Tahoe-100M: fetch them, or the shards you need, with `hf download tahoebio/Tahoe-100M --repo-type "
        "dataset --include 'data/train-00000-*' --local-dir DIR`. `convert` reads .h5ad: write one per plate.",
        traps=(
            "`download` fetches the tables of genes, samples, compounds and lines; the counts are not .h5ad.",
            "Rows are lists; the first element is a sentinel (token 1, value -2), no gene.",
            "100,648,790 cells in all, 95.6 M pass the filter.",
            "The dose is a Python literal in drugname_drugconc of the sample table, joined by sample.",
            "Compounds carry moa-fine: inhibitor, antagonist, blocker -> inhibitor; agonist, activator -> agonist; "
            "degrader -> degrader; else unknown.",
        ),
        fix_dose=read_conc,
    ),
)
