"""What 10x Genomics' Cell Ranger writes: .h5 files, and folders with matrix.mtx."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from vc_contracts.text.plain import clean

from vc_data.convert.source import Matrix, Source
from vc_data.errors import CountsError, SourceError, few


class TenX(Source):
    """A 10x .h5 file: genes x cells in compressed columns, which are cells x genes in compressed rows."""

    def __init__(self, path: Path, file: Any, groups: list[str]):
        if len(groups) > 1:
            do = "Write the genome that is wanted into a file of its own."
            raise SourceError(path, "file", "one genome", f"several: {few(groups)}", do)
        self.path = path
        self._group = file[groups[0]]
        self.obs = pd.DataFrame(index=_texts(self._group["barcodes"]))

    def matrix_names(self) -> list[str]:
        """The one matrix."""
        return ["X"]

    def var(self, matrix: str = "X") -> pd.DataFrame:
        """Features with `gene_id`, `gene_name` and, where the file has it, `feature_types`."""
        if "features" not in self._group:
            ids, names = _texts(self._group["genes"]), _texts(self._group["gene_names"])
            return pd.DataFrame({"gene_id": ids, "gene_name": names}, index=ids)
        features = self._group["features"]
        ids = _texts(features["id"])
        table = {"gene_id": ids, "gene_name": _texts(features["name"])}
        if "feature_type" in features:
            table["feature_types"] = _texts(features["feature_type"])
        return pd.DataFrame(table, index=ids)

    def is_contract(self) -> bool:
        """A 10x file is none of ours."""
        return False

    def matrix(self, name: str = "X") -> Matrix:
        """The counts."""
        _only_x(self.path, name)
        n_genes, n_cells = (int(n) for n in self._group["shape"][:])
        if n_cells != len(self.obs):
            do = "The file is damaged: fetch it again."
            raise SourceError(self.path, "matrix/shape", f"{len(self.obs)} cells, as barcodes has", n_cells, do)
        return Matrix(self.path, "X", self._group, "csr", (n_cells, n_genes))


class Mtx(Source):
    """A folder with matrix.mtx, in memory."""

    def __init__(self, path: Path, counts: Any, obs: pd.DataFrame, var: pd.DataFrame):
        self.path, self.obs, self._var, self._counts = path, obs, var, counts

    def matrix_names(self) -> list[str]:
        """The one matrix."""
        return ["X"]

    def var(self, matrix: str = "X") -> pd.DataFrame:
        """Features."""
        return self._var

    def is_contract(self) -> bool:
        """A folder of 10x is none of ours."""
        return False

    def matrix(self, name: str = "X") -> Matrix:
        """The counts."""
        _only_x(self.path, name)
        arrays = {key: getattr(self._counts, key) for key in ("data", "indices", "indptr")}
        return Matrix(self.path, "X", arrays, "csr", self._counts.shape)


def read_mtx(path: Path) -> Mtx:
    """Read a folder with matrix.mtx, barcodes.tsv, features.tsv or genes.tsv (each also .gz) as 10x writes it.

    Raises:
        SourceError: One of them is missing, or they disagree in size.
    """
    import scipy.io
    import scipy.sparse as sp

    matrix = _beside(path, ("matrix.mtx",))
    barcodes = _rows(_beside(path, ("barcodes.tsv", "cells.tsv", "barcodes.txt")))
    features = _rows(_beside(path, ("features.tsv", "genes.tsv", "genes.txt")))
    try:
        counts = sp.coo_matrix(scipy.io.mmread(matrix))
    except (ValueError, OSError, EOFError) as error:
        do = "The file is truncated or damaged: fetch it again."
        raise SourceError(matrix, "file", "a MatrixMarket file", str(error).splitlines()[0], do) from error
    shape = (len(features), len(barcodes))
    if counts.shape == shape[::-1] and shape[0] != shape[1]:
        counts = counts.T
    if counts.shape != shape:
        do = "Take all three files from one folder of 10x."
        found = f"{counts.shape[0]} x {counts.shape[1]}"
        raise SourceError(matrix, "shape", f"{shape[0]} features x {shape[1]} barcodes", found, do)
    names = ["gene_id", "gene_name", "feature_types"][: max(map(len, features), default=1)]
    table = {name: [row[i] if i < len(row) else "" for row in features] for i, name in enumerate(names)}
    var = pd.DataFrame(table, index=[row[0] for row in features])
    return Mtx(path, sp.csr_matrix(counts.T), pd.DataFrame(index=[row[0] for row in barcodes]), var)


def _only_x(path: Path, name: str) -> None:
    if name not in ("X", "matrix"):
        raise CountsError(path, "layers", f"a matrix {name!r}", "'X' alone", "Leave --layer out.")


def _texts(values: Any) -> list[str]:
    return [clean(value) for value in np.asarray(values[:])]


def _beside(path: Path, names: tuple[str, ...]) -> Path:
    options = (path / f"{name}{end}" for name in names for end in ("", ".gz"))
    found = next((option for option in options if option.exists()), None)
    if found is None:
        raise SourceError(path, "folder", f"{names[0]} or {names[0]}.gz", "neither", "Pass a folder as 10x writes it.")
    return found


def _rows(path: Path) -> list[list[str]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return [[clean(cell).strip('"') for cell in line.rstrip("\r\n").split("\t")] for line in file if line.strip()]
