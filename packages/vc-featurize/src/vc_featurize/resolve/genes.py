"""Gene symbol, alias or id to one canonical protein of a FASTA file.

The isoform rule: of several records of one gene, the one whose UniProt accession names no isoform (no `-2`) comes first,
then a reviewed one (`sp|`), then the longest, then the one whose id sorts first. Symbols as written win over aliases; an
alias of two genes is not resolved.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from vc_featurize.protein.sequences import read_fasta
from vc_featurize.resolve.coverage import Found
from vc_featurize.text import read_lines

GENE_NAME = re.compile(r"\bGN=(\S+)|\bgene_symbol:(\S+)|\bgene=(\S+)")
VERSION = re.compile(r"^(ENS[A-Z]*[GTP]\d{11})\.\d+$")


def fasta_names(header: str) -> list[str]:
    """Names a record goes by: its gene name first, then every part of its id, versions taken off."""
    gene = GENE_NAME.search(header)
    first = [next(filter(None, gene.groups()))] if gene else []
    parts = [part for part in re.split(r"[|\s]", header.split(" ")[0]) if part not in ("sp", "tr", "")]
    return list(dict.fromkeys([*first, *(VERSION.sub(r"\1", part) for part in parts)]))


def read_aliases(path: str | Path, alias: str, symbol: str) -> dict[str, str]:
    """Alias -> symbol of a table; an alias of several symbols is left out."""
    rows = csv.DictReader(read_lines(path, "a table of aliases"), delimiter="\t")
    seen: dict[str, set[str]] = {}
    for row in rows:
        for target in (row.get(symbol) or "").split(" /// "):
            if row.get(alias) and target:
                seen.setdefault(row[alias], set()).add(target)
    return {name: next(iter(targets)) for name, targets in seen.items() if len(targets) == 1}


def resolve_proteins(
    names: Sequence[str], fasta: str | Path, aliases: Mapping[str, str] | None = None
) -> dict[str, Found]:
    """The canonical protein of each name, or why there is none.

    Raises:
        InputError: If the FASTA file cannot be read.
    """
    by_name: dict[str, list[tuple[str, str]]] = {}
    for header, sequence in read_fasta(fasta).items():
        for name in fasta_names(header):
            by_name.setdefault(name, []).append((header, sequence))
    upper = {name.upper(): name for name in by_name}

    def lookup(name: str) -> Found:
        bare = VERSION.sub(r"\1", name.strip())
        tried = [(bare, "exact"), ((aliases or {}).get(bare, ""), "alias"), (upper.get(bare.upper(), ""), "case")]
        for candidate, how in tried:
            if candidate in by_name:
                header, sequence = min(by_name[candidate], key=_isoform_order)
                return Found(sequence, header.split(" ")[0], how)
        return Found(None, "", "no protein of this name")

    return {name: lookup(name) for name in names}


def _isoform_order(record: tuple[str, str]) -> tuple[bool, bool, int, str]:
    header, sequence = record
    identifier = header.split(" ")[0]
    return bool(re.search(r"\|[A-Z0-9]+-\d+\|", identifier)), not identifier.startswith("sp|"), -len(sequence), header
