"""What the labels of a foreign file mean: no label, controls, guides, combinations, names."""

import re
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vc_contracts.text.plain import clean

from vc_data.errors import ColumnError, ControlError, few
from vc_data.text.combos import SEPARATORS, STRONG, glued, half_known, looks_joined, split_at, split_at_plus
from vc_data.text.controls import CONTROL, is_control_name, resembles_control
from vc_data.text.guides import candidates, gene_of_guide, sisters
from vc_data.text.values import is_no_call, is_no_label, is_nothing

GuideRule = Literal["auto", "collapse", "keep"]


@dataclass(frozen=True)
class Labels:
    """Meaning of every label of a file."""

    target_of: dict[str, str]
    """Source label -> targets joined by '+' in sorted order, 'control', or '' for none."""
    guides: frozenset[str] = frozenset()
    """Labels that named guides."""
    statements: tuple[str, ...] = ()
    """What was changed, for people."""
    questions: tuple[str, ...] = ()
    """What may mean something else, with the flag that says so."""


def read_labels(
    labels: Iterable[str],
    controls: Iterable[str],
    *,
    known: Container[str] = frozenset(),
    separator: str = "auto",
    guides: GuideRule = "auto",
    compounds: bool = False,
    where: str | Path = "labels",
) -> Labels:
    """Turn the labels of a file into targets.

    Rules, in order. A label is: a control where the rule for controls says so; nothing, where it is a word for no label; one
    name, where it is a known gene; a guide of a known gene (`sgTP53-1`), with `guides` not 'keep'; several names, where '+'
    joins them, or another separator joins names that are all known; else one name. Parts that name controls or nothing
    vanish (`ctrl+A` is `A`); parts are sorted and unique. Names of compounds are split only between labels that the file
    itself has.

    Args:
        labels: Distinct labels of the file.
        controls: Those that mark control cells.
        known: Names of genes.
        separator: `auto`, `none`, or the separator itself.
        guides: Whether guides become their gene: where the gene is known (auto), wherever a name ends in a number
            (collapse), or never (keep).
        compounds: The labels name compounds.
        where: File and column, for messages.

    Raises:
        ControlError: A label `control` that the rule for controls leaves out.
        ColumnError: Labels that look joined, or like sister guides, of which only some parts are known.
    """
    text_of = {label: clean(label) for label in labels}
    marks = {clean(label) for label in controls}
    reader = _Reader(list(dict.fromkeys(text_of.values())), marks, known, separator, guides, compounds, where)
    meaning = reader.read()
    statements = meaning.statements
    trimmed = [label for label, text in text_of.items() if label != text and text]
    if trimmed:
        statements = (f"labels with blanks around them, trimmed: {len(trimmed)} (e.g. {trimmed[0]!r})", *statements)
    target_of = {label: meaning.target_of[text] for label, text in text_of.items()}
    guided = frozenset(label for label, text in text_of.items() if text in meaning.guides)
    return Labels(target_of, guided, statements, meaning.questions)


class _Reader:
    """One reading of the labels of a file."""

    def __init__(
        self,
        labels: list[str],
        controls: set[str],
        known: Container[str],
        separator: str,
        guides: GuideRule,
        compounds: bool,
        where: str | Path,
    ):
        self.labels, self.controls, self.genes = labels, controls, known
        self.separator, self.guides, self.compounds, self.where = separator, guides, compounds, where
        self.own = set(labels) - controls
        self.parts: dict[str, list[str]] = {}
        """Label -> its names, for labels that are neither controls nor nothing."""
        self.split: dict[str, str] = {}
        """Label -> the separator at which it was split."""
        self.style: dict[str, str] = {}
        """Label -> the style of guide that it was."""

    def read(self) -> Labels:
        """Apply the rules."""
        nothing = {label for label in self.labels if label not in self.controls and self._is_nothing(label)}
        rest = [label for label in self.labels if label not in self.controls and label not in nothing]
        self._refuse_second_control(rest)
        for label in rest:
            self.parts[label] = self._parts(label)
        if self.separator == "auto" and not self.compounds:
            self._collapse_by_style(rest)
            self._refuse_half_known(rest)
            self._refuse_sisters(rest)
            self._refuse_genes_inside(rest)
        target_of = dict.fromkeys(self.controls & set(self.labels), CONTROL) | dict.fromkeys(nothing, "")
        target_of |= {label: self._target(label) for label in rest}
        self._refuse_collisions(rest, target_of)
        return Labels(target_of, frozenset(self.style), self._statements(target_of), self._questions(rest))

    def _is_nothing(self, label: str) -> bool:
        return is_no_label(label) and label not in self.genes

    def _refuse_second_control(self, rest: list[str]) -> None:
        second = [label for label in rest if label.casefold() == CONTROL]
        if second:
            do = f"Pass --control with it too, or --drop {second[0]!r} to leave its cells out."
            found = f"{few(second)} beside {few(sorted(self.controls))}"
            raise ControlError(self.where, "labels", "no label 'control' that is not a control", found, do)

    def _known(self, name: str) -> bool:
        return self._gene(name) or (name in self.own and not self._is_joined_guide(name)) or is_control_name(name)

    def _is_joined_guide(self, name: str) -> bool:
        """A label of the file that is itself several names is no evidence for a name."""
        return any(separator in name for separator in ("+", "|", ";", "&"))

    def _gene(self, name: str) -> bool:
        return name in self.genes or (self.guides != "keep" and gene_of_guide(name, self.genes) is not None)

    def _parts(self, label: str) -> list[str]:
        """Names that a label joins; one, where it joins none."""
        if self.separator == "none":
            return [label]
        if self.separator != "auto":
            parts = [part.strip() for part in label.split(self.separator)]
            if len(parts) > 1:
                self.split[label] = self.separator
            return parts
        if label in self.genes:
            return [label]
        if self.compounds:
            return self._split_compounds(label)
        if self.guides != "keep" and gene_of_guide(label, self.genes):
            return [label]
        parts = split_at_plus(label, self._known)
        if parts is not None:
            return parts
        for separator in SEPARATORS:
            parts = split_at(label, separator, lambda name: self._known(name) or is_nothing(name))
            if parts is not None and (separator in STRONG or any(map(self._gene, parts))):
                self.split[label] = separator
                return parts
        return [label]

    def _split_compounds(self, label: str) -> list[str]:
        for separator in ("+", *SEPARATORS[:5]):
            parts = split_at(label, separator, lambda name: name in self.own or is_control_name(name))
            if parts is not None:
                self.split[label] = separator
                return parts
        return [label]

    def _name(self, label: str, part: str) -> str:
        """The target that a part names: the gene of a guide, else the part."""
        if self.compounds or self.guides == "keep" or self.separator == "none":
            return part
        guide = gene_of_guide(part, self.genes)
        if guide is None and self.guides == "collapse" and part not in self.genes:
            guide = next(((gene, style) for style, gene in candidates(part) if style != "sgGENE"), None)
        if guide is None:
            return part
        self.style[label] = guide[1]
        return guide[0]

    def _target(self, label: str) -> str:
        parts = [part for part in self.parts[label] if part in self.genes or not (is_nothing(part) or is_no_call(part))]
        if not parts:
            return ""
        names = {self._name(label, part).replace("+", "plus") for part in parts}
        names = {name for name in names if name not in self.controls and not (len(parts) > 1 and is_control_name(name))}
        if names or any(part in self.controls for part in parts):
            return "+".join(sorted(names)) or CONTROL
        # Several names of controls, none of which the rule for controls names: a perturbation of its own.
        return label.replace("+", "plus")

    def _collapse_by_style(self, rest: list[str]) -> None:
        """Where most labels of one style name guides of known genes, the others of that style do, too."""
        if self.guides == "keep":
            return
        known, all_of = Counter(), Counter()
        for label in rest:
            if len(self.parts[label]) == 1 and label not in self.genes:
                guide = gene_of_guide(label, self.genes)
                if guide:
                    known[guide[1]] += 1
                for style, _ in candidates(label)[:1]:
                    all_of[style] += 1
        styles = {style for style, n in known.items() if n >= 3 and 2 * n >= all_of[style] and style != "sgGENE"}
        for label in rest:
            if len(self.parts[label]) == 1 and label not in self.genes and not gene_of_guide(label, self.genes):
                gene = next((gene for style, gene in candidates(label) if style in styles), None)
                if gene is not None and label not in self.split:
                    self.parts[label], self.style[label] = [gene], "the style of the others"

    def _refuse_half_known(self, rest: list[str]) -> None:
        used = Counter(self.split.values())
        whole = [
            label for label in rest
            if len(self.parts[label]) == 1 and label not in self.style and not self._gene(label)
        ]  # fmt: skip
        for separator in SEPARATORS:
            if separator not in STRONG and not used[separator]:
                continue
            near = [
                label for label in whole
                if half_known(label, separator, self._known) or (used[separator] and looks_joined(label, separator))
            ]  # fmt: skip
            if near:
                do = (
                    f"Pass --combo-separator {separator!r} to split all labels there, or --combo-separator + to leave these"
                    " whole."
                )
                found = f"{len(near)} of which only some parts are known genes ({few(near, 3)})"
                raise ColumnError(self.where, "labels", f"pairs of known genes around {separator!r}", found, do)

    def _refuse_sisters(self, rest: list[str]) -> None:
        if self.guides != "auto":
            return
        single = [
            label for label in rest
            if len(self.parts[label]) == 1 and label not in self.style and not self._gene(label)
        ]  # fmt: skip
        groups = sisters(single) | self._sisters_of_genes(single)
        if len(groups) > 1 and 2 * sum(map(len, groups.values())) >= len(rest):
            gene, members = next(iter(groups.items()))
            found = f"{len(groups)} groups that differ only by what stands at the end, e.g. {few(members, 3)}"
            do = f"Pass --guide-labels collapse if they are guides of one target ({gene}), or --guide-labels keep."
            raise ColumnError(self.where, "labels", "targets, not guides", found, do)

    def _sisters_of_genes(self, labels: list[str]) -> dict[str, list[str]]:
        """Known gene -> labels that add different words to it behind a '-' (`TP53-A`, `TP53-B`), two or more."""
        groups: dict[str, list[str]] = {}
        for label in labels:
            gene, dash, _ = label.rpartition("-")
            if dash and gene in self.genes:
                groups.setdefault(gene, []).append(label)
        return {gene: members for gene, members in groups.items() if len(members) > 1}

    def _refuse_genes_inside(self, rest: list[str]) -> None:
        """A gene's name beside other words in a label that no rule reads: a pair, a guide, or something else?"""
        if self.guides == "keep":
            return
        near = [
            label for label in rest
            if len(self.parts[label]) == 1 and label not in self.style and not self._gene(label) and self._gene_inside(label)
        ]  # fmt: skip
        if near:
            found = f"{len(near)} that hold one beside other words ({few(near, 3)})"
            do = "Pass --combo-separator SEP if it joins genes there, --combo-separator + to leave them whole, or --mode-name drug."
            raise ColumnError(self.where, "labels", "names of genes alone or joined", found, do)

    def _gene_inside(self, label: str) -> bool:
        words = [word for word in re.split(r"[^A-Za-z0-9-]+|--+", label) if word]
        # Only names in capitals: small letters say nothing beside a name that has some itself.
        if glued(label, lambda name: name.isupper() and name in self.genes):
            return True
        return words != [label] and any(len(word) > 2 and word[0].isupper() and word in self.genes for word in words)

    def _refuse_collisions(self, rest: list[str], target_of: dict[str, str]) -> None:
        named: dict[str, set[str]] = {}
        for label in rest:
            if "plus" in target_of[label]:
                named.setdefault(target_of[label], set()).add(label)
        for target, texts in named.items():
            if len(texts) > 1 and len({text.replace("+", "") for text in texts}) > 1:
                do = "Rename one of them in the file."
                raise ColumnError(self.where, "labels", f"one name for {target!r}", few(sorted(texts)), do)

    def _statements(self, target_of: dict[str, str]) -> tuple[str, ...]:
        said = []
        if self.style:
            label = next(iter(self.style))
            said.append(
                f"labels that name guides became their gene: {len(self.style)} ({label!r} is {target_of[label]!r})"
            )
        n_combos = sum("+" in target for target in set(target_of.values()))
        if n_combos:
            said.append(f"combinations: {n_combos}, targets joined by '+' in sorted order")
        for separator, n in Counter(self.split.values()).items():
            label = next(label for label, used in self.split.items() if used == separator)
            said.append(f"labels split at {separator!r}: {n} (e.g. {label!r})")
        blank = [
            label for label, parts in self.parts.items()
            if len(parts) > 1 and target_of[label] and any(is_nothing(p) or is_no_call(p) for p in parts if p not in self.genes)
        ]  # fmt: skip
        if blank:
            said.append(
                f"parts that name no perturbation left out: {len(blank)} ({blank[0]!r} is {target_of[blank[0]]!r})"
            )
        renamed = [label for label, parts in self.parts.items() if any("+" in part for part in parts)]
        renamed = [label for label in renamed if label not in self.style]
        if renamed:
            said.append(f"'+' in names became 'plus': {len(renamed)} (e.g. {renamed[0]!r})")
        return tuple(said)

    def _questions(self, rest: list[str]) -> tuple[str, ...]:
        suspects = [
            label for label in rest if resembles_control(label) and label not in self.genes
        ]  # fmt: skip
        shown = few(suspects)
        asked = [f"labels that resemble controls are perturbations of their own: {shown}. --control or --drop, if not"]
        numbers = [label for label in rest if re.fullmatch(r"\d+(\.0)?", label) and label not in self.genes]
        if numbers:
            asked.append(f"labels that are bare numbers are perturbations of their own: {few(numbers)}. --drop, if not")
        return tuple(asked[0 if suspects else 1 :])
