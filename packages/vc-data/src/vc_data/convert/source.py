"""Foreign .h5ad files, read without holding their matrix: tables whole, counts in blocks.

Knows CSR, CSC and dense matrices, present and older encodings. What columns and labels mean is decided elsewhere.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vc_data.convert.inflate import begin_read, open_pool
from vc_data.errors import CountsError, SourceError, few

if TYPE_CHECKING:
    import h5py

BLOCK_ELEMENTS = 1 << 22
"""Elements (dense) or stored values (sparse) per block: about 100 MB while a block is worked on."""


@dataclass(frozen=True)
class Matrix:
    """One matrix of a file, still on disk."""

    path: Path
    name: str
    """'X', 'raw' or the layer's name."""
    node: object
    """h5py dataset (dense) or group (sparse)."""
    kind: str
    """'csr', 'csc' or 'dense'."""
    shape: tuple[int, int]
    """Cells, genes."""


class Source:
    """An open .h5ad file."""

    def __init__(self, path: Path, file):
        self.path = path
        self._file = file
        for name in ("obs", "var"):
            if name not in file:
                raise SourceError(
                    path, "file", f"an AnnData file with {name!r}", f"the keys {few(file)}", "Pass an .h5ad file."
                )
        self.obs = _read_table(path, file, "obs")

    def matrix_names(self) -> list[str]:
        """Names of the matrices: 'X', the layers, and 'raw'."""
        names = ["X"] if "X" in self._file else []
        names += list(self._file["layers"]) if "layers" in self._file else []
        return names + (["raw"] if "raw" in self._file and "X" in self._file["raw"] else [])

    def var(self, matrix: str = "X"):
        """Genes of a matrix; 'raw' may have more genes than the rest."""
        if matrix == "raw" and "var" in self._file["raw"]:
            return _read_table(self.path, self._file, "raw/var")
        return _read_table(self.path, self._file, "var")

    def is_contract(self) -> bool:
        """Whether the file carries the header of one of our contracts."""
        return "uns" in self._file and "contract" in self._file["uns"]

    def sample(self, name: str) -> np.ndarray:
        """The first values of a matrix, for a first judgement."""
        matrix = self.matrix(name)
        return (matrix.node[:100] if matrix.kind == "dense" else matrix.node["data"][:100_000]).ravel()

    def matrix(self, name: str = "X") -> Matrix:
        """Find a matrix.

        Raises:
            CountsError: No such matrix.
            SourceError: An encoding that is not AnnData's, or a shape that disagrees with obs.
        """
        if name not in self.matrix_names():
            do = "Pass --layer with one of them."
            raise CountsError(self.path, "layers", f"a matrix {name!r}", f"{few(self.matrix_names(), 20)}", do)
        place = {"X": "X", "raw": "raw/X"}.get(name, f"layers/{name}")
        node = self._file[place]
        if hasattr(node, "dtype"):
            kind, shape = "dense", node.shape
        else:
            attrs = node.attrs
            kind = str(attrs.get("encoding-type", attrs.get("h5sparse_format", "unknown"))).removesuffix("_matrix")
            shape = tuple(int(n) for n in attrs.get("shape", attrs.get("h5sparse_shape", ())))
        if kind not in ("dense", "csr", "csc") or len(shape) != 2:
            do = "Write the file again with anndata."
            raise SourceError(self.path, place, "a dense, CSR or CSC matrix", f"{kind!r} of shape {shape}", do)
        if shape[0] != len(self.obs):
            do = "The file is damaged: fetch it again."
            raise SourceError(self.path, place, f"{len(self.obs)} rows, as obs has", f"{shape[0]}", do)
        return Matrix(self.path, name, node, kind, shape)


def _refuse_references(file: "h5py.File", path: Path) -> None:
    """What a file refers to outside itself is never read: it could be any file of this machine."""
    from vc_contracts.errors import ContractError
    from vc_contracts.store import check_links

    try:
        check_links(file, path)
    except ContractError as error:
        raise SourceError(*error.parts) from None


@contextlib.contextmanager
def open_source(path: str | Path) -> Iterator[Source]:
    """Open an .h5ad file for reading.

    Raises:
        SourceError: The path is missing, is no HDF5 file, is truncated or damaged (also later, while blocks are read).
    """
    import zlib

    import h5py

    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise SourceError(path, "file", "an .h5ad file", found, "Pass the path of an .h5ad file.")
    if not h5py.is_hdf5(path):
        do = "Pass an .h5ad file; a web page or an archive under that name is a failed download."
        raise SourceError(path, "file", "an HDF5 file", f"{path.stat().st_size:,} bytes of something else", do)
    try:
        with h5py.File(path, "r") as file:
            _refuse_references(file, path)
            yield Source(path, file)
    except (OSError, KeyError, RuntimeError, zlib.error) as error:
        # h5py's own errors carry this word; anything else is not about the file's bytes.
        if "synchronously" not in str(error) and not isinstance(error, zlib.error):
            raise
        if "alloc" in str(error):
            raise MemoryError(f"{path}: {str(error).splitlines()[0]}") from error
        found = str(error).splitlines()[0]
        do = "The file is truncated or damaged: fetch it again and compare its size."
        raise SourceError(path, "file", "a whole HDF5 file", f"'{found}'", do) from error


def iter_rows(matrix: Matrix, *, whole: bool = False, start: int = 0) -> Iterator[object]:
    """Blocks of rows of a dense or CSR matrix, in order, as CSR with sorted indices and no stored zeros.

    Args:
        matrix: Not CSC (see `iter_columns`).
        whole: One block with everything.
        start: First row.

    Yields:
        `counts_bg`: a `scipy.sparse.csr_matrix` with all columns; values as stored, unchecked.
    """
    import scipy.sparse as sp

    n_cells, n_genes = matrix.shape
    if matrix.kind == "dense":
        step = n_cells if whole else max(1, BLOCK_ELEMENTS // max(n_genes, 1))
        for row in range(start, n_cells, max(step, 1)):
            yield sp.csr_matrix(matrix.node[row : row + step])
        return
    for row, stop, pieces in _iter_compressed(matrix, n_cells, n_genes, whole, start):
        yield _tidy(matrix, sp.csr_matrix(pieces, shape=(stop - row, n_genes)))


def iter_columns(matrix: Matrix, *, whole: bool = False, start: int = 0) -> Iterator[tuple[int, object]]:
    """Blocks of columns of a CSC matrix from `start` on, in order: (first column, CSR of all cells x their genes)."""
    import scipy.sparse as sp

    n_cells, n_genes = matrix.shape
    for column, stop, pieces in _iter_compressed(matrix, n_genes, n_cells, whole, start):
        yield column, _tidy(matrix, sp.csc_matrix(pieces, shape=(n_cells, stop - column))).tocsr()


def _iter_compressed(matrix: Matrix, n_major: int, n_minor: int, whole: bool, start: int):
    """Runs of rows (CSR) or columns (CSC) of about BLOCK_ELEMENTS values: start, stop, (data, indices, indptr)."""
    indptr = matrix.node["indptr"][:].astype(np.int64)
    n_values = matrix.node["data"].shape[0]
    if len(indptr) != n_major + 1 or indptr[0] != 0 or indptr[-1] != n_values or np.any(np.diff(indptr) < 0):
        found = f"{len(indptr)} offsets up to {indptr[-1] if len(indptr) else 0:,} for {n_values:,} values"
        do = "The file is damaged: fetch it again."
        raise SourceError(matrix.path, f"{matrix.name}/indptr", f"{n_major + 1} rising offsets", found, do)
    data, indices = matrix.node["data"], matrix.node["indices"]

    def begin(pool, start: int):
        room = n_values if whole else BLOCK_ELEMENTS
        stop = max(start + 1, int(np.searchsorted(indptr, indptr[start] + room, side="right")) - 1)
        span = int(indptr[start]), int(indptr[stop])
        return stop, begin_read(pool, data, *span), begin_read(pool, indices, *span)

    with open_pool() as pool:
        following = begin(pool, start) if start < n_major else None
        while following:
            stop, *reads = following
            part_data, part_indices = (read() for read in reads)
            if len(part_indices) and (part_indices.min() < 0 or part_indices.max() >= n_minor):
                found, do = f"{part_indices.max()}", "The file is damaged: fetch it again."
                expected = f"positions in 0..{n_minor - 1}"
                raise SourceError(matrix.path, f"{matrix.name}/indices", expected, found, do)
            # The next block is inflated while this one is worked on.
            following = begin(pool, stop) if stop < n_major else None
            yield start, stop, (part_data, part_indices, indptr[start : stop + 1] - indptr[start])
            start = stop


def _tidy(matrix: Matrix, block):
    """Sum repeated positions, sort, and drop stored zeros."""
    block.sum_duplicates()
    block.eliminate_zeros()
    return block


def _read_table(path: Path, file, name: str):
    """A data frame with a string index, from any encoding anndata has used."""
    import pandas as pd
    from anndata.io import read_elem

    node = file[name]
    if hasattr(node, "dtype"):
        records = pd.DataFrame(node[:])
        for column in records.columns:
            records[column] = [value.decode() if isinstance(value, bytes) else value for value in records[column]]
        table = records.set_index(records.columns[0])
        for column in table.columns:
            categories = f"uns/{column}_categories"
            if categories in file:
                levels = [level.decode() if isinstance(level, bytes) else level for level in file[categories][:]]
                table[column] = pd.Categorical.from_codes(table[column], levels)
    else:
        table = read_elem(node)
    if not isinstance(table, pd.DataFrame):
        do = "Write the file again with anndata."
        raise SourceError(path, name, "a data frame", type(table).__name__, do)
    table.index = table.index.astype(str)
    table.columns = [str(column) for column in table.columns]
    return table
