"""Opens files of others: AnnData as .h5ad or zarr, 10x .h5, and folders with matrix.mtx; says how others are converted."""

import contextlib
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Never

import pandas as pd
from vc_contracts.errors import Refusal, raised_as
from vc_contracts.store import MOST_SCANNED, check_files, check_heaps, check_links, check_size
from vc_contracts.text.lists import read_rows
from vc_contracts.trouble import disk_is_full, is_of_reading

from vc_data.convert.source import Source
from vc_data.convert.tenx import TenX, read_mtx
from vc_data.errors import SourceError, few

# Suffix -> the line that makes an .h5ad of it.
_LINES = {
    ".loom": "python -c \"import anndata; anndata.io.read_loom('{0}').write_h5ad('{1}.h5ad')\"",
    ".h5mu": "python -c \"import mudata; mudata.read('{0}').mod['rna'].write_h5ad('{1}.h5ad')\"",
    ".csv": "python -c \"import anndata; anndata.io.read_csv('{0}').write_h5ad('{1}.h5ad')\"",
    ".tsv": "python -c \"import anndata; anndata.io.read_text('{0}', delimiter='\\t').write_h5ad('{1}.h5ad')\"",
    ".txt": "python -c \"import anndata; anndata.io.read_text('{0}').write_h5ad('{1}.h5ad')\"",
    ".parquet": "python -c \"import anndata, pandas; anndata.AnnData(pandas.read_parquet('{0}')).write_h5ad('{1}.h5ad')\"",
    ".gz": "gunzip -k '{0}'",
    ".bz2": "bunzip2 -k '{0}'",
    ".xz": "unxz -k '{0}'",
    ".zst": "unzstd '{0}'",
    ".zip": "unzip '{0}'",
    ".tar": "tar xf '{0}'",
    ".tgz": "tar xzf '{0}'",
    ".rds": "Rscript -e \"zellkonverter::writeH5AD(Seurat::as.SingleCellExperiment(readRDS('{0}')), '{1}.h5ad')\"",
    ".h5seurat": "Rscript -e \"SeuratDisk::Convert('{0}', dest = 'h5ad')\"",
}
_MAGIC = {
    b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ": ".xz", b"\x28\xb5\x2f\xfd": ".zst", b"PK\x03\x04": ".zip",
    b"PAR1": ".parquet",
}  # fmt: skip


_NO_MEMORY = re.compile(r"(?:unable|cannot|can't) (?:to )?allocate|memory allocation failed", re.IGNORECASE)
TABLES = ("obs", "var", "raw/var", "raw.var")
"""What is read whole, whatever the size of the counts."""


@contextlib.contextmanager
def open_source(path: str | Path, obs_table: str | Path | None = None) -> Iterator[Source]:
    """Open a file for reading.

    Args:
        path: An .h5ad file, an AnnData zarr folder, a 10x .h5 file or a folder with matrix.mtx.
        obs_table: Table with further columns of the cells, cell names first.

    Raises:
        SourceError: The path is missing, of another format, truncated or damaged (also later, while blocks are read), or
            holds references that leave it.
    """
    path = Path(path)
    if not path.exists():
        raise SourceError(path, "file", "an .h5ad file", "nothing", "Pass the path of an .h5ad file.")
    with raised_as(SourceError):
        check_files(path)
    with _damage_is_said(path), contextlib.ExitStack() as stack:
        source = _open_folder(path) if path.is_dir() else _open_file(path, stack)
        if obs_table is not None:
            source.obs = join_table(source.obs, Path(obs_table))
        yield source


@contextlib.contextmanager
def _damage_is_said(path: Path) -> Iterator[None]:
    """Errors of the libraries that read, which speak of bytes, as refusals that speak of the file."""
    try:
        yield
    except Refusal:
        raise
    except Exception as error:
        of_bytes = "synchronously" in str(error)  # as h5py says it
        if _NO_MEMORY.search(str(error)):
            raise MemoryError(f"{path}: {str(error).splitlines()[0]}") from error
        elsewhere = isinstance(error, MemoryError) or disk_is_full(error) or getattr(error, "errno", None)
        if not of_bytes and not isinstance(error, zlib.error) and (elsewhere or not is_of_reading(error)):
            raise
        found = (str(error).splitlines() or [type(error).__name__])[0].strip("'\"")
        if isinstance(error, KeyError) and "doesn't exist" in found:
            do = "The file is whole, but not as anndata writes it: write it again with anndata."
            raise SourceError(path, "file", "every key that AnnData has", f"'{found}'", do) from error
        kind = "an AnnData zarr folder" if path.is_dir() else "a whole HDF5 file"
        do = "It is truncated or damaged: fetch it again and compare its size."
        raise SourceError(path, "file", kind, f"'{found}'", do) from error


def _open_folder(path: Path) -> Source:
    if any((path / name).exists() for name in ("matrix.mtx", "matrix.mtx.gz")):
        return read_mtx(path)
    if not any((path / name).exists() for name in (".zgroup", "zarr.json", ".zmetadata")):
        do = "Pass an .h5ad file, an AnnData zarr folder, or a folder with matrix.mtx."
        found = f"a folder with {few(sorted(part.name for part in path.iterdir()))}"
        raise SourceError(path, "file", "an .h5ad file", found, do)
    import zarr

    try:
        with raised_as(SourceError):
            group = zarr.open_group(path, mode="r")
            check_size(group, path, only=TABLES)
        return Source(path, group)
    except SourceError:
        raise
    except Exception as error:  # zarr raises nearly every type for a damaged folder
        do = "The folder is damaged: fetch it again."
        raise SourceError(path, "file", "an AnnData zarr folder", f"{type(error).__name__}: {error}", do) from error


def _open_file(path: Path, stack: contextlib.ExitStack) -> Source:
    import h5py

    if not h5py.is_hdf5(path):
        refuse_format(path)
    with raised_as(SourceError):
        if path.stat().st_size < MOST_SCANNED:
            check_heaps(path)
        file = stack.enter_context(h5py.File(path, "r"))
        check_links(file, path)
        check_size(file, path, only=TABLES)
    if "matrix" in file and "col_attrs" in file:
        refuse_format(path, ".loom")
    if "mod" in file and "X" not in file:
        refuse_format(path, ".h5mu")
    if "assays" in file and "cell.names" in file:
        refuse_format(path, ".h5seurat")
    if "obs" in file and "var" in file:
        return Source(path, file)
    groups = [key for key in file if isinstance(file[key], h5py.Group) and "barcodes" in file[key]]
    return TenX(path, file, groups) if groups else Source(path, file)


def refuse_format(path: Path, suffix: str | None = None) -> Never:
    """Refuse a file that is no HDF5, or one of another format, with the line that converts it.

    Raises:
        SourceError: Always.
    """
    with path.open("rb") as file:
        head = file.read(8)
    named = path.suffix.casefold()
    packed = ".tgz" if path.name.casefold().endswith(".tar.gz") else ".rds" if named == ".rds" else None  # gzip, too
    suffix = suffix or packed or next((known for magic, known in _MAGIC.items() if head.startswith(magic)), named)
    if suffix == ".mtx":
        do = f"Pass the folder that holds {path.name}, with barcodes.tsv and features.tsv beside it."
        raise SourceError(path, "file", "an .h5ad file", "a MatrixMarket file", do)
    line = _LINES.get(suffix)
    if line is None or (suffix in (".csv", ".tsv", ".txt") and head.startswith(b"<")):
        do = "Pass an .h5ad file; a web page or an archive under that name is a failed download."
        raise SourceError(path, "file", "an HDF5 file", f"{path.stat().st_size:,} bytes of something else", do)
    do = f"Convert it first: {line.format(path.name, path.name.split('.')[0])}"
    raise SourceError(path, "file", "an .h5ad file", f"a {suffix} file", do)


def join_table(obs: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Obs with the columns of a table whose first column holds cell names; cells that it lacks have no values.

    Raises:
        SourceError: No such file, cell names that repeat, or none that the source has.
    """
    rows = read_rows(path)
    header, body = (rows[0], rows[1:]) if rows else ([], [])
    names = [row[0] for row in body]
    known = set(names) & set(obs.index)
    if not known or len(set(names)) < len(names):
        found = "names that repeat" if known else f"names such as {few(names, 2)}"
        do = "Pass a table with cell names in the first column and one header line."
        raise SourceError(path, "first column", f"distinct cell names such as {few(obs.index, 2)}", found, do)
    columns = {name: [row[i] if i < len(row) else "" for row in body] for i, name in enumerate(header) if i}
    table = pd.DataFrame(columns, index=names)
    return obs.drop(columns=[name for name in table if name in obs]).join(table)
