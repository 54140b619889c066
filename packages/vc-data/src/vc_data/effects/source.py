"""Reading a table of effects: an AnnData file, a wide table or a long one, as values with what is said of rows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from vc_data.effects.options import EffectsOptions
from vc_data.errors import ColumnError, OptionError, SourceError, few

TABLES = (".csv", ".tsv", ".txt", ".parquet")


@dataclass(frozen=True, eq=False)
class EffectsSource:
    """A table as it was found.

    Attributes:
        values_ng: [n, g] float64; NaN where nothing was measured.
        se_ng: [n, g] float64 standard errors, or None.
        obs: n rows, what is said of each.
        genes: [g] names.
        gene_ids: [g] Ensembl ids, or empty.
    """

    values_ng: np.ndarray
    se_ng: np.ndarray | None
    obs: pd.DataFrame
    genes: list[str]
    gene_ids: list[str]


def read_source(path: Path, options: EffectsOptions) -> EffectsSource:
    """Read a file by its suffix (`.gz` before it for text).

    Raises:
        SourceError: It cannot be read, or holds no numbers.
        ColumnError: A column that was named is not there.
    """
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    suffix = suffixes[-1] if suffixes else ""
    if suffix in TABLES:
        table = _read_table(path, suffix)
        return _long(table, path, options) if options.gene or options.value else _wide(table, path, options)
    if suffix not in (".h5ad", ".zarr"):
        raise SourceError(path, "file", f"one of .h5ad, .zarr, {', '.join(TABLES)}", repr(path.name), "Rename it.")
    return _from_anndata(path, options)


def _read_table(path: Path, suffix: str) -> pd.DataFrame:
    from vc_contracts.store import read_parquet

    try:
        if suffix == ".parquet":
            return read_parquet(path)
        return pd.read_csv(path, sep="," if suffix == ".csv" else "\t")
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise SourceError(path, "file", "a table", str(error)[:200], "Check the file and its suffix.") from error


def _from_anndata(path: Path, options: EffectsOptions) -> EffectsSource:
    from vc_contracts.errors import raised_as
    from vc_contracts.store import read_anndata

    with raised_as(SourceError):
        adata = read_anndata(path)

    def layer(name: str) -> np.ndarray:
        if name not in adata.layers:
            raise ColumnError(path, "layers", f"a layer {name!r}", few(list(adata.layers)), "Pass another name.")
        return _numbers(_dense(adata.layers[name]), path, f"layers[{name!r}]")

    values_ng = _numbers(_dense(adata.X), path, "X") if options.layer is None else layer(options.layer)
    var = adata.var
    names = var.index if options.symbol is None else column(var, options.symbol, path, "var")
    ids = var["gene_id"].astype(str).tolist() if "gene_id" in var else [""] * len(var)
    se_ng = None if options.se is None else layer(options.se)
    obs = adata.obs.copy()
    if options.perturbation == "index":
        obs["index"] = obs.index
    return EffectsSource(values_ng, se_ng, obs, [str(name) for name in names], ids)


def _dense(matrix: Any) -> np.ndarray:
    if matrix is None:
        return np.zeros((0, 0))
    return matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)


def _numbers(values: np.ndarray, path: Path, field: str) -> np.ndarray:
    if values.size == 0 or values.dtype.kind not in "fiub":
        raise SourceError(
            path, field, "a matrix of numbers", f"{values.dtype} of shape {values.shape}", "Pass --layer."
        )
    numbers = values.astype(np.float64)
    if np.isinf(numbers).any():
        raise SourceError(path, field, "finite numbers (NaN where not measured)", "infinity", "Mend the file.")
    return numbers


def _wide(table: pd.DataFrame, path: Path, options: EffectsOptions) -> EffectsSource:
    if options.genes_are_rows:
        first = table.columns[0]
        if table[first].duplicated().any():
            found = few(table[first][table[first].duplicated()].astype(str).tolist())
            raise SourceError(path, str(first), "each gene once", f"repeated: {found}", "Join their rows.")
        table = table.set_index(first).T.rename_axis(options.perturbation).reset_index()
    named = {
        name
        for name in (options.perturbation, options.cell_line or "cell_line", options.batch, options.mode, options.dose,
                     options.n_cells, options.total_counts)
        if name is not None
    }  # fmt: skip
    is_number = {name: pd.api.types.is_numeric_dtype(table[name]) for name in table.columns}
    genes = [name for name in table.columns if name not in named and is_number[name]]
    if not genes:
        do = "Pass --genes-are-rows, or --gene and --value for a long table."
        raise SourceError(path, "columns", "numbers, a column a gene", few([str(c) for c in table.columns]), do)
    values_ng = _numbers(table[genes].to_numpy(np.float64), path, "columns")
    return EffectsSource(values_ng, None, table.drop(columns=genes), [str(gene) for gene in genes], [""] * len(genes))


def _long(table: pd.DataFrame, path: Path, options: EffectsOptions) -> EffectsSource:
    if options.absent is None:
        do = "Pass --absent zero (not listed means no change) or --absent unmeasured."
        raise OptionError(path, "--absent", "what a gene without a row means", "nothing", do)
    gene = column(table, options.gene or "gene", path, "columns").astype(str)
    value = column(table, options.value or "value", path, "columns")
    label_of = [options.perturbation, options.cell_line or "cell_line", options.batch, options.dose]
    keys = [name for name in label_of if name is not None and name in table]
    column(table, options.perturbation, path, "columns")
    row_n, index = pd.MultiIndex.from_frame(table[keys].astype(str)).factorize()
    at_n, genes = pd.factorize(gene, sort=True)
    if pd.DataFrame({"row": row_n, "gene": at_n}).duplicated().any():
        raise SourceError(path, "rows", f"one row per {few(keys)} and gene", "several", "Pass --batch, or join them.")
    shape = (len(index), len(genes))
    values_ng = np.full(shape, 0.0 if options.absent == "zero" else np.nan)
    values_ng[row_n, at_n] = _numbers(value.to_numpy(), path, str(value.name))
    se_ng = None
    if options.se is not None:
        se_ng = np.full(shape, np.nan)
        se_ng[row_n, at_n] = _numbers(column(table, options.se, path, "columns").to_numpy(), path, options.se)
    obs = table.iloc[np.unique(row_n, return_index=True)[1]].drop(columns=[str(gene.name), str(value.name)])
    return EffectsSource(values_ng, se_ng, obs.reset_index(drop=True), [str(name) for name in genes], [""] * len(genes))


def column(table: pd.DataFrame, name: str, path: Path, where: str) -> pd.Series:
    """A column that was named.

    Raises:
        ColumnError: It is not there.
    """
    if name not in table:
        found = few([str(each) for each in table.columns])
        raise ColumnError(path, where, f"a column {name!r}", found, "Pass the flag with another column.")
    return cast("pd.Series", table[name])
