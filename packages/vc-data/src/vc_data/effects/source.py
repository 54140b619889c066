"""Reading a table of effects: an AnnData file, a wide table or a long one, as values with what is said of rows."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from vc_contracts.text.plain import plain

from vc_data.convert.columns import is_said_of_rows
from vc_data.convert.series import as_text
from vc_data.effects.options import EffectsOptions
from vc_data.errors import ColumnError, OptionError, SourceError, few
from vc_data.genes.names import identify_genes

_GENE_COLUMNS = (
    "gene",
    "genes",
    "genename",
    "genesymbol",
    "symbol",
    "geneid",
    "ensemblid",
    "ensembl",
    "names",
    "feature",
)
"""Names of the column that says which gene a row of a long table is about."""
TABLES = (".csv", ".tsv", ".txt", ".parquet")


@dataclass(frozen=True, eq=False)
class EffectsSource:
    """A table as it was found.

    Attributes:
        values_ng: [n, g] float64; NaN where nothing was measured.
        se_ng: [n, g] float64 standard errors, or None.
        obs: n rows, what is said of each.
        genes: [g] names.
        gene_ids: [g] Ensembl ids without version, or empty.
        symbols: [g] symbols, or empty.
        said: What was decided while reading.
    """

    values_ng: np.ndarray
    se_ng: np.ndarray | None
    obs: pd.DataFrame
    genes: list[str]
    gene_ids: list[str]
    symbols: list[str]
    said: tuple[str, ...] = ()

    def rows(self, place_r: np.ndarray) -> "EffectsSource":
        """The same of some rows."""
        se_ng = None if self.se_ng is None else self.se_ng[place_r]
        return replace(self, values_ng=self.values_ng[place_r], se_ng=se_ng, obs=self.obs.iloc[place_r])


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
        separator = "," if suffix == ".csv" else "\t"
        table = pd.read_csv(path, sep=separator, encoding="utf-8-sig")
        header = pd.read_csv(path, sep=separator, encoding="utf-8-sig", header=None, nrows=1, dtype=str).iloc[0]
    except UnicodeDecodeError as error:
        do = "Save it as UTF-8."
        raise SourceError(path, "file", "text in UTF-8", "another encoding", do) from error
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise SourceError(path, "file", "a table", str(error)[:200], "Check the file and its suffix.") from error
    if len(header) == 1 and (other := next((mark for mark in ";\t," if mark in str(header[0])), None)):
        do = "Save it with commas and decimal points as .csv, or with tabs as .tsv."
        raise SourceError(path, "header", f"columns separated by {separator!r}", f"columns separated by {other!r}", do)
    repeated = header[header.duplicated() & header.notna()]
    if len(repeated):
        # pandas would number them, and a second TP53 would be a gene TP53.1.
        do = "Leave one of each, or join them."
        raise SourceError(path, "header", "each name once", f"repeated: {few(repeated.unique().tolist())}", do)
    return table


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
    se_ng = None if options.se is None else layer(options.se)
    obs = adata.obs.copy()
    if options.perturbation == "index":
        obs["index"] = obs.index
    return EffectsSource(values_ng, se_ng, obs, [str(name) for name in names], *_identify(var, options, path))


def _identify(var: pd.DataFrame, options: EffectsOptions, path: Path) -> tuple[list[str], list[str]]:
    """Ensembl ids and symbols of genes; names of another kind (Entrez ids) are neither."""
    try:
        known = identify_genes(var, symbol=options.symbol, gene_table=options.gene_table, path=path)
    except ColumnError:
        return [""] * len(var), [""] * len(var)
    return known.gene_ids, known.symbols


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
        for name in (options.perturbation, *(options.cell_line or "cell_line").split(","), options.batch, options.mode, options.dose,
                     options.n_cells, options.total_counts)
        if name is not None
    }  # fmt: skip
    _refuse_long(table, named, path)
    genes = [name for name in table.columns if name not in named and _is_number(table[name])]
    said_of_rows = [str(name) for name in genes if is_said_of_rows(str(name))]
    genes = [name for name in genes if str(name) not in said_of_rows]
    if not genes:
        do = "Pass --genes-are-rows, or --gene and --value for a long table."
        raise SourceError(path, "columns", "numbers, a column a gene", few([str(c) for c in table.columns]), do)
    _refuse_spoilt(table.drop(columns=genes), named, path)
    values_ng = _numbers(table[genes].to_numpy(np.float64), path, "columns")
    names = [str(gene) for gene in genes]
    said = (f"columns that speak of rows, no genes: {few(said_of_rows, 8)}",) if said_of_rows else ()
    ids, symbols = _identify(pd.DataFrame(index=pd.Index(names)), options, path)
    return EffectsSource(values_ng, None, table.drop(columns=genes), names, ids, symbols, said)


def _refuse_long(table: pd.DataFrame, named: set[str], path: Path) -> None:
    """A column that names genes says that every row is one gene of a condition."""
    for name in table.columns:
        if plain(str(name)) in _GENE_COLUMNS and name not in named and not _is_number(table[name]):
            numbers = [str(other) for other in table.columns if other not in named and _is_number(table[other])]
            value = next((other for other in numbers if not is_said_of_rows(other)), "COLUMN")
            do = f"Pass --gene {name} --value {value} (it holds {few(numbers)}), or leave the column out."
            raise SourceError(path, "columns", "a column a gene", f"{name!r}, which names the gene of every row", do)


def _is_number(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _refuse_spoilt(table: pd.DataFrame, named: set[str], path: Path) -> None:
    """A column of numbers with a word in it was meant as a gene and must not go lost."""
    for name in table.columns:
        if name in named or _is_number(table[name]) or is_said_of_rows(str(name)):
            continue
        values = table[name].dropna().astype(str)
        wrong = values[pd.to_numeric(values, errors="coerce").isna()]
        if 0 < len(wrong) <= len(values) // 2:
            do = "Write numbers, and leave a value empty where nothing was measured."
            raise SourceError(path, str(name), "numbers", few(wrong.unique().tolist()), do)


def _long(table: pd.DataFrame, path: Path, options: EffectsOptions) -> EffectsSource:
    if options.absent is None:
        do = "Pass --absent zero (not listed means no change) or --absent unmeasured."
        raise OptionError(path, "--absent", "what a gene without a row means", "nothing", do)
    unnamed_n = as_text(column(table, options.gene or "gene", path, "columns")).eq("").to_numpy()
    table = table[~unnamed_n].reset_index(drop=True)
    gene, value = as_text(table[options.gene or "gene"]), column(table, options.value or "value", path, "columns")
    label_of = [options.perturbation, *(options.cell_line or "cell_line").split(","), options.batch, options.dose]
    keys = [name for name in label_of if name is not None and name in table]
    column(table, options.perturbation, path, "columns")
    row_n, index = pd.MultiIndex.from_frame(table[keys].apply(as_text)).factorize()
    at_n, genes = pd.factorize(gene, sort=True)
    if pd.DataFrame({"row": row_n, "gene": at_n}).duplicated().any():
        do = "Pass --dose, --batch or --cell-line with the column that tells them apart, or join them."
        raise SourceError(path, "rows", f"one row per {few(keys)} and gene", "several", do)
    shape = (len(index), len(genes))
    values_ng = np.full(shape, 0.0 if options.absent == "zero" else np.nan)
    values_ng[row_n, at_n] = _numbers(value.to_numpy(), path, str(value.name))
    se_ng = None
    if options.se is not None:
        se_ng = np.full(shape, np.nan)
        se_ng[row_n, at_n] = _numbers(column(table, options.se, path, "columns").to_numpy(), path, options.se)
    obs = table.iloc[np.unique(row_n, return_index=True)[1]].drop(columns=[options.gene or "gene", str(value.name)])
    names = [str(name) for name in genes]
    ids = _identify(pd.DataFrame(index=pd.Index(names)), options, path)
    said = (f"rows left out, no gene: {int(unnamed_n.sum())}",) if unnamed_n.any() else ()
    return EffectsSource(values_ng, se_ng, obs.reset_index(drop=True), names, *ids, said)


def column(table: pd.DataFrame, name: str, path: Path, where: str) -> pd.Series:
    """A column that was named.

    Raises:
        ColumnError: It is not there.
    """
    if name not in table:
        found = few([str(each) for each in table.columns])
        raise ColumnError(path, where, f"a column {name!r}", found, "Pass the flag with another column.")
    return cast("pd.Series", table[name])
