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

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from vc_contracts.text.ids import is_ensembl, strip_version

from vc_data.errors import GeneError, few
from vc_data.genes.tables import read_aliases, read_gene_table

RULES = {
    "name": "id (without version), else symbol, equals the panel's name",
    "table": "id and symbol translated by the gene table",
    "alias": "one approved symbol by the alias table, only if the name is no approved symbol itself",
    "many-to-one": "counts summed",
    "one-to-many": "dropped as ambiguous",
    "not measured": "zero-filled, measured = false",
}


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
