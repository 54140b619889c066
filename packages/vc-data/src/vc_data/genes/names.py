"""Which identifiers the genes of a file have."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vc_contracts.text.ids import is_ensembl, strip_version
from vc_contracts.text.plain import clean, plain

from vc_data.errors import ColumnError, GeneError, few
from vc_data.genes.tables import read_gene_table

_ID_COLUMNS = ("geneid", "geneids", "ensemblid", "ensembleid", "ensembl", "ensemblgeneid", "ensgene", "featureid", "id")
_SYMBOL_COLUMNS = (
    "genename", "genenames", "genesymbol", "genesymbols", "symbol", "symbols", "featurename", "geneshortname",
    "hgncsymbol", "gene", "name",
)  # fmt: skip


_GENOME = re.compile(r"(?:GRC[a-z]\d+|hg\d+|mm\d+|rn\d+)_+")
_JOINED = re.compile(r"(?P<symbol>.+)[_|:;](?P<id>ENS[A-Z]*G\d{11}(?:\.\d+)?)")
_JOINED_FIRST = re.compile(r"(?P<id>ENS[A-Z]*G\d{11}(?:\.\d+)?)[_|:;](?P<symbol>.+)")


@dataclass(frozen=True)
class GeneNames:
    """Identifiers of the genes of one file, all in file order."""

    gene_ids: list[str]
    """Ensembl ids without version, '' where unknown."""
    symbols: list[str]
    """Symbols, '' where unknown."""
    statements: list[str]
    """Where they were found, for people."""
    rows: list[str] = field(default_factory=list)
    """Names of the rows of var, where those are neither (ids of Entrez, ORFs of yeast); else empty."""

    @property
    def keys(self) -> list[str]:
        """What makes a gene the same gene: its id, else its symbol."""
        return [gene_id or symbol for gene_id, symbol in zip(self.gene_ids, self.symbols, strict=True)]


def identify_genes(
    var,
    *,
    gene_id: str | None = None,
    symbol: str | None = None,
    gene_table: str | Path | None = None,
    path: str | Path = "the file",
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
    columns = {"index": [clean(name) for name in var.index]}
    columns |= {str(c): [clean(value) for value in var[c].astype(object)] for c in var.columns}
    tidied = _tidy(columns)

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
        *tidied,
        *mended,
        f"gene ids: {id_column!r} ({given[0]})" if id_column else "gene ids: none",
        f"gene symbols: {symbol_column!r} ({given[1]})" if symbol_column else "gene symbols: none",
    ]
    rows = columns["index"]
    others = (
        rows if set(rows).isdisjoint({*ids, *symbols} - {""}) and rows != [str(i) for i in range(len(rows))] else []
    )
    return GeneNames(ids, symbols, statements, others)


def _tidy(columns: dict[str, list[str]]) -> list[str]:
    """Take off a genome that stands before every name, and apart a symbol and an id that every name joins; changes `columns`."""
    names, said = columns["index"], []
    genomes = {match[0] if (match := _GENOME.match(name)) else "" for name in names}
    if len(genomes) == 1 and (genome := genomes.pop()):
        columns["index"] = names = [name.removeprefix(genome) for name in names]
        said.append(f"names of genes begin with {genome!r}, which is left out")
    joined = [_JOINED.fullmatch(name) or _JOINED_FIRST.fullmatch(name) for name in names]
    if joined and all(joined):
        columns["index"] = [match["symbol"] for match in joined if match]
        columns.setdefault("gene_id", [match["id"] for match in joined if match])
        said.append(f"names of genes hold a symbol and an id, which are read apart (e.g. {names[0]!r})")
    return said


def _check_species(ids: Sequence[str], path: str | Path) -> None:
    prefixes = (re.match(r"ENS[A-Z]*?(?=G\d)", name) for name in ids if name)
    species = Counter(prefix[0] for prefix in prefixes if prefix)
    if len(species) > 1:
        found = ", ".join(f"{n} {prefix}G..." for prefix, n in species.most_common())
        do = "Keep the genes of one species, or pass --symbol COLUMN to go by symbols."
        raise GeneError(path, "var", "Ensembl ids of one species", found, do)


def _check_mixed(ids: list[str], symbols: list[str], gene_table, path: str | Path):
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
