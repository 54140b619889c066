"""Known targets of regulators, and lists of genes, as users bring them: tab- or comma-separated text, gzipped or not."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from vc_interp.errors import InputError

SOURCES = ("tf", "source", "regulator", "a", "gene_a")
TARGETS = ("target", "b", "gene_b")


def read_targets(path: str | Path) -> dict[str, frozenset[str]]:
    """Regulator -> known targets, from a table with a column of each (`tf`, `source`, `regulator`; `target`).

    Raises:
        InputError: If the file cannot be read, or has no such columns.
    """
    table = read_table(path)
    columns = {str(name).lower(): name for name in table.columns}
    source = next((columns[name] for name in SOURCES if name in columns), None)
    target = next((columns[name] for name in TARGETS if name in columns), None)
    if source is None or target is None:
        raise InputError(
            f"{path}: expected a column of regulators ({', '.join(SOURCES)}) and one of targets ({', '.join(TARGETS)}), found "
            f"{list(map(str, table.columns))[:10]}. Rename them."
        )
    pairs = table[[source, target]].dropna().astype(str)
    return {str(name): frozenset(group[target]) for name, group in pairs.groupby(source)}


def read_names(path: str | Path) -> frozenset[str]:
    """The first column of a table or the lines of a text: names of genes."""
    table = read_table(path, header=None)
    names = frozenset(table.iloc[:, 0].dropna().astype(str).str.strip()) - {""}
    if not names:
        raise InputError(f"{path}: expected names of genes, one a line, found none.")
    return names


def read_numbers(path: str | Path) -> pd.DataFrame:
    """Numbers of genes: a table with a header, names of genes in the first column, numbers in the others.

    Raises:
        InputError: If a gene occurs twice, or a value is no finite number.
    """
    table = read_table(path)
    table = table.set_index(table.columns[0])
    numbers = table.apply(pd.to_numeric, errors="coerce")
    finite = np.isfinite(numbers.to_numpy(np.float64)).all() if len(numbers.columns) else False
    if not len(numbers) or not finite or not numbers.index.is_unique:
        raise InputError(
            f"{path}: expected a header, a gene in the first column (each once) and finite numbers in the others; found "
            f"{len(table)} rows with the columns {list(map(str, table.columns))[:5]}."
        )
    return numbers


def read_table(path: str | Path, **options: int | None) -> pd.DataFrame:
    """A table of text.

    Raises:
        InputError: If it cannot be read.
    """
    path = Path(path)
    separator = "," if ".csv" in path.suffixes else "\t"
    try:
        return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, na_values=[""], **options)  # pyrefly: ignore
    except (OSError, ValueError, pd.errors.ParserError, EOFError) as error:
        raise InputError(f"{path}: expected a tab-separated table (.csv: commas), found none ({error}).") from error


def invert(targets: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Target -> its regulators."""
    found: dict[str, set[str]] = {}
    for source, genes in targets.items():
        for gene in genes:
            found.setdefault(gene, set()).add(source)
    return {gene: frozenset(names) for gene, names in found.items()}
