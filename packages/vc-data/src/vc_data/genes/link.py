"""Targets of perturbations and the genes they are: linked once, at conversion, for everything that comes after.

Rules, in order; the first that gives exactly one gene of the file counts:

1. `id`: the Ensembl id, without version.
2. `symbol`: the symbol, or the gene's name in the screen; else
   `row`: the name of its row in the file, where rows have names of another kind (Entrez ids, ORFs of yeast).
3. `R`: the symbol as R's make.names rewrites it (`HLA.A`, `X7SK`), on either side.
4. `Excel`: a date that Excel made of a symbol (`7-Sep`), on either side (`1-Mar` is MARCH1 or MARC1, so none among genes).
5. `renamed`: the families that were renamed because of 4 (SEPT7 is SEPTIN7, MARCH1 is MARCHF1, MARC1 is MTARC1).
6. `alias`: one approved symbol by the alias table (previous symbols first).
7. `case`: the symbol in another case.

A target that no gene of the file answers to is still known where the alias table or the gene table names it.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vc_contracts.text.ids import is_ensembl, strip_version

from vc_data.genes.tables import read_aliases, read_gene_table

_MONTHS = {
    "mar": ("MARCH", "MARC"),
    "sep": ("SEPT",),
    "sept": ("SEPT",),
    "dec": ("DEC",),
    "oct": ("OCT",),
    "nov": ("NOV",),
}
_DATE = re.compile(
    r"(\d{1,2})[-/ .](mar|sept?|dec|oct|nov)[a-z]*|(mar|sept?|dec|oct|nov)[a-z]*[-/ .](\d{1,2})", re.IGNORECASE
)
_RENAMED = ((r"SEPT(\d+)", r"SEPTIN\1"), (r"MARCH(\d+)", r"MARCHF\1"), (r"MARC(\d)", r"MTARC\1"), (r"DEC1", "DELEC1"))


@dataclass(frozen=True)
class Link:
    """One target and its gene."""

    name: str
    """The gene's name in the screen; the approved symbol where the file does not measure it; the target's own name where
    nothing is known of it."""
    gene_id: str = ""
    symbol: str = ""
    how: str = ""
    """The rule; '' where nothing is known."""
    measured: bool = False
    """Whether it is a gene of the file."""


class GeneIndex:
    """Finds the gene that a name means; `name in index` asks whether there is one."""

    def __init__(
        self,
        names: Sequence[str],
        gene_ids: Sequence[str],
        symbols: Sequence[str],
        *,
        aliases: str | Path | None = None,
        gene_table: str | Path | None = None,
        rows: Sequence[str] = (),
    ):
        """Index genes.

        Args:
            names: [g] Name of each gene in the screen.
            gene_ids: [g] Ensembl id without version, or ''.
            symbols: [g] Symbol, or ''.
            aliases: Table as `read_aliases` takes it.
            gene_table: Table as `read_gene_table` takes it.
            rows: [g] Names of the file's rows, where they are neither of these.
        """
        self._names, self._ids, self._symbols = list(names), list(gene_ids), list(symbols)
        self._approved_of, self._approved = read_aliases(aliases) if aliases else ({}, set())
        self._symbols_of, self._ids_of = read_gene_table(gene_table) if gene_table else ({}, {})
        copies = _numbered_copies({*self._names, *self._symbols})
        own = [{name, symbol} - {"", *copies} for name, symbol in zip(self._names, self._symbols, strict=True)]
        self._rules: list[tuple[str, Callable[[str], Iterable[str]], dict[str, set[int]]]] = [
            ("id", lambda n: [strip_version(n)], _index([{i} - {""} for i in self._ids])),
            ("symbol", lambda n: [n], _index(own)),
            ("row", lambda n: [n], _index([{row} for row in rows])),
            ("R", lambda n: [r_name(n)], _index([{r_name(n) for n in names} for names in own])),
            ("Excel", dates_of, _index([set().union(*map(_date_of, names)) for names in own])),
            ("renamed", renamed, _index([set().union(*map(renamed, names)) for names in own])),
            ("alias", self._canonical, _index([set().union(*map(self._canonical, names)) for names in own])),
            ("case", lambda n: [n.casefold()], _index([{n.casefold() for n in names} for names in own])),
        ]
        self._known: dict[str, Link] = {}

    def __contains__(self, name: Any) -> bool:
        return bool(self.find(str(name)).how)

    def find(self, name: str) -> Link:
        """The gene that a name means."""
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> Link:
        for how, keys, index in self._rules:
            rows = sorted({row for key in keys(name) for row in index.get(key, ())})
            found = {self._names[row] for row in rows}
            if len(found) == 1:
                row = rows[0]
                return Link(self._names[row], self._ids[row], self._symbols[row], how, measured=True)
            if found and how in ("id", "symbol"):
                return Link(name)
        return self._find_unmeasured(name)

    def _find_unmeasured(self, name: str) -> Link:
        """A gene that the tables know although the file does not measure it."""
        names = self._symbols_of.get(strip_version(name), set()) if is_ensembl(name) else set()
        symbol = next(iter(names)) if len(names) == 1 else name
        if symbol in self._approved or len(self._approved_of.get(symbol, ())) == 1:
            (symbol,) = self._canonical(symbol)
        elif symbol not in self._ids_of:
            return Link(name)
        ids = self._ids_of.get(symbol, set())
        return Link(symbol, next(iter(ids)) if len(ids) == 1 else "", symbol, "table")

    def _canonical(self, name: str) -> list[str]:
        options = self._approved_of.get(name, set())
        return [next(iter(options)) if name not in self._approved and len(options) == 1 else name]


def _numbered_copies(names: set[str]) -> set[str]:
    """Names that a program numbered because they repeated (`TP53-1` beside `TP53`; R writes `TP53.1`): no names of genes."""
    found = set()
    for name in names:
        base, mark, number = name[:-2], name[-2:-1], name[-1:]
        if number == "1" and mark in ("-", ".") and base in names:
            found |= {copy for k in range(1, 100) if (copy := f"{base}{mark}{k}") in names}
    return found


def r_name(name: str) -> str:
    """A symbol as R's make.names writes it: `HLA-A` is `HLA.A`, `7SK` is `X7SK`."""
    dotted = re.sub(r"[^A-Za-z0-9._]", ".", name)
    return f"X{dotted}" if re.match(r"\d", dotted) else dotted


def dates_of(name: str) -> list[str]:
    """Symbols that Excel may have made a date of, or the symbol itself in its older and newer form; [] for others.

    Examples:
        >>> dates_of("1-Mar"), dates_of("SEPTIN7"), dates_of("TP53")
        (['MARCH1', 'MARC1'], ['SEPT7'], [])
    """
    match = _DATE.fullmatch(name)
    if match is not None:
        number, month = match[1] or match[4], match[2] or match[3]
        return [f"{family}{int(number)}" for family in _MONTHS[month.casefold()]]
    for old, new in _RENAMED:
        if re.fullmatch(old, name):
            return [name]
        pattern = new.replace(r"\1", r"(\d+)")
        match = re.fullmatch(pattern, name)
        if match is not None:
            return [re.sub(r"\(.*", "", old).replace("\\", "") + (match[1] if match.groups() else "")]
    return []


def _date_of(name: str) -> list[str]:
    """As `dates_of`, without dates that two families share: nobody can say whether `1-Mar` is MARCH1 or MARC1."""
    found = dates_of(name)
    return found if len(found) == 1 else []


def is_date(name: str) -> bool:
    """Whether a name of a gene is a date that Excel made."""
    return _DATE.fullmatch(name) is not None


def renamed(name: str) -> list[str]:
    """The newer name of a symbol of the renamed families, also for the newer name itself; [] for others."""
    for old, new in _RENAMED:
        if re.fullmatch(old, name):
            return [re.sub(old, new, name)]
        if re.fullmatch(new.replace(r"\1", r"\d+"), name):
            return [name]
    return []


def _index(keys: Sequence[set[str]]) -> dict[str, set[int]]:
    rows: dict[str, set[int]] = {}
    for row, names in enumerate(keys):
        for name in names:
            rows.setdefault(name, set()).add(row)
    return rows
