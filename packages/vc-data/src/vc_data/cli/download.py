"""The commands `vc-data list` and `vc-data download`."""

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Annotated

import tyro

from vc_data.datasets.registry import Dataset
from vc_data.download.transfer import DownloadSettings


def list_datasets(keys: tyro.conf.Positional[tuple[str, ...]] = (), json: bool = False) -> None:
    """Show the public data sets, or all that is known of some of them.

    For example:
      vc-data list
      vc-data list replogle22_k562_essential norman19_k562

    Args:
        keys: Data sets to show in full.
        json: Print all that is known of them as JSON.
    """
    from vc_contracts.command import print_json

    from vc_data.datasets import DATASETS, get_dataset

    if json:
        print_json([dataclasses.asdict(one) for one in (map(get_dataset, keys) if keys else DATASETS.values())])
        return
    print("\n\n".join(describe(get_dataset(key)) for key in keys) if keys else table(DATASETS.values()))


def download_dataset(
    key: tyro.conf.Positional[str],
    out: Path | None = None,
    files: tuple[str, ...] = (),
    settings: Annotated[DownloadSettings, tyro.conf.arg(name="")] = DownloadSettings(),  # noqa: B008
) -> None:
    """Fetch a public data set: resumes, tries every address, checks size and checksum.

    For example:
      vc-data download scperturb_norman19_k562
      vc-data download replogle22_rpe1 --out data/rpe1 --files rpe1_raw_bulk_01.h5ad
      vc-data download vcc25_h1 --files all --timeout-s 120

    Args:
        key: A data set that `vc-data list` shows.
        out: Folder for the files. Default: data/KEY.
        files: Names of files to fetch instead of the default ones; 'all' for all.
        settings: How patient the download is.
    """
    from vc_data.datasets import get_dataset
    from vc_data.download.fetch import download

    dataset = get_dataset(key)
    out = out or Path("data") / key
    print(f"{dataset.title}: into {out}; licence: {dataset.licence}", flush=True)
    try:
        done = download(dataset, out, files=files, settings=settings)
    except KeyboardInterrupt:
        print(f"what has arrived is kept in {out}: the same command resumes", file=sys.stderr)
        raise
    for file in done:
        verb = "fetched" if file.fetched else "already there"
        print(f"{file.path}: {verb}; {file.checksum} (checked against the {file.checked_against})")
    if dataset.mirror_of:
        print(f"a copy of {', '.join(dataset.mirror_of)}: never put both into one corpus")
    h5ad = next((file.path for file in done if file.path.suffix == ".h5ad"), None)
    following = f"read its traps: vc-data list {key}"
    if h5ad is not None and dataset.values == "raw counts":
        following += f"; then: vc-data convert {h5ad} {key}.zarr {convert_flags(dataset)}"
    print(f"{len(done)} files of {key} are whole in {out}; next, {following}")


def table(datasets) -> str:
    """One line per data set."""
    head = ("key", "cells", "genes", "perturbations", "mode", "download", "licence", "copy of")
    rows = [head]
    for dataset in datasets:
        rows.append(
            (
                dataset.key,
                _count(dataset.n_cells),
                _count(dataset.n_genes),
                dataset.perturbations,
                dataset.columns.mode_name or "",
                _size(dataset),
                dataset.licence,
                ", ".join(dataset.mirror_of),
            )
        )
    widths = [max(len(_cut(row[i])) for row in rows) for i in range(len(head))]
    right = (1, 2, 5)
    lines = []
    for row in rows:
        cells = [_cut(cell) for cell in row]
        padded = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    lines.append("Two rows with the same cells (copy of) must not meet in one corpus. All of one: vc-data list KEY")
    return "\n".join(lines)


def describe(dataset: Dataset) -> str:
    """All that is known of one data set."""
    lines = [
        f"{dataset.key}: {dataset.title}",
        f"  citation: {dataset.citation} doi {dataset.doi}",
        f"  licence: {dataset.licence}",
        f"  organism: {dataset.organism}",
        f"  size: {_count(dataset.n_cells)} cells x {_count(dataset.n_genes)} genes, "
        f"{_count(dataset.n_controls)} controls; {dataset.perturbations}",
        f"  values: {dataset.values}",
    ]
    if dataset.mirror_of:
        lines.append(f"  copy of: {', '.join(dataset.mirror_of)}")
    if dataset.dose_unit:
        lines.append(f"  dose unit: {dataset.dose_unit}")
    if dataset.guide:
        lines.append(f"  guide column: {dataset.guide}")
    if dataset.guide_source:
        lines.append(f"  guides or structures: {dataset.guide_source}")
    lines.append(f"  read with: {convert_flags(dataset)}")
    for file in dataset.files:
        size = _bytes(file.size, exact=file.n_bytes is not None)
        optional = ", only when named" if file.optional else ""
        checksum = file.checksum or "no checksum by the host: recorded at the first download"
        lines.append(f"  file: {file.name} ({size}, {checksum}{optional})")
        lines += [f"    {url}" for url in file.urls]
    if dataset.access:
        lines.append(f"  access: {dataset.access}")
    lines += [f"  trap: {trap}" for trap in dataset.traps]
    return "\n".join(lines)


def convert_flags(dataset: Dataset) -> str:
    """The flags of `vc-data convert` for its .h5ad."""
    given = dataclasses.asdict(dataset.columns) | {"dataset": dataset.key} | dataset.convert
    words = []
    for key, value in given.items():
        if value is None or value == () or value is False:
            continue
        words.append(f"--{key.replace('_', '-')}")
        if value is not True:
            words += [str(item) for item in (value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


def _cut(text: str, width: int = 44) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _size(dataset: Dataset) -> str:
    if not dataset.files:
        return "by hand"
    files = [file for file in dataset.files if not file.optional]
    return _bytes(dataset.size, exact=all(file.n_bytes is not None for file in files))


def _bytes(n_bytes: int, *, exact: bool) -> str:
    if not n_bytes:
        return "not stated"
    number = f"{n_bytes / 1e9:,.2f} GB" if n_bytes >= 1e7 else f"{n_bytes / 1e3:,.1f} kB"
    return number if exact else f"~{number}"
