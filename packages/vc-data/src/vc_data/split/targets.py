"""Which targets of several screens are one: by the genes that conversion linked them to, never by names alone.

Two targets are one where they share a gene id, a symbol, or a name (genes without case and punctuation; compounds without
case). Where a target is no gene that anything is known of, two names of one gene would not be noticed: such a target is not
proven.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vc_data.errors import few
from vc_data.text.plain import plain_gene


@dataclass(frozen=True)
class TargetTable:
    """Targets of one screen and what is known of them."""

    names: frozenset[str]
    """Single targets."""
    links: Mapping[str, Mapping[str, Any]]
    """Target -> `gene_id`, `symbol`, `how`."""
    compounds: bool = False

    @property
    def unproven(self) -> list[str]:
        """Targets that are no gene that anything is known of; compounds are what their names say."""
        return [] if self.compounds else sorted(name for name in self.names if not self.links.get(name, {}).get("how"))


def targets_of(screen: Any) -> TargetTable:
    """Targets of a screen (an AnnData); of one without `uns["target_genes"]`, those that its genes are called by."""
    perturbed = screen.obs["target"].astype(str)
    if "is_control" in screen.obs:
        perturbed = perturbed[~screen.obs["is_control"].to_numpy()]
    # Recipes need no more of a screen than its cells.
    return read_targets(
        perturbed.unique(), getattr(screen, "var", None), getattr(screen, "uns", {}).get("target_genes")
    )


def read_targets(targets: Iterable[str], var: Any, record: Any) -> TargetTable:
    """As `targets_of`.

    Args:
        targets: Joined by '+'.
        var: Genes of the screen, a data frame, or None.
        record: `uns["target_genes"]`, JSON as text, or None.
    """
    names = frozenset(part for target in targets for part in target.split("+"))
    content = json.loads(record) if isinstance(record, str) else {}
    if content.get("kind") == "compound":
        return TargetTable(names, {}, compounds=True)
    links = dict(content.get("targets", {}))
    if not content and var is not None:
        ids, symbols = (var[key] if key in var else [""] * len(var) for key in ("gene_id", "symbol"))
        for name, gene_id, symbol in zip(var.index.astype(str), ids, symbols, strict=True):
            link = {"gene_id": str(gene_id), "symbol": str(symbol), "how": "symbol"}
            links |= {key: link for key in (name, str(gene_id), str(symbol)) if key in names}
    return TargetTable(names, links)


def target_keys(tables: Sequence[TargetTable]) -> list[dict[str, str]]:
    """Per screen: target -> a name that all screens share for it, the first in the alphabet of those it has."""
    parent: dict[str, str] = {}

    def root(token: str) -> str:
        while parent.setdefault(token, token) != token:
            token = parent[token]
        return token

    own: list[dict[str, str]] = []
    for table in tables:
        own.append({})
        for name in sorted(table.names):
            tokens = _tokens(name, table)
            own[-1][name] = tokens[0]
            for token in tokens[1:]:
                parent[root(token)] = root(tokens[0])
    shown: dict[str, str] = {}
    for names in own:
        for name, token in names.items():
            key = root(token)
            shown[key] = min(shown.get(key, name), name)
    return [{name: shown[root(token)] for name, token in names.items()} for names in own]


def tell_unproven(tables: Sequence[TargetTable], names: Sequence[str]) -> list[str]:
    """Per screen with such targets, one sentence that its promise is not proven."""
    return [
        f"{name}: not proven for {len(table.unproven)} of {len(table.names)} targets, which are no known gene "
        f"({few(table.unproven, 3)})"
        for name, table in zip(names, tables, strict=True)
        if table.unproven
    ]


def _tokens(name: str, table: TargetTable) -> list[str]:
    """What a target goes by; its name first."""
    if table.compounds:
        return [f"name:{name.strip().casefold()}"]
    link = table.links.get(name, {})
    words = [plain_gene(name), *(plain_gene(str(link[key])) for key in ("symbol",) if link.get(key))]
    return [*(f"name:{word}" for word in words), *([f"id:{link['gene_id']}"] if link.get("gene_id") else [])]
