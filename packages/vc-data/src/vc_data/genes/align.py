"""Genes by name: which identifiers a file has, and how they reach a panel (an ordered list of genes).

Rules, in order. A source gene reaches the panel by the first that gives an answer:
1. `name`: its Ensembl id (without version), else its symbol, is in the panel.
2. `table`: the gene table translates its id to a symbol, or its symbol to an id, that is in the panel.
3. `alias`: its symbol, which is no approved symbol itself, is an alias of one approved symbol, and that is in the panel
   (or the panel holds one alias of it).
A rule that gives several panel genes gives none: the gene is dropped as ambiguous (one-to-many is never guessed).
Several source genes that reach one panel gene are summed (many-to-one; counts are never averaged).
Panel genes that nothing reaches are zero-filled and carry `measured = false`.
"""

import csv
import gzip
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vc_data.convert.labels import plain
from vc_data.errors import ColumnError, GeneError, SourceError, few

# A version is a dot and digits at the end; '_PAR_Y' is no version and stays.
_ENSEMBL = re.compile(r"(ENS[A-Z]*G\d{6,})(\.\d+)?(_PAR_Y)?", re.ASCII)
_ID_COLUMNS = ("geneid", "geneids", "ensemblid", "ensembleid", "ensembl", "ensemblgeneid", "ensgene", "featureid", "id")
_SYMBOL_COLUMNS = (
    "genename", "genenames", "genesymbol", "genesymbols", "symbol", "symbols", "featurename", "geneshortname",
    "hgncsymbol", "gene", "name",
)  # fmt: skip
RULES = {
    "name": "id (without version), else symbol, equals the panel's name",
    "table": "id and symbol translated by the gene table",
    "alias": "one approved symbol by the alias table, only if the name is no approved symbol itself",
    "many-to-one": "counts summed",
    "one-to-many": "dropped as ambiguous",
    "not measured": "zero-filled, measured = false",
}


@dataclass(frozen=True)
class GeneNames:
    """Identifiers of the genes of one file, all in file order."""

    gene_ids: list[str]
    """Ensembl ids without version, '' where unknown."""
    symbols: list[str]
    """Symbols, '' where unknown."""
    statements: list[str]
    """Where they were found, for people."""

    @property
    def keys(self) -> list[str]:
        """What makes a gene the same gene: its id, else its symbol."""
        return [gene_id or symbol for gene_id, symbol in zip(self.gene_ids, self.symbols, strict=True)]


@dataclass(frozen=True)
class GeneAlignment:
    """How source genes reach a panel."""

    panel: list[str]
    """The panel's names, in order."""
    names: list[str]
    """The source's names, in order."""
    target: np.ndarray
    """[source] int64: position in the panel, -1 for dropped."""
    how: list[str]
    """[source]: 'name', 'table', 'alias', or why dropped: 'not in panel', 'ambiguous'."""
    panel_ids: list[str]
    """[panel]: Ensembl id where the panel's name is one, or the gene table has exactly one for it; else ''."""

    @property
    def measured(self) -> np.ndarray:
        """[panel] bool: whether any source gene reaches the panel gene."""
        measured = np.zeros(len(self.panel), bool)
        measured[self.target[self.target >= 0]] = True
        return measured

    @property
    def summed(self) -> dict[str, list[str]]:
        """Panel gene -> the source genes whose counts are summed, where there are several."""
        sources: dict[int, list[str]] = {}
        for name, target in zip(self.names, self.target.tolist(), strict=True):
            if target >= 0:
                sources.setdefault(target, []).append(name)
        return {self.panel[target]: names for target, names in sorted(sources.items()) if len(names) > 1}

    def to_json(self) -> dict:
        """Everything, as `uns['alignment']` of screen-v1 holds it."""
        dropped = {
            why: [name for name, how in zip(self.names, self.how, strict=True) if how == why]
            for why in ("not in panel", "ambiguous")
        }
        unmeasured = [self.panel[i] for i in np.flatnonzero(~self.measured)]
        return {
            "rules": RULES,
            "n_source": len(self.names),
            "n_panel": len(self.panel),
            "n_measured": int(self.measured.sum()),
            "matched": {rule: self.how.count(rule) for rule in ("name", "table", "alias")},
            "dropped": {why: {"n": len(names), "genes": names} for why, names in dropped.items()},
            "summed": {"n": len(self.summed), "genes": self.summed},
            "unmeasured": {"n": len(unmeasured), "genes": unmeasured},
        }

    def lines(self) -> list[str]:
        """The same in a few lines, with first examples."""
        report = self.to_json()
        matched = ", ".join(f"{n} by {rule}" for rule, n in report["matched"].items() if n)
        lines = [f"panel genes measured: {report['n_measured']} of {report['n_panel']} ({matched or 'none'})"]
        for why, group in report["dropped"].items():
            if group["n"]:
                lines.append(f"source genes dropped, {why}: {group['n']} ({few(group['genes'], 3)})")
        if self.summed:
            gene, names = next(iter(self.summed.items()))
            lines.append(f"panel genes summed from several: {len(self.summed)} (e.g. {gene} from {', '.join(names)})")
        if report["unmeasured"]["n"]:
            lines.append(
                f"panel genes zero-filled: {report['unmeasured']['n']} ({few(report['unmeasured']['genes'], 3)})"
            )
        return lines


def strip_version(name: str) -> str:
    """Ensembl id without version; every other name unchanged.

    Examples:
        >>> strip_version("ENSG00000141510.18"), strip_version("ENSG00000002586.20_PAR_Y"), strip_version("AC01.2")
        ('ENSG00000141510', 'ENSG00000002586_PAR_Y', 'AC01.2')
    """
    match = _ENSEMBL.fullmatch(name)
    return name if match is None else match[1] + (match[3] or "")


def is_ensembl(name: str) -> bool:
    """Whether a name is an Ensembl gene id, with or without version."""
    return _ENSEMBL.fullmatch(name) is not None


def identify_genes(
    var,
    *,
    gene_id: str | None = None,
    symbol: str | None = None,
    gene_table: str | Path | None = None,
    path: object = "the file",
) -> GeneNames:
    """Find Ensembl ids and symbols in the index or the columns of var.

    Args:
        var: Genes, a data frame.
        gene_id: Column with Ensembl ids, or 'index'; guessed if None.
        symbol: Column with symbols, or 'index'; guessed if None.
        gene_table: Table that gives the missing names where some genes have only an id and others only a symbol.
        path: File name for messages.

    Raises:
        ColumnError: Neither ids nor symbols are there, or a gene has neither.
        GeneError: Some genes have only an id and others only a symbol, and no column or table says which are the same;
            or ids of several species.
    """
    columns = {"index": [str(name) for name in var.index]}
    columns |= {str(c): ["" if v != v or v is None else str(v) for v in var[c].astype(object)] for c in var.columns}

    def is_id_column(values: Sequence[str]) -> bool:
        return 2 * sum(map(is_ensembl, values)) > len(values)

    def is_symbol_column(values: Sequence[str]) -> bool:
        return not is_id_column(values) and not all(value.isdigit() or not value for value in values)

    def first(wanted: Sequence[str], fits) -> str | None:
        return next((c for name in wanted for c in columns if plain(c) == name and fits(columns[c])), None)

    id_column = gene_id or first(("index", *_ID_COLUMNS), is_id_column)
    symbol_column = symbol or first((*_SYMBOL_COLUMNS, "index"), is_symbol_column)
    if id_column is None and symbol_column is None:
        do = "Pass --gene-id COLUMN or --symbol COLUMN ('index' for the index)."
        raise ColumnError(path, "var", "Ensembl ids or gene symbols", f"the columns {few(columns, 30)}", do)
    given = ["given" if name else "guessed" for name in (gene_id, symbol)]
    listed_ids = columns[id_column] if id_column else [""] * len(var)
    listed = columns[symbol_column] if symbol_column else [""] * len(var)
    ids, symbols = [], []
    for listed_id, name, index in zip(listed_ids, listed, columns["index"], strict=True):
        # Files write the id where a gene has no symbol, and the other way round; the index is the last resort.
        known_id = next((strip_version(option) for option in (listed_id, name, index) if is_ensembl(option)), "")
        known = "" if is_ensembl(name) else name
        ids.append(known_id)
        symbols.append(known if known or known_id else index)
    if not all(i or s for i, s in zip(ids, symbols, strict=True)):
        do = "Pass --symbol or --gene-id with a column that is filled for every gene."
        raise ColumnError(path, "var", "an id or a symbol for every gene", "genes with neither", do)
    _check_species(ids, path)
    mended = []
    if gene_id is None and symbol is None:
        ids, symbols, mended = _check_mixed(ids, symbols, gene_table, path)
    statements = [
        *mended,
        f"gene ids: {id_column!r} ({given[0]})" if id_column else "gene ids: none",
        f"gene symbols: {symbol_column!r} ({given[1]})" if symbol_column else "gene symbols: none",
    ]
    return GeneNames(ids, symbols, statements)


def _check_species(ids: Sequence[str], path: object) -> None:
    species = Counter(re.match(r"ENS[A-Z]*?(?=G\d)", name)[0] for name in ids if name)
    if len(species) > 1:
        found = ", ".join(f"{n} {prefix}G..." for prefix, n in species.most_common())
        do = "Keep the genes of one species, or pass --symbol COLUMN to go by symbols."
        raise GeneError(path, "var", "Ensembl ids of one species", found, do)


def _check_mixed(ids: list[str], symbols: list[str], gene_table, path: object):
    """Ids and symbols, completed by the table where a tenth (and five) or more of the genes have only the one or the other."""
    only_id = [i for i, (gene_id, name) in enumerate(zip(ids, symbols, strict=True)) if gene_id and not name]
    only_symbol = [i for i, (gene_id, name) in enumerate(zip(ids, symbols, strict=True)) if name and not gene_id]
    if min(len(only_id), len(only_symbol)) < max(5, len(ids) / 10):
        return ids, symbols, []
    if gene_table is None:
        found = (
            f"{len(only_id)} genes with an id only ({few((ids[i] for i in only_id), 2)}) and {len(only_symbol)} with a "
            f"symbol only ({few((symbols[i] for i in only_symbol), 2)}): one gene may stand there twice"
        )
        do = "Pass --gene-table with ids and symbols, or --symbol index to take the names as they are."
        raise GeneError(path, "var", "one kind of name for all genes", found, do)
    symbols_of, ids_of = read_gene_table(gene_table)
    ids, symbols = list(ids), list(symbols)
    for i in only_id:
        names = symbols_of.get(ids[i], set())
        symbols[i] = next(iter(names)) if len(names) == 1 else ""
    for i in only_symbol:
        names = ids_of.get(symbols[i], set())
        ids[i] = next(iter(names)) if len(names) == 1 else ""
    return (
        ids,
        symbols,
        [f"mixed gene names, completed by the gene table: {len(only_id)} ids, {len(only_symbol)} symbols"],
    )


def unique_names(genes: GeneNames) -> list[str]:
    """One name per gene: its symbol where that is known and no other gene has it, else its id."""
    counts = Counter(genes.symbols)
    return [s if s and (counts[s] == 1 or not i) else i for s, i in zip(genes.symbols, genes.gene_ids, strict=True)]


def align_genes(
    names: Sequence[str],
    panel: Sequence[str],
    *,
    gene_ids: Sequence[str] | None = None,
    panel_ids: Sequence[str] | None = None,
    gene_table: str | Path | None = None,
    aliases: str | Path | None = None,
) -> GeneAlignment:
    """Align the genes of a file to a panel, by the rules at the top of this module.

    Args:
        names: Source identifiers, symbols or Ensembl ids.
        panel: Ordered names of the panel, symbols or Ensembl ids.
        gene_ids: Ensembl ids beside `names`, '' where unknown.
        panel_ids: Ensembl ids beside `panel`, '' where unknown.
        gene_table: TSV (or .gz) with an Ensembl id and a symbol per gene.
        aliases: TSV (or .gz) with a symbol and the approved symbol it stands for.

    Raises:
        GeneError: A panel with repeated names, an empty panel, or one that nothing reaches.
        SourceError: A table without the columns it needs.
    """
    names = [strip_version(name) for name in names]
    gene_ids = [""] * len(names) if gene_ids is None else [strip_version(gene_id) for gene_id in gene_ids]
    panel = [strip_version(name) for name in panel]
    place = {name: i for i, name in enumerate(panel)}
    if len(place) < len(panel) or not panel:
        repeated = [name for name, n in Counter(panel).items() if n > 1]
        found = f"repeated: {few(repeated)}" if panel else "no names"
        raise GeneError("the panel", "names", "one or more distinct genes", found, "Give each gene once.")
    panel_ids = [strip_version(gene_id) for gene_id in panel_ids] if panel_ids else [""] * len(panel)
    place_of_id: dict[str, set[int]] = {}
    for i, gene_id in enumerate(panel_ids):
        if gene_id:
            place_of_id.setdefault(gene_id, set()).add(i)
    symbols_of, ids_of = read_gene_table(gene_table) if gene_table else ({}, {})
    approved_of, approved = read_aliases(aliases) if aliases else ({}, set())

    def canonical(symbol: str) -> str:
        options = approved_of.get(symbol, set())
        return next(iter(options)) if symbol not in approved and len(options) == 1 else symbol

    place_of_canonical: dict[str, set[int]] = {}
    for i, name in enumerate(panel):
        place_of_canonical.setdefault(canonical(name), set()).add(i)

    def candidates(name: str, gene_id: str):
        by_id = {place[gene_id]} if gene_id in place else place_of_id.get(gene_id, set())
        yield "name", by_id or ({place[name]} if name in place else set())
        keys = symbols_of.get(gene_id or name, set()) or ids_of.get(name, set())
        yield "table", {place[key] for key in keys if key in place}
        options = place_of_canonical.get(canonical(name), set()) if name else set()
        yield "alias", options | {i for key in keys for i in place_of_canonical.get(canonical(key), ())}

    target, how = np.full(len(names), -1, np.int64), []
    for row, (name, gene_id) in enumerate(zip(names, gene_ids, strict=True)):
        rule, found = next(
            ((rule, found) for rule, found in candidates(name, gene_id) if found), ("not in panel", set())
        )
        if len(found) == 1:
            target[row] = found.pop()
        how.append("ambiguous" if found else rule)
    ids = [{known} if known else ids_of.get(n, set()) for n, known in zip(panel, panel_ids, strict=True)]
    panel_ids = [n if is_ensembl(n) else min(i) if len(i) == 1 else "" for n, i in zip(panel, ids, strict=True)]
    alignment = GeneAlignment(panel, names, target, how, panel_ids)
    if not alignment.measured.any():
        do = "Pass --gene-table to translate between Ensembl ids and symbols, or another panel."
        raise GeneError("the panel", "names", f"genes like {few(names, 3)}", f"genes like {few(panel, 3)}", do)
    return alignment


def read_panel(path: str | Path) -> list[str]:
    """Names of a panel: a text file without header, one name a line (the first column where there are several)."""
    with _open_text(path) as file:
        return [re.split(r"[\t,]", line.strip())[0] for line in file if line.strip()]


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
