"""Targets of a screen: linked to genes once, here; what comes after compares these names and nothing else.

A target that a gene of the file answers to (`genes.link`) takes that gene's name in the screen, so that labels `ENSG...`,
`Tp53` and `sgTP53-1` are one target. The link is kept in `uns["target_genes"]`.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from vc_data.convert.notes import Notes, ask, say
from vc_data.errors import few
from vc_data.genes.link import GeneIndex, Link, is_date
from vc_data.text.controls import CONTROL

_DOSED = re.compile(
    r"(?:[\s_@(-]|, )\d+([.,]\d+)?[', ]*(?:[fpnum\u00b5\u03bc]M|hr?s?|hours?|days?)['\])]*$", re.IGNORECASE
)
"""Ends in a number with a molar unit or hours."""
_NUMBERED = re.compile(r"(.+[_@ ])\d+(?:[.,]\d+)?")


@dataclass(frozen=True)
class Targets:
    """Targets of all labels."""

    target_of: dict[str, str]
    """Label -> targets joined by '+' in sorted order, `control`, or '' for none."""
    record: dict
    """As `uns["target_genes"]` holds it, JSON: `kind` (gene or compound), `targets` (name -> gene_id, symbol, how,
    measured, and the labels it came from where they differ)."""


def link_targets(named: Mapping[str, str], index: GeneIndex, *, compounds: bool) -> tuple[Targets, Notes]:
    """Link the targets that labels name.

    Args:
        named: Label -> targets joined by '+', `control`, or ''.
        index: Genes of the file.
        compounds: Targets are compounds: they keep their names.
    """
    parts = sorted({part for target in named.values() if target not in ("", CONTROL) for part in target.split("+")})
    if compounds:
        record = {"kind": "compound", "targets": {}}
        return Targets(dict(named), record), _ask_same_compounds(parts)
    links = {part: index.find(part) for part in parts}
    name_of = {part: link.name.replace("+", "plus") for part, link in links.items()}
    notes = _join_spellings(name_of, links)
    target_of = {}
    for label, target in named.items():
        joined = target if target in ("", CONTROL) else "+".join(sorted({name_of[part] for part in target.split("+")}))
        target_of[label] = joined
    return Targets(target_of, {"kind": "gene", "targets": _record(name_of, links)}), notes + _tell(name_of, links)


def _record(name_of: Mapping[str, str], links: Mapping[str, Link]) -> dict[str, dict]:
    record: dict[str, dict] = {}
    for part, name in name_of.items():
        link = links[part]
        known = record.setdefault(
            name, {"gene_id": link.gene_id, "symbol": link.symbol, "how": link.how, "measured": link.measured}
        )
        if part != name:
            known.setdefault("labels", []).append(part)
    return record


def _join_spellings(name_of: dict[str, str], links: Mapping[str, Link]) -> Notes:
    """Targets that no gene answers to and that differ only in case become one; changes `name_of`."""
    groups: dict[str, list[str]] = {}
    for part, name in name_of.items():
        if not links[part].how:
            groups.setdefault(name.casefold(), []).append(part)
    several = {parts[0]: parts for parts in groups.values() if len(parts) > 1}
    for first, parts in several.items():
        name_of |= dict.fromkeys(parts, first)
    if not several:
        return Notes()
    first, parts = next(iter(several.items()))
    return say(f"targets that differ only in case became one: {len(several)} (e.g. {few(parts, 3)} are {first!r})")


def _ask_same_compounds(parts: list[str]) -> Notes:
    folded: dict[str, list[str]] = {}
    for part in parts:
        folded.setdefault(" ".join(part.casefold().split()), []).append(part)
    several = [names for names in folded.values() if len(names) > 1]
    stems = Counter(match[1] for part in parts if (match := _NUMBERED.fullmatch(part)))
    numbered = {stem for stem, n in stems.items() if n > 1}
    dosed = [
        part for part in parts
        if _DOSED.search(part) or ((match := _NUMBERED.fullmatch(part)) and (match[1] in numbered or match[1].endswith("@")))
    ]  # fmt: skip
    notes = Notes()
    if several:
        notes += ask(
            f"compounds that differ only in case or blanks stay apart: {few(several[0])}. Mend the file if they are one"
        )
    if dosed:
        notes += ask(
            f"names that hold a dose or a time stay whole: {few(dosed)}. Give name and dose a column each, and --dose, if they do"
        )
    return notes


def _tell(name_of: Mapping[str, str], links: Mapping[str, Link]) -> Notes:
    names = {name_of[part]: link for part, link in links.items()}
    measured = sum(link.measured for link in names.values())
    statements = [f"{measured} of {len(names)} targets are measured genes"]
    elsewhere = sum(bool(link.how) and not link.measured for link in names.values())
    if elsewhere:
        statements.append(f"targets that are genes by the tables, but not measured: {elsewhere}")
    unknown = sorted(name for name, link in names.items() if not link.how)
    if unknown:
        statements.append(
            f"targets that are no gene of the file: {len(unknown)} ({few(unknown, 3)}); --aliases TABLE and --gene-table TABLE"
            " name genes that are not measured"
        )
    changed = {part: name for part, name in name_of.items() if part != name and links[part].how}
    if changed:
        part, name = next(iter(changed.items()))
        rules = ", ".join(sorted({links[part].how for part in changed}))
        statements.append(f"targets took the gene's name: {len(changed)} ({part!r} is {name!r}), by {rules}")
    notes = say(*statements)
    dates = [name for name in unknown if is_date(name) or re.fullmatch(r"\d{4}-\d\d-\d\d(?: 00:00:00)?", name)]
    if dates:
        notes += ask(
            f"targets that Excel made dates of are no known gene: {few(dates)}. Restore them in the file, or --drop"
        )
    if len(unknown) == len(names) >= 3:
        notes += ask(
            "no target is a gene of the file; --gene-table TABLE or --symbol COLUMN, if genes go by other names there"
        )
    return notes
