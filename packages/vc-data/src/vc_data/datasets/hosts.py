"""Addresses of the hosts that several data sets share, and how the scPerturb and GEARS copies are read."""

import dataclasses
from typing import Any

from vc_data.datasets.labels import control_of_copy
from vc_data.datasets.registry import Dataset, RemoteFile
from vc_data.options import Columns

CHALLENGE = (
    "Answers scripts with a browser challenge (HTTP 202 or a page): fetch it in a browser, then place it by hand."
)


def figshare(file_id: int) -> tuple[str, ...]:
    """Addresses of one figshare file that answer scripts; plus.figshare.com/ndownloader does not (HTTP 202)."""
    return (
        f"https://ndownloader.figshare.com/files/{file_id}",
        f"https://api.figshare.com/v2/file/download/{file_id}",
    )


def geo(accession: str, name: str) -> tuple[str, ...]:
    """Address of one supplementary file of a GEO series (GSE...) or sample (GSM...)."""
    kind = "series" if accession.startswith("GSE") else "samples"
    return (f"https://ftp.ncbi.nlm.nih.gov/geo/{kind}/{accession[:-3]}nnn/{accession}/suppl/{name}",)


def google(bucket: str, path: str) -> tuple[str, ...]:
    """Address of one file of a public Google Cloud bucket."""
    return (f"https://storage.googleapis.com/{bucket}/{path}",)


def huggingface(repository: str, path: str) -> tuple[str, ...]:
    """Address of one file of a Hugging Face data set."""
    return (f"https://huggingface.co/datasets/{repository}/resolve/main/{path}",)


def scperturb(
    origin: Dataset,
    name: str,
    *,
    n_bytes: int,
    md5: str,
    columns: dict,
    also: tuple[str, ...] = (),
    **changes,
) -> Dataset:
    """The scPerturb copy (Zenodo record 13350497, v1.4) of a data set.

    Args:
        origin: What it is a copy of.
        name: File name without `.h5ad`.
        n_bytes: Size.
        md5: As the Zenodo record states it.
        columns: Keywords of `Columns` beyond those every copy shares.
        also: Further addresses of the same bytes.
        changes: Other fields of the copy.
    """
    shared: dict[str, Any] = {
        "perturbation": "perturbation",
        "control": ("control",),
        "mode_name": origin.columns.mode_name,
    }
    urls = (
        f"https://zenodo.org/records/13350497/files/{name}.h5ad?download=1",
        f"https://zenodo.org/api/records/13350497/files/{name}.h5ad/content",
    )
    traps = (
        "Columns are renamed: gem_group -> batch, sgID_AB -> guide_id, mitopercent -> percent_mito, "
        "UMI_count -> ncounts.",
        "Controls are 'control' in release 1.4 and 'non-targeting' in older ones: both are read as 'control'.",
        "perturbation_type says only CRISPR; interference or activation comes from this registry.",
    )
    return dataclasses.replace(
        origin,
        **dict[str, Any](
            {
                "key": f"scperturb_{origin.key}",
                "title": f"{origin.title} (scPerturb copy)",
                "citation": f"{origin.citation} Copy: Peidli et al., Nature Methods 21, 531-540 (2024), "
                "doi 10.1038/s41592-023-02144-y.",
                "licence": "CC BY 4.0 (Zenodo record 13350497)",
                "columns": Columns(**(shared | columns)),
                "files": (RemoteFile(name=f"{name}.h5ad", urls=urls + also, n_bytes=n_bytes, checksum=f"md5:{md5}"),),
                "access": "",
                "mirror_of": (origin.key,),
                "traps": traps,
                "fix_label": control_of_copy,
            }
        )
        | changes,
    )


def gears(origin: Dataset, name: str, file_id: int, *, cell_line: str, traps: tuple[str, ...], **changes) -> Dataset:
    """The GEARS copy of a data set: 5,000 variable genes, already normalised.

    Args:
        origin: What it is a copy of.
        name: Folder name inside GEARS, e.g. 'norman'.
        file_id: Number at the Harvard Dataverse.
        cell_line: Its cell line; the column in the file is not trusted.
        traps: Beyond those of every GEARS copy.
        changes: Other fields of the copy.
    """
    columns = Columns(
        perturbation="condition", control=("ctrl",), cell_line_name=cell_line, mode_name=origin.columns.mode_name,
        batch="none", dose="none", gene_id="index", symbol="gene_name",
    )  # fmt: skip
    shared = (
        "X is normalised to the median depth and log1p-transformed: normalising it again is a double log.",
        "Conditions are A+ctrl, ctrl+A, A+B and ctrl. The official split depends on these exact strings: make it "
        "before any renaming.",
        "The GO and essential-gene lists beside it are pickles: not opened here.",
    )
    access = (
        f"https://dataverse.harvard.edu/api/access/datafile/{file_id} (zip with perturb_processed.h5ad). {CHALLENGE}"
    )
    return dataclasses.replace(
        origin,
        **dict[str, Any](
            {
                "key": f"gears_{name}",
                "title": f"{origin.title} (GEARS copy)",
                "citation": f"{origin.citation} Copy: Roohani et al., Nature Biotechnology 42, 927-935 (2024), "
                "doi 10.1038/s41587-023-01905-6.",
                "licence": "CC0 or none stated: confirm at the Harvard Dataverse",
                "columns": columns,
                "convert": {"combo_separator": "+"},
                "guide": None,
                "values": "normalised to median depth, log1p",
                "n_cells": None,
                "n_genes": None,
                "n_controls": None,
                "files": (),
                "access": access,
                "mirror_of": (origin.key,),
                "traps": shared + traps,
                "fix_label": None,
            }
        )
        | changes,
    )
