"""AnnData files of others, read without holding their matrix: tables whole, counts in blocks.

Knows CSR, CSC and dense matrices, present and older encodings. What columns and labels mean is decided elsewhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vc_data.convert.inflate import begin_read, open_pool
from vc_data.errors import CountsError, SourceError, few

BLOCK_ELEMENTS = 1 << 22
"""Elements (dense) or stored values (sparse) per block: about 100 MB while a block is worked on."""


@dataclass(frozen=True)
class Matrix:
    """One matrix of a file, still on disk."""

    path: Path
    name: str
    """'X', 'raw' or the layer's name."""
    node: Any
    """h5py or zarr array (dense), or a group of arrays `data`, `indices`, `indptr` (sparse)."""
    kind: str
    """'csr', 'csc' or 'dense'."""
    shape: tuple[int, int]
    """Cells, genes."""


class Source:
    """An open file of cells x genes: tables in memory, counts on disk. This one is AnnData's, in HDF5 or zarr."""

    def __init__(self, path: Path, file: Any):
        self.path = path
        self._file = file
        for name in ("obs", "var"):
            if name not in file:
                do = "Pass an .h5ad file."
                raise SourceError(path, "file", f"an AnnData file with {name!r}", f"the keys {few(file)}", do)
        self.obs = _read_table(path, file, "obs")
        self._places = _find_matrices(file)

    def matrix_names(self) -> list[str]:
        """Names of the matrices: 'X', those of layers, and 'raw'; in full where a short name would mean two."""
        return [self._short(name) for name in self._places]

    def var(self, matrix: str = "X") -> pd.DataFrame:
        """Genes of a matrix; 'raw' may have more genes than the rest."""
        if self._places.get(self._resolve(matrix), "").startswith("raw"):
            for name in ("raw/var", "raw.var"):
                if name in self._file:
                    return _read_table(self.path, self._file, name)
        return _read_table(self.path, self._file, "var")

    def is_contract(self) -> bool:
        """Whether the file carries the header of one of our contracts."""
        return "uns" in self._file and "contract" in self._file["uns"]

    def sample(self, name: str) -> np.ndarray:
        """The first values of a matrix, for a first judgement."""
        matrix = self.matrix(name)
        values = matrix.node[:100] if matrix.kind == "dense" else matrix.node["data"][:100_000]
        return widen(np.asarray(values)).ravel()

    def matrix(self, name: str = "X") -> Matrix:
        """Find a matrix.

        Raises:
            CountsError: No such matrix, or two that the name may mean.
            SourceError: An encoding that is not AnnData's, or a shape that disagrees with obs.
        """
        place = self._places.get(self._resolve(name))
        if place is None:
            do = "Pass --layer with one of them."
            raise CountsError(self.path, "layers", f"a matrix {name!r}", f"{few(self.matrix_names(), 20)}", do)
        node = self._file[place]
        if hasattr(node, "dtype"):
            kind, shape = "dense", node.shape
        else:
            attrs = node.attrs
            kind = str(attrs.get("encoding-type", attrs.get("h5sparse_format", "unknown"))).removesuffix("_matrix")
            stated = attrs.get("shape", attrs.get("h5sparse_shape", ()))
            # A damaged attribute holds anything.
            sizes = np.atleast_1d(stated) if not isinstance(stated, str | bytes) else np.zeros(0)
            shape = tuple(int(n) for n in sizes) if sizes.dtype.kind in "iu" else ()
        if kind not in ("dense", "csr", "csc") or len(shape) != 2:
            do = "Write the file again with anndata."
            raise SourceError(self.path, place, "a dense, CSR or CSC matrix", f"{kind!r} of shape {shape}", do)
        if shape[0] != len(self.obs):
            do = "The file is damaged: fetch it again."
            raise SourceError(self.path, place, f"{len(self.obs)} rows, as obs has", f"{shape[0]}", do)
        dtype = node.dtype if kind == "dense" else node["data"].dtype
        if dtype.kind not in "iuf":
            do = "Get the raw counts: this says at most whether a gene was seen."
            raise CountsError(self.path, place, "raw counts (whole numbers, 0 or more)", f"{dtype} values", do)
        return Matrix(self.path, self._short(self._resolve(name)), node, kind, shape)

    def _resolve(self, name: str) -> str:
        """The full name that a name means.

        Raises:
            CountsError: Two matrices that it may mean.
        """
        if name in self._places:
            return name
        meant = [full for full in (f"{name}/X", f"layers/{name}") if full in self._places]
        if len(meant) > 1:
            do = f"Pass --layer {meant[0]} or --layer {meant[1]}."
            raise CountsError(self.path, "layers", f"one matrix {name!r}", f"two: {few(meant)}", do)
        return meant[0] if meant else name

    def _short(self, full: str) -> str:
        name = "raw" if full == "raw/X" else full.removeprefix("layers/")
        meant = [other for other in (name, f"{name}/X", f"layers/{name}") if other in self._places]
        return name if meant == [full] else full


def _find_matrices(file: Any) -> dict[str, str]:
    """Full name (`X`, `raw/X`, `layers/NAME`, also nested) -> place in the file; what is no matrix is left out."""
    places = {"X": "X"} if "X" in file else {}

    def walk(group: Any, name: str, depth: int) -> None:
        for key in group:
            node, place = group[key], f"{name}/{key}"
            if _is_matrix(node):
                places[place] = place
            elif not hasattr(node, "dtype") and "encoding-type" not in node.attrs and depth < 8:
                walk(node, place, depth + 1)

    if "layers" in file:
        walk(file["layers"], "layers", 0)
    for place in ("raw/X", "raw.X"):
        if place in file:
            places.setdefault("raw/X", place)
    return places


def _is_matrix(node: Any) -> bool:
    if hasattr(node, "dtype"):
        return len(node.shape) == 2 and node.dtype.kind in "biuf"
    encoding = str(node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", "")))
    return encoding.removesuffix("_matrix") in ("csr", "csc")


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
            yield sp.csr_matrix(widen(np.asarray(matrix.node[row : row + step])))
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
            part_data, part_indices = (widen(np.asarray(read())) for read in reads)
            if len(part_indices) and (part_indices.min() < 0 or part_indices.max() >= n_minor):
                found, do = f"{part_indices.max()}", "The file is damaged: fetch it again."
                expected = f"positions in 0..{n_minor - 1}"
                raise SourceError(matrix.path, f"{matrix.name}/indices", expected, found, do)
            # The next block is inflated while this one is worked on.
            following = begin(pool, stop) if stop < n_major else None
            yield start, stop, (part_data, part_indices, indptr[start : stop + 1] - indptr[start])
            start = stop


def widen(values: np.ndarray) -> np.ndarray:
    """Values in this machine's byte order and in a type that scipy can work with: float16 becomes float32."""
    if values.dtype.kind == "f" and values.dtype.itemsize < 4:
        return values.astype(np.float32)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _tidy(matrix: Matrix, block: Any) -> Any:
    """Sum repeated positions (in 64 bits, because small integers would overflow), sort, and drop stored zeros."""
    if not block.has_canonical_format:
        block.sort_indices()
        if block.nnz and _repeats(block):
            block.data = block.data.astype(np.float64 if block.data.dtype.kind == "f" else np.int64)
            block.sum_duplicates()
    block.eliminate_zeros()
    return block


def _repeats(block: Any) -> bool:
    """Whether a sorted matrix stores a position twice."""
    same = np.flatnonzero(block.indices[1:] == block.indices[:-1]) + 1
    return bool(len(same)) and not np.isin(same, block.indptr).all()


def _read_table(path: Path, file: Any, name: str) -> pd.DataFrame:
    """A data frame with a string index, from any encoding anndata has used."""
    from anndata.io import read_elem

    node = file[name]
    if not hasattr(node, "dtype"):
        absent = [str(key) for key in node.attrs.get("column-order", ()) if str(key) not in node]
        if absent:
            do = "The file is whole, but its writer left this out: drop the column where the file was made, and write it again."
            raise SourceError(path, name, f"the columns that it lists, {few(absent)} among them", "no such column", do)
    if hasattr(node, "dtype"):
        records = pd.DataFrame(node[:])
        for column in records.columns:
            records[column] = [value.decode() if isinstance(value, bytes) else value for value in records[column]]
        table = records.set_index(records.columns[0])
        for column in table.columns:
            categories = f"uns/{column}_categories"
            if categories in file:
                codes: Any = table[column]
                levels: Any = [level.decode() if isinstance(level, bytes) else level for level in file[categories][:]]
                table[column] = pd.Categorical.from_codes(codes, levels)
    else:
        table = read_elem(node)
    if not isinstance(table, pd.DataFrame):
        do = "Write the file again with anndata."
        raise SourceError(path, name, "a data frame", type(table).__name__, do)
    table.index = table.index.astype(str)
    table.columns = [str(column) for column in table.columns]
    return table
