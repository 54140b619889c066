"""Which targets of several files are one: by the genes that conversion linked them to, never by names alone.

A screen keeps the link of its targets in `uns["target_genes"]`. Two targets are one where they share a gene id, a symbol, or
a name (genes without case and punctuation; compounds without case). Ids that any of the files states count for all.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from vc_contracts.errors import few
from vc_contracts.text.ids import is_ensembl, strip_version
from vc_contracts.text.plain import compound_name, plain_gene

_SYMBOL = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-.][A-Za-z0-9]+)?", re.ASCII)


@dataclass(frozen=True)
class TargetTable:
    """Targets of one screen, its genes, and what is known of both."""

    names: frozenset[str]
    """Single targets."""
    links: Mapping[str, Mapping[str, Any]]
    """Target -> `gene_id`, `symbol`, `how`, and `labels` that it had in the source."""
    compounds: bool = False
    genes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Gene -> (id, symbol); '' where there is none."""

    @property
    def unlinked(self) -> list[str]:
        """Targets that are no gene that anything is known of; compounds are what their names say."""
        return [] if self.compounds else sorted(name for name in self.names if not self.links.get(name, {}).get("how"))

    @cached_property
    def ids(self) -> dict[str, set[str]]:
        """Plain name of a gene of the screen -> its ids."""
        found: dict[str, set[str]] = {}
        for name, (gene_id, symbol) in self.genes.items():
            for word in {plain_gene(name), plain_gene(symbol)} if gene_id else ():
                found.setdefault(word, set()).add(gene_id)
        return found

    @cached_property
    def words(self) -> frozenset[str]:
        """Everything that its genes and targets go by."""
        known = {token for name in self.names for token in tokens_of(name, self)}
        for name, (gene_id, symbol) in self.genes.items():
            known |= {f"name:{plain_gene(word)}" for word in (name, symbol) if word}
            known |= {f"id:{gene_id}"} if gene_id else set()
        return frozenset(known)

    @cached_property
    def _call(self) -> dict[str, set[str]]:
        """Any spelling -> what the screen calls it, in the order of certainty: `=` exact, then ids, symbols, spelling."""
        found: dict[str, set[str]] = {}
        for name in (*self.names, *self.genes):
            link = self.links.get(name, {})
            gene_id, symbol = self.genes.get(name, (str(link.get("gene_id", "")), str(link.get("symbol", ""))))
            keys = [f"={name}", *([f"id:{gene_id}"] if gene_id else []), *([f"={symbol}"] if symbol else [])]
            keys += [f"={label}" for label in link.get("labels", ())]
            keys += [f"~{_folded(word, self.compounds)}" for word in (name, symbol) if word]
            for key in keys:
                found.setdefault(key, set()).add(name)
        return found

    def call(self, name: str) -> str | None:
        """What the screen calls a target or gene; None where it knows no such one, or several.

        Args:
            name: As another file or a user spells it: the name, an id with or without version, a symbol, a label of the
                source, or any of these in another case or with other punctuation.
        """
        if name in self.names or name in self.genes:
            return name
        for key in (f"id:{strip_version(name)}", f"={compound_name(name)}", f"~{_folded(name, self.compounds)}"):
            found = self._call.get(key, set())
            if found:
                return next(iter(found)) if len(found) == 1 else None
        return None

    def gene_of(self, target: str) -> str | None:
        """The gene of the screen that a target is; None where it is none of them."""
        if target in self.genes:
            return target
        link = self.links.get(target, {})
        for key in (f"id:{strip_version(str(link.get('gene_id') or target))}", f"={link.get('symbol') or target}"):
            found = {name for name in self._call.get(key, ()) if name in self.genes}
            if len(found) == 1:
                return found.pop()
        return None

    def call_target(self, name: str, other: "TargetTable") -> str | None:
        """What this screen calls a target of another one, by any of the names and the id that the other links it to."""
        link = other.links.get(name, {})
        for word in (name, *(str(link.get(key, "")) for key in ("gene_id", "symbol")), *link.get("labels", ())):
            called = self.call(word) if word else None
            if called is not None:
                return called
        return None

    def to_text(self) -> str:
        """As JSON, for a file that outlives the screen."""
        genes = {name: list(pair) for name, pair in self.genes.items() if pair != ("", "")}
        content = {"names": sorted(self.names), "links": dict(self.links), "compounds": self.compounds, "genes": genes}
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> "TargetTable":
        """What `to_text` wrote; of an empty text, an empty table."""
        content = json.loads(text) if text else {"names": [], "links": {}, "compounds": False, "genes": {}}
        genes = {name: (pair[0], pair[1]) for name, pair in content["genes"].items()}
        return cls(frozenset(content["names"]), content["links"], content["compounds"], genes)


def read_targets(targets: Iterable[str], var: Any, record: Any) -> TargetTable:
    """Targets of a screen with the link that conversion stored.

    Args:
        targets: Joined by '+'.
        var: Genes of the screen, a data frame with `gene_id` and `symbol`, or None.
        record: `uns["target_genes"]`, JSON as text; without it, targets are the genes that they are called by.
    """
    names = frozenset(part for target in targets for part in target.split("+"))
    content = json.loads(record) if isinstance(record, str) and record else {}
    genes = {}
    if var is not None:
        columns = (var[key].astype(str) if key in var else [""] * len(var) for key in ("gene_id", "symbol"))
        genes = {str(name): pair for name, *pair in zip(var.index, *columns, strict=True)}
        genes = {name: (strip_version(pair[0]), pair[1]) for name, pair in genes.items()}
    if content.get("kind") == "compound":
        return TargetTable(names, {}, compounds=True, genes=genes)
    links = dict(content.get("targets", {}))
    if not content:
        for name, (gene_id, symbol) in genes.items():
            link = {"gene_id": gene_id, "symbol": symbol, "how": "symbol"}
            links |= {key: link for key in (name, gene_id, symbol) if key in names}
    return TargetTable(names, links, genes=genes)


def targets_of(screen: Any) -> TargetTable:
    """Targets of a screen (an AnnData, or anything with `obs`, `var` and `uns`)."""
    perturbed = screen.obs["target"].astype(str)
    if "is_control" in screen.obs:  # a table of effects holds no controls
        perturbed = perturbed[~screen.obs["is_control"].to_numpy()]
    # Recipes need no more of a screen than its cells.
    return read_targets(
        perturbed.unique(), getattr(screen, "var", None), getattr(screen, "uns", {}).get("target_genes")
    )


def target_keys(tables: Sequence[TargetTable]) -> list[dict[str, str]]:
    """Per screen: target -> a name that all screens share for it: a symbol before an id, the first in the alphabet."""
    parent: dict[str, str] = {}

    def root(token: str) -> str:
        while parent.setdefault(token, token) != token:
            token = parent[token]
        return token

    own: list[dict[str, str]] = []
    for table in tables:
        own.append({})
        for name in sorted(table.names):
            tokens = _with_ids(tokens_of(name, table), tables)
            own[-1][name] = tokens[0]
            for token in tokens[1:]:
                parent[root(token)] = root(tokens[0])
    shown: dict[str, str] = {}
    for names in own:
        for name, token in names.items():
            key = root(token)
            shown[key] = min(shown.get(key, name), name, key=lambda one: (is_ensembl(one), one))
    return [{name: shown[root(token)] for name, token in names.items()} for names in own]


def name_key(name: str) -> str:
    """What spellings of one gene or compound share, where nothing but the name is known.

    Ids lose their version, symbols their punctuation, other names (compounds) their case. Symbols keep their case: `MYC`, `Myc`
    and `myc` are genes of three species, as far as names tell.

    Examples:
        >>> name_key("HLA.A") == name_key("HLA-A"), name_key("ENSG00000141510.18"), name_key("(-)-JQ1") == name_key("(+)-JQ1")
        (True, 'ENSG00000141510', False)
    """
    if is_ensembl(name):
        return strip_version(name)
    return re.sub(r"[^0-9A-Za-z]+", "", name) if _form(name) else compound_name(name).casefold()


def match_names(names: Sequence[str], known: Sequence[str]) -> list[int]:
    """[n] Position of each name among known ones, -1 where it is none: the name itself, else the only one with its key."""
    exact = {name: at for at, name in enumerate(known)}
    at_key: dict[str, set[int]] = {}
    for at, name in enumerate(known):
        at_key.setdefault(name_key(name), set()).add(at)
    found = []
    for name in names:
        alike = at_key.get(name_key(name), set())
        found.append(exact[name] if name in exact else next(iter(alike)) if len(alike) == 1 else -1)
    return found


def unproven_of(table: TargetTable, others: Sequence[TargetTable] = ()) -> list[str]:
    """Targets of which nobody can say that no other name means the same gene.

    A target that is linked to a gene is settled. One that is not linked:

    - is settled beside other screens where each of them knows it, as a target or as a gene, by that very name or id;
    - is settled in a screen of its own where its name has the form of one gene's symbol or id, and the screen does not mix
      symbols with ids: within one file, one name is one gene.

    Args:
        table: The screen.
        others: The screens that it is compared with.
    """
    unlinked = table.unlinked
    if others:
        return [
            name
            for name in unlinked
            if not all(set(tokens_of(name, table)) & other.words for other in others if not other.compounds)
        ]
    forms = {_form(name) for name in table.names if _form(name)}
    return [name for name in unlinked if not _form(name) or len(forms) > 1]


def tell_unproven(tables: Sequence[TargetTable], names: Sequence[str]) -> list[str]:
    """Per screen with such targets, one sentence that its promise is not proven."""
    told = []
    for at, (name, table) in enumerate(zip(names, tables, strict=True)):
        found = unproven_of(table, [*tables[:at], *tables[at + 1 :]])
        if found:
            told.append(
                f"{name}: not proven for {len(found)} of {len(table.names)} targets, which are no known gene ({few(found, 3)})"
            )
    return told


def tokens_of(name: str, table: TargetTable) -> list[str]:
    """What a target goes by; its name first."""
    if table.compounds:
        return [f"name:{name.strip().casefold()}"]
    link = table.links.get(name, {})
    words = [plain_gene(name), *(plain_gene(str(link[key])) for key in ("symbol",) if link.get(key))]
    ids = [str(link["gene_id"])] if link.get("gene_id") else [strip_version(name)] if is_ensembl(name) else []
    return [*(f"name:{word}" for word in words), *(f"id:{strip_version(one)}" for one in ids)]


def _with_ids(tokens: list[str], tables: Sequence[TargetTable]) -> list[str]:
    """The tokens of a target and the one id that any screen states for its names."""
    if any(token.startswith("id:") for token in tokens):
        return tokens
    words = [token.removeprefix("name:") for token in tokens]
    ids = set().union(*(table.ids.get(word, set()) for table in tables if not table.compounds for word in words))
    return [*tokens, f"id:{ids.pop()}"] if len(ids) == 1 else tokens


def _form(name: str) -> str:
    if is_ensembl(name):
        return "id"
    return "symbol" if len(name) <= 16 and _SYMBOL.fullmatch(name) else ""


def _folded(name: str, compounds: bool) -> str:
    return compound_name(name).casefold() if compounds else plain_gene(name)
