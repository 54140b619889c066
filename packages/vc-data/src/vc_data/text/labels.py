"""What the labels of a foreign file mean: no label, controls, guides, combinations, names."""

import re
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vc_contracts.text.plain import clean

from vc_data.errors import ColumnError, ControlError, few
from vc_data.text.combos import (
    SEPARATORS,
    STRONG,
    glued,
    half_joined,
    half_known,
    looks_joined,
    split_at,
    split_at_plus,
)
from vc_data.text.controls import CONTROL, control_rank, joined_parts, resembles_control
from vc_data.text.guides import candidates, gene_of_guide, method_of, sisters, worded_sisters
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
        statements = (
            f"labels with blanks around them or signs of word processors, tidied: {len(trimmed)} (e.g. {trimmed[0]!r})",
            *statements,
        )
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
        # Labels of controls, and the names that such a label joins.
        self.marks = controls | {part for label in controls for part in joined_parts(label) if resembles_control(part)}
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
        if self.separator == "auto" and self.compounds:
            self._refuse_half_known_compounds(rest)
        if self.separator == "auto" and not self.compounds:
            self._collapse_by_style(rest)
            self._refuse_half_known(rest)
            self._refuse_sisters(rest)
            self._refuse_genes_inside(rest)
            self._refuse_methods(rest)
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
        return self._gene(name) or (name in self.own and not self._is_joined_guide(name)) or control_rank(name) > 0

    def _is_control(self, part: str) -> bool:
        return part in self.marks or (control_rank(part) > 0 and part not in self.genes)

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
            parts = split_at(label, separator, lambda name: name in self.own or control_rank(name) > 0)
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
        if guide is not None:
            self.style[label] = guide[1]
        return guide[0] if guide else part

    def _target(self, label: str) -> str:
        parts = [part for part in self.parts[label] if part in self.genes or not (is_nothing(part) or is_no_call(part))]
        if not parts:
            return ""
        names = {self._name(label, part).replace("+", "plus") for part in parts}
        names = {name for name in names if name not in self.marks and not (len(parts) > 1 and self._is_control(name))}
        if names or any(part in self.marks for part in parts):
            return "+".join(sorted(names)) or CONTROL
        # Several names of controls, none of which the rule for controls names: a perturbation of its own.
        return label.replace("+", "plus")

    def _collapse_by_style(self, rest: list[str]) -> None:
        """Where most labels of one style name guides of known genes, the others of that style do, too."""
        if self.guides == "keep":
            return
        known, all_of = Counter(), Counter()
        for part in [part for label in rest for part in self.parts[label] if part not in self.genes]:
            guide = gene_of_guide(part, self.genes)
            if guide:
                known[guide[1]] += 1
            for style, _ in candidates(part)[:1]:
                all_of[style] += 1
        styles = {style for style, n in known.items() if n >= 3 and 2 * n >= all_of[style] and style != "sgGENE"}
        for label in rest:
            if len(self.parts[label]) == 1 and label not in self.genes and not gene_of_guide(label, self.genes):
                gene = next((gene for style, gene in candidates(label) if style in styles), None)
                if label in self.split or self._collapse_joined(label, styles):
                    continue
                if gene is not None:
                    self.parts[label], self.style[label] = [gene], "the style of the others"

    def _collapse_joined(self, label: str, styles: set[str]) -> bool:
        """As in `_collapse_by_style`, for a label that joins such guides as other labels do."""
        for separator in set(self.split.values()):
            pieces = [piece.strip() for piece in label.split(separator)]
            genes = [next((gene for style, gene in candidates(piece) if style in styles), None) for piece in pieces]
            if len(pieces) > 1 and all(genes):
                self.parts[label], self.split[label] = [gene for gene in genes if gene], separator
                self.style[label] = "the style of the others"
                return True
        return False

    def _refuse_half_known(self, rest: list[str]) -> None:
        used = Counter(self.split[label] for label in self.split if any(map(self._gene, self.parts[label])))
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

    def _refuse_half_known_compounds(self, rest: list[str]) -> None:
        near = [label for label in rest if len(self.parts[label]) == 1 and half_joined(label, self.own)]
        if near:
            do = "Pass --combo-separator + to split them, or --combo-separator none to leave them whole."
            found = f"{len(near)} of which only some parts are labels of the file ({few(near, 3)})"
            raise ColumnError(self.where, "labels", "pairs of compounds around ' + '", found, do)

    def _refuse_sisters(self, rest: list[str]) -> None:
        if self.guides != "auto":
            return
        single = [
            label for label in rest
            if len(self.parts[label]) == 1 and label not in self.style and not self._gene(label)
        ]  # fmt: skip
        groups = sisters(single) | worded_sisters(single, self.genes)
        if len(groups) > 1 and 2 * sum(map(len, groups.values())) >= len(rest):
            gene, members = next(iter(groups.items()))
            found = f"{len(groups)} groups that differ only by what stands at the end, e.g. {few(members, 3)}"
            do = f"Pass --guide-labels collapse if they are guides of one target ({gene}), or --guide-labels keep."
            raise ColumnError(self.where, "labels", "targets, not guides", found, do)

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
            do = "Pass --combo-separator SEP if it joins genes there, --combo-separator + to leave them whole, --drop LABEL to leave their cells out, or --mode-name drug."
            raise ColumnError(self.where, "labels", "names of genes alone or joined", found, do)

    def _refuse_methods(self, rest: list[str]) -> None:
        """`TP53 KO` and `TP53 OE` are one gene, but not one perturbation."""
        if self.guides == "keep":
            return
        guides = {label: gene_of_guide(label, self.genes) for label in rest}
        words = Counter(method_of(label).upper() for label, guide in guides.items() if guide and guide[1] == "GENE KO")
        if len(words) > 1:
            do = "Give the kind a column of its own and pass --mode with it, convert the kinds apart, or pass --guide-labels keep."
            raise ColumnError(self.where, "labels", "one kind of perturbation", f"several: {few(sorted(words))}", do)

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
        single = [
            label for label, parts in self.parts.items()
            if "+" not in target_of[label] and target_of[label] != CONTROL and any(map(self._is_control, parts)) and len(parts) > 1
        ]  # fmt: skip
        if single:
            said.append(f"parts that name controls left out: {len(single)} ({single[0]!r} is {target_of[single[0]]!r})")
        renamed = [label for label, parts in self.parts.items() if any("+" in part for part in parts)]
        renamed = [label for label in renamed if label not in self.style]
        if renamed:
            said.append(f"'+' in names became 'plus': {len(renamed)} (e.g. {renamed[0]!r})")
        return tuple(said)

    def _questions(self, rest: list[str]) -> tuple[str, ...]:
        suspects = [
            label for label in rest
            if label not in self.genes and (resembles_control(label) or [*map(self._resembles, self.parts[label])] == [True])
        ]  # fmt: skip
        shown = few(suspects)
        asked = [f"labels that resemble controls are perturbations of their own: {shown}. --control or --drop, if not"]
        beside = sorted(
            {
                part
                for label in rest
                for part in self.parts[label]
                if len(self.parts[label]) > 1 and self._resembles(part)
            }
        )
        if beside:
            asked.append(f"parts of combinations that resemble controls are targets: {few(beside)}. --control, if not")
        behind = [
            label for label in rest
            if not self.compounds and len(self.parts[label]) == 1 and label not in self.style and not self._gene(label)
            and any(len(word) > 2 and word.isupper() and word in self.genes for word in label.split("-")[1:])
        ]  # fmt: skip
        if behind:
            asked.append(
                f"labels that hold a gene's name behind a '-' are targets of their own: {few(behind)}. --combo-separator -, if"
                " they join genes"
            )
        numbers = [label for label in rest if re.fullmatch(r"\d+(\.0)?", label) and label not in self.genes]
        if numbers:
            asked.append(f"labels that are bare numbers are perturbations of their own: {few(numbers)}. --drop, if not")
        words = [label for label in rest if re.fullmatch(r"[a-z][a-z _-]{2,}", label) and not resembles_control(label)]
        words = [label for label in words if len(self.parts[label]) == 1 and not self._gene(label)]
        if words and not self.compounds and 2 * sum(map(self._gene, rest)) >= len(rest):
            asked.append(
                f"labels that are words beside genes are perturbations of their own: {few(words)}. --drop, if not"
            )
        return tuple(asked[0 if suspects else 1 :])

    def _resembles(self, part: str) -> bool:
        return resembles_control(part) and not self._is_control(part) and part not in self.genes
