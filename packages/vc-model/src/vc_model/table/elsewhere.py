"""What another screen says of the perturbations of this one: its effects of the same targets, under a rule against leaks.

Targets and genes are compared by the genes that conversion linked them to (`vc_contracts.targets`), never by names alone.
Panels need not agree: an effect over the other screen's own genes tells which targets are alike; the genes that both
measure can be compared one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from vc_contracts.targets import TargetTable, target_keys
from vc_contracts.text.plain import plain_gene

from vc_model.contracts.features import FeatureBank
from vc_model.errors import TableError
from vc_model.stored import stored
from vc_model.table.effects import MODES, Conditions, Contexts, EffectTable


@stored
@dataclass(frozen=True, eq=False)
class Elsewhere:
    """Effects that another screen measured, as this screen names their targets.

    Attributes:
        name: Of the other screen, with the mode where it has several.
        mode: How its targets acted.
        lines: Cell lines that they were measured in.
        targets: [e] names.
        value_eh: [e, h] float32, effect minus the mean effect there, over the other screen's own genes.
        own_s: [s] columns of this screen's genes that both measure.
        other_s: [s] their columns in `value_eh`.
        n_hidden: Targets whose effects the split of this screen keeps out.
    """

    name: str
    mode: int
    lines: tuple[str, ...]
    targets: tuple[str, ...]
    value_eh: np.ndarray
    own_s: np.ndarray
    other_s: np.ndarray
    n_hidden: int = 0

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Target -> row."""
        return {name: row for row, name in enumerate(self.targets)}

    @property
    def bank(self) -> FeatureBank:
        """The effects as vectors of their targets."""
        return FeatureBank(
            f"effects in {self.name}", self.targets, self.value_eh, np.zeros(len(self.targets), dtype=bool)
        )

    def knows(self, conditions: Conditions) -> np.ndarray:
        """[q] bool, whether every target of a condition was measured there."""
        known = self.row_of.keys()
        return np.array([bool(a.targets) and known >= set(a.targets) for a in conditions.actions], dtype=bool)

    def deviations(self, conditions: Conditions) -> np.ndarray:
        """[q, s] float32, effect beyond the mean there, summed over the targets of each condition; all must be known."""
        shared_es = self.value_eh[:, self.other_s]
        rows = [shared_es[[self.row_of[target] for target in a.targets]].sum(axis=0) for a in conditions.actions]
        return np.array(rows, dtype=np.float32).reshape(len(conditions), len(self.other_s))


def effects_elsewhere(
    own: EffectTable,
    other: EffectTable,
    name: str,
    held: Sequence[Conditions] = (),
    *,
    test_targets_known: bool = False,
) -> tuple[Elsewhere, ...]:
    """What one screen says of the targets of another; of each mode by itself.

    The rule against leaks: a target that the split of `own` holds out wherever it was perturbed says nothing anywhere. One
    that is held out in some cell lines only says nothing in cell lines of the same name.

    Args:
        own: Training effects of the screen that is to be informed.
        other: Training effects of the other one.
        name: Of the other one.
        held: Conditions that the split of `own` holds out.
        test_targets_known: Set the rule aside: the other screen may know what is held out here. To be stated with every
            number that comes of it.

    Raises:
        TableError: If the two have no gene in common, or are of different species.
    """
    mine, theirs = (TargetTable.from_text(table.contexts.names) for table in (own, other))
    own_s, other_s = shared_genes(own.contexts, other.contexts, name)
    everywhere, here = ((), ()) if test_targets_known else _held_out(own, held)
    key_of_mine, key_of_theirs = target_keys([mine, theirs])
    hidden = {key_of_mine.get(target, target) for target in everywhere}
    rows: dict[int, list[tuple[int, str]]] = {}
    n_hidden: dict[int, set[str]] = {}
    for row in np.flatnonzero(other.single_p).tolist():
        action, line = other.conditions.actions[row], str(other.conditions.cell_line[row])
        target = action.targets[0]
        called = own.contexts.call_target(target, theirs)
        if {called, key_of_theirs.get(target, target)} & (hidden | set(everywhere)) or (
            line.casefold(),
            called,
        ) in here:
            n_hidden.setdefault(action.mode, set()).add(called)
        else:
            rows.setdefault(action.mode, []).append((row, called))
    modes = sorted(rows.keys() | n_hidden.keys())
    return tuple(
        _of_mode(other, rows.get(mode, []), mode, f"{name} {MODES[mode]}" if len(modes) > 1 else name, own_s, other_s,
                 len(n_hidden.get(mode, ())))
        for mode in modes
    )  # fmt: skip


def shared_genes(own: Contexts, other: Contexts, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the genes that both measure, in each of the two: the same id, else the same symbol where an id is unknown.

    Args:
        own: Of this screen.
        other: Of the other one.
        name: Of the other one, for messages.

    Raises:
        TableError: If there are none, or the names are those of another species.
    """
    mine, theirs = (_keys(contexts) for contexts in (own, other))
    place: dict[str, int] = {}
    for column, (gene_id, words) in enumerate(theirs):
        for key in (f"id:{gene_id}" if gene_id else "", *(f"={word}" for word in words)):
            place.setdefault(key, column)
    folded = {plain_gene(word) for _, words in theirs for word in words}
    found, alike = [], 0
    for column, (gene_id, words) in enumerate(mine):
        keys = [f"id:{gene_id}"] if gene_id else []
        at = next((place[key] for key in (*keys, *(f"={word}" for word in words)) if key in place), None)
        if at is not None and gene_id and theirs[at][0] and theirs[at][0] != gene_id:
            at = None
        alike += bool(folded & {plain_gene(word) for word in words})
        if at is not None:
            found.append((column, at))
    if len(found) * 2 < alike or not found:
        why = "of another species" if alike else f"like {list(other.genes[:3])}"
        raise TableError(
            f"{name}: genes: expected some of the {len(own.genes)} of the first screen, e.g. {list(own.genes[:3])}, by id or "
            f"symbol, found {len(found)} among {len(other.genes)} {why}. Fit screens of one species together, converted with "
            "gene ids or symbols."
        )
    pair_s2 = np.array(found, dtype=np.int64)
    return pair_s2[:, 0], pair_s2[:, 1]


def _keys(contexts: Contexts) -> list[tuple[str, list[str]]]:
    """Id, '' where unknown, and names of every gene."""
    known = TargetTable.from_text(contexts.names).genes
    pairs = [(gene, *known.get(gene, ("", ""))) for gene in contexts.genes]
    return [(gene_id, list(dict.fromkeys(word for word in (gene, symbol) if word))) for gene, gene_id, symbol in pairs]


def _held_out(own: EffectTable, held: Sequence[Conditions]) -> tuple[set[str], set[tuple[str, str]]]:
    """Targets that are held out wherever they were perturbed, and (cell line, target) pairs of the others."""
    trained = {target for action in own.conditions.actions for target in action.targets}
    pairs = [
        (str(line).casefold(), action)
        for part in held
        for line, action in zip(part.cell_line, part.actions, strict=True)
    ]
    everywhere = {target for _, action in pairs for target in action.targets} - trained
    return everywhere, {(line, action.targets[0]) for line, action in pairs if len(action.targets) == 1}


def _of_mode(
    other: EffectTable,
    rows: list[tuple[int, str]],
    mode: int,
    name: str,
    own_s: np.ndarray,
    other_s: np.ndarray,
    n_hidden: int,
) -> Elsewhere:
    """Effects of every target, mean over its rows by numbers of cells, each less the mean effect of its cell line."""
    targets = tuple(sorted({called for _, called in rows}))
    place = {target: at for at, target in enumerate(targets)}
    total_eh, weight_e = np.zeros((len(targets), len(other.genes))), np.zeros(len(targets))
    lines = np.array([other.conditions.cell_line[row] for row, _ in rows], dtype=object)
    for line in dict.fromkeys(lines.tolist()):
        at = [pair for pair, its in zip(rows, lines.tolist(), strict=True) if its == line]
        own = np.array([row for row, _ in at])
        deviation_ph = other.delta_pg[own] - other.delta_pg[own].mean(axis=0)
        weight_p = other.n_cells_p[own].astype(np.float64)
        target_p = np.array([place[called] for _, called in at])
        np.add.at(total_eh, target_p, weight_p[:, None] * deviation_ph)
        np.add.at(weight_e, target_p, weight_p)
    value_eh = (total_eh / np.maximum(weight_e, 1e-12)[:, None]).astype(np.float32)
    return Elsewhere(name, mode, tuple(dict.fromkeys(lines.tolist())), targets, value_eh, own_s, other_s, n_hidden)
