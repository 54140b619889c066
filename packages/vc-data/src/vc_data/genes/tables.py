"""Lists and tables of genes as files: panels, ids with symbols, aliases."""

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

from vc_contracts.text.ids import strip_version
from vc_contracts.text.lists import read_names

from vc_data.errors import SourceError, few


def read_panel(path: str | Path) -> list[str]:
    """Names of a panel, in order: a text file with one name a line, or a table; see `text.lists.read_names`."""
    return read_names(path)


def read_gene_table(path: str | Path) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Read a table with Ensembl ids and symbols: (id -> symbols, symbol -> ids)."""
    symbols_of: dict[str, set[str]] = {}
    ids_of: dict[str, set[str]] = {}
    for gene_id, symbol in _read_pairs(
        path, ("ensgene", "ensembl_id", "ensembl_gene_id", "gene_id"), ("symbol", "gene_name")
    ):
        symbols_of.setdefault(gene_id, set()).add(symbol)
        ids_of.setdefault(symbol, set()).add(strip_version(gene_id))
    return symbols_of, ids_of


def read_aliases(path: str | Path) -> tuple[dict[str, set[str]], set[str]]:
    """Read a table with aliases: (symbol -> approved symbols, all approved symbols).

    Two layouts, so that a newer table can be downloaded and put in its place: one row per alias (`Symbol`,
    `Approved.Symbol`), or one row per gene as HGNC publishes it (`symbol`, and `alias_symbol`, `prev_symbol` or
    `synonyms`, several names joined by `|`). A previous symbol of one gene that is an alias of another is the previous
    one: it was that gene's name.

    Raises:
        SourceError: Neither layout.
    """
    with _open_text(path) as file:
        header = file.readline().rstrip("\r\n").split("\t")
    alias_columns = [column for column in ("alias_symbol", "synonyms", "aliases") if column in header]
    if "symbol" not in header or not (alias_columns or "prev_symbol" in header):
        approved_of: dict[str, set[str]] = {}
        for alias, symbol in _read_pairs(path, ("Symbol", "alias"), ("Approved.Symbol", "approved")):
            approved_of.setdefault(alias, set()).add(symbol)
        return approved_of, set().union(*approved_of.values()) if approved_of else set()
    approved, previous, aliased = set(), {}, {}
    with _open_text(path) as file:
        for row in csv.DictReader(file, delimiter="\t"):
            approved.add(row["symbol"])
            for columns, names_of in ((["prev_symbol"], previous), (alias_columns, aliased)):
                for name in "|".join(row.get(column) or "" for column in columns).split("|"):
                    if name.strip(' "'):
                        names_of.setdefault(name.strip(' "'), set()).add(row["symbol"])
    return aliased | previous, approved


def _read_pairs(path, first: Sequence[str], second: Sequence[str]):
    with _open_text(path) as file:
        reader = csv.DictReader(file, delimiter="\t")
        header = reader.fieldnames or []
        a, b = (next((c for c in wanted if c in header), None) for wanted in (first, second))
        if a is None or b is None:
            do = "Pass a tab-separated file with these columns."
            raise SourceError(path, "header", f"one of {few(first)} and one of {few(second)}", few(header, 10), do)
        for row in reader:
            if row[a] and row[b] and row[b] != "NA":
                yield row[a], row[b]


def _open_text(path):
    path = Path(path)
    if not path.is_file():
        raise SourceError(path, "file", "a text file", "nothing", "Check the path.")
    return gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="")
