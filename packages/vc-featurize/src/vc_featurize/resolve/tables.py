"""Guide id to protospacer, and compound name or catalogue number to SMILES, from a library table of the user."""

import csv
from collections.abc import Sequence
from pathlib import Path

from vc_contracts.text.plain import compound_name

from vc_featurize.errors import InputError
from vc_featurize.resolve.coverage import Found
from vc_featurize.text import read_lines


def resolve_by_table(
    names: Sequence[str], table: str | Path, id_columns: Sequence[str], text_column: str
) -> dict[str, Found]:
    """The text of each name from the first id column that holds it; spelling is compared without case, then exactly none.

    A name that stands for two different texts within one column is not resolved: guessing would be silent.

    Args:
        names: What to look up.
        table: Library with a header line: comma-separated when named `.csv`, else tab-separated.
        id_columns: Columns to search, the most exact first (e.g. catalogue number, then name).
        text_column: Column with the protospacer or SMILES.

    Raises:
        InputError: If a column is absent.
    """
    path = Path(table)
    separator = "," if path.name.removesuffix(".gz").endswith(".csv") else "\t"
    rows = list(csv.DictReader(read_lines(path, "a library table"), delimiter=separator))
    have = list(rows[0]) if rows else []
    absent = [column for column in (*id_columns, text_column) if column not in have]
    if absent:
        raise InputError(f"{path}: expected columns {absent}, found {have[:12]}.")
    texts: list[dict[str, set[str]]] = []
    for column in id_columns:
        seen: dict[str, set[str]] = {}
        for row in rows:
            if row[column] and row[text_column]:
                seen.setdefault(compound_name(row[column]).casefold(), set()).add(row[text_column].strip())
        texts.append(seen)

    def lookup(name: str) -> Found:
        for column, seen in zip(id_columns, texts, strict=True):
            options = seen.get(compound_name(name).casefold(), set())
            if len(options) == 1:
                return Found(next(iter(options)), f"{path.name}:{name}", column)
            if options:
                return Found(None, "", f"{len(options)} different entries in {column!r}")
        return Found(None, "", "not in the library")

    return {name: lookup(name) for name in names}
