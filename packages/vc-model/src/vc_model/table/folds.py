"""Hold-outs that mimic what a model will be asked: kinds of conditions, folds, and out-of-fold predictions.

The *bin* of a condition says how much the training table knows about it. A fold removes rows from the table and predicts
them; the bin of a held-out row is then simply what the reduced table makes of it, so every bin is fitted on exactly the
situation it stands for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from vc_contracts import progress as bars

from vc_model.stored import stored
from vc_model.table.effect import Effect
from vc_model.table.effects import Action, Conditions, EffectTable
from vc_model.table.threads import in_threads

BINS = (
    "measured",  # this very action in this line is in training
    "unseen",  # single; the line is trained, the target is no training single
    "transfer",  # single; the line is trained, the target is a training single, but not like this in this line
    "new_line",  # single; no training condition of the line, target is a training single elsewhere
    "new_line_unseen",  # single; neither line nor target is in a training single
    "combo_measured",  # combination; every single measured in this line
    "combo_unmeasured",  # combination; at least one single not measured in this line
)
FEW_TARGETS = 3  # targets below which cell lines are the independent repeats


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows to fit on and rows to predict; both index the table."""

    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Out-of-fold predictions, m of them; a row may occur once per bin.

    Attributes:
        row_m: [m] row of the table.
        bin_m: [m] position in `BINS`.
        delta_mg: Model name -> [m, g] float32 predictions made without the row.
    """

    row_m: np.ndarray
    bin_m: np.ndarray
    delta_mg: dict[str, np.ndarray]


def known_actions(table: EffectTable) -> "KnownActions":
    """What was done in training, for `KnownActions.bins`."""

    def make() -> KnownActions:
        lines, actions = table.conditions.cell_line.tolist(), table.conditions.actions
        return KnownActions(table.trained_lines, tuple(zip(lines, actions, strict=True)))

    return table.once("known_actions", make)


def known_before(table: EffectTable, rows: np.ndarray) -> "KnownActions":
    """What a table of some rows alone would know, without making it."""
    conditions = table.conditions.subset(rows)
    lines = conditions.cell_line.tolist()
    return KnownActions(tuple(sorted(set(lines))), tuple(zip(lines, conditions.actions, strict=True)))


@stored
@dataclass(frozen=True, eq=False)
class KnownActions:
    """The (line, action) pairs of a training table and its trained lines."""

    lines: tuple[str, ...]
    pairs: tuple[tuple[str, Action], ...]

    @cached_property
    def _known(self) -> tuple[set[tuple[str, Action]], set[tuple[str, ...]]]:
        singles: set[tuple[str, ...]] = {action.targets for _, action in self.pairs if len(action.targets) == 1}
        return set(self.pairs), singles

    def bins(self, conditions: Conditions) -> np.ndarray:
        """[q] position in `BINS` of each condition."""
        pairs, targets = self._known
        lines = set(self.lines)
        bins = []
        for line, action in zip(conditions.cell_line.tolist(), conditions.actions, strict=True):
            if (line, action) in pairs:
                name = "measured"
            elif len(action.targets) > 1:
                singles = (Action((target,), action.mode, action.dose) for target in action.targets)
                name = "combo_measured" if all((line, single) in pairs for single in singles) else "combo_unmeasured"
            elif line in lines:
                name = "transfer" if action.targets in targets else "unseen"
            else:
                name = "new_line" if action.targets in targets else "new_line_unseen"
            bins.append(BINS.index(name))
        return np.array(bins, dtype=np.int64)


def target_groups(conditions: Conditions) -> np.ndarray:
    """[p] int, the same number for conditions with the same set of targets, whatever line, mode or dose."""
    names = [action.label for action in conditions.actions]
    return np.unique(np.array(names), return_inverse=True)[1]


def units(conditions: Conditions) -> np.ndarray:
    """[m] int from 0, what the rows are independent repeats of: targets, or cell lines where there are hardly two targets."""
    group_m = target_groups(conditions)
    if len(np.unique(group_m)) >= FEW_TARGETS:
        return group_m
    return np.unique(conditions.cell_line, return_inverse=True)[1]


def target_folds(table: EffectTable, n_folds: int, seed: int) -> list[Fold]:
    """Every target in one fold across lines; a fold holds out all rows that contain one of its targets."""
    targets = sorted({target for action in table.conditions.actions for target in action.targets})
    fold_of = _deal(targets, n_folds, seed)
    held_pf = np.zeros((len(table), n_folds), dtype=bool)
    for row, action in enumerate(table.conditions.actions):
        held_pf[row, [fold_of[target] for target in action.targets]] = True
    return _folds(held_pf.T)


def transfer_folds(table: EffectTable, n_folds: int, seed: int) -> list[Fold]:
    """Single (line, target) pairs held out where the same target stays in another line or another action."""
    by_target: dict[str, dict[tuple[str, Action], int]] = {}
    for row in np.flatnonzero(table.single_p).tolist():
        action = table.conditions.actions[row]
        by_target.setdefault(action.targets[0], {})[(table.conditions.cell_line[row], action)] = row
    shared = sorted(target for target, rows in by_target.items() if len(rows) > 1)
    offset = _deal(shared, n_folds, seed)
    fold_p = np.full(len(table), -1)
    for target in shared:
        for number, pair in enumerate(sorted(by_target[target])):
            fold_p[by_target[target][pair]] = (offset[target] + number) % n_folds
    return _folds([fold_p == fold for fold in range(n_folds)])


def line_folds(table: EffectTable) -> list[Fold]:
    """Leave one cell line out; empty where there is only one."""
    if len(table.trained_lines) < 2:
        return []
    return _folds([table.line_p == line for line in range(len(table.trained_lines))])


def line_and_target_folds(table: EffectTable, n_folds: int, seed: int) -> list[Fold]:
    """Leave out one line and, of every line, one fold of targets; predict those targets in that line."""
    folds = []
    for line in line_folds(table):
        for target in target_folds(table, n_folds, seed):
            folds.append(Fold(np.intersect1d(line.train, target.train), np.intersect1d(line.test, target.test)))
    return [fold for fold in folds if len(fold.train) and len(fold.test)]


def combo_folds(table: EffectTable, n_folds: int, seed: int) -> list[Fold]:
    """Combinations held out (the same one in all lines together); their singles stay."""
    combo_p = table.conditions.sizes > 1
    fold_of = _deal(sorted({table.conditions.actions[row].label for row in np.flatnonzero(combo_p)}), n_folds, seed)
    fold_p = np.array([fold_of.get(action.label, -1) for action in table.conditions.actions])
    return _folds([(fold_p == fold) & combo_p for fold in range(n_folds)])


def all_folds(table: EffectTable, n_folds: int = 5, seed: int = 0) -> list[Fold]:
    """Every hold-out the table supports, so that every bin it can speak about is covered.

    Args:
        table: Training effects.
        n_folds: Number of folds over targets, pairs and combinations.
        seed: Deals them into folds.
    """
    return [
        *target_folds(table, n_folds, seed),
        *transfer_folds(table, n_folds, seed),
        *line_folds(table),
        *line_and_target_folds(table, 2, seed),
        *combo_folds(table, n_folds, seed),
    ]


def out_of_fold(
    factories: Mapping[str, Callable[[EffectTable], Effect]],
    table: EffectTable,
    folds: Sequence[Fold] | None = None,
    *,
    progress: str | None = None,
) -> OutOfFold:
    """Predict held-out rows by models fitted without them, on effects against `reference` controls (`EffectTable.half`).

    Args:
        factories: Name -> function that fits a point prediction on a table.
        table: Training effects.
        folds: Hold-outs; by default five folds over targets.
        progress: Label of a progress bar, or None for none.

    Returns:
        One instance per (row, bin): a row that several folds predict in the same situation keeps the first prediction.
    """
    folds = target_folds(table, 5, 0) if folds is None else folds
    rows, bins = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    delta: dict[str, list[np.ndarray]] = {name: [] for name in factories}
    done: set[tuple[int, int]] = set()
    asked = []
    for fold in folds:
        bin_t = known_before(table, fold.train).bins(table.conditions.subset(fold.test))
        fresh = np.array([(row, kind) not in done for row, kind in zip(fold.test, bin_t, strict=True)])
        if not fresh.any():
            continue
        test, bin_t = fold.test[fresh], bin_t[fresh]
        done.update(zip(test, bin_t, strict=True))
        rows.append(test)
        bins.append(bin_t)
        asked.append((fold.train, test))
    half = table.half
    half.gram_pp  # noqa: B018 made before threads share it

    def predict(part: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
        reduced, conditions = half.subset(part[0]), table.conditions.subset(part[1])
        return [factory(reduced).delta(conditions) for factory in factories.values()]

    bar = bars.progress(total=len(asked), desc=progress or "", shown=progress is not None)
    with bar:
        for blocks in in_threads(predict, asked):
            for name, block in zip(factories, blocks, strict=True):
                delta[name].append(block)
            bar.update()
    nothing = [np.zeros((0, len(table.genes)), dtype=np.float32)]
    delta_mg = {name: np.concatenate(blocks or nothing) for name, blocks in delta.items()}
    return OutOfFold(np.concatenate(rows), np.concatenate(bins), delta_mg)


def keep(table: EffectTable, name: str, oof: OutOfFold, delta_mg: np.ndarray) -> None:
    """Keep a model's out-of-fold predictions with the table that it was fitted on, for `recall`."""
    table.once(f"out of fold {name}", lambda: OutOfFold(oof.row_m, oof.bin_m, {name: delta_mg}))


def recall(table: EffectTable, name: str) -> OutOfFold | None:
    """The out-of-fold predictions that a model left with the table it was fitted on, or None."""
    return table.recall(f"out of fold {name}")


def _deal(names: Sequence[str], n_folds: int, seed: int) -> dict[str, int]:
    """Shuffle names and deal them into folds of equal size."""
    order = np.random.default_rng(seed).permutation(len(names))
    return {name: int(place) % n_folds for name, place in zip(names, order, strict=True)}


def _folds(held: Sequence[np.ndarray] | np.ndarray) -> list[Fold]:
    """Folds from masks of held-out rows, without those that would leave nothing to fit or to predict."""
    return [Fold(np.flatnonzero(~mask), np.flatnonzero(mask)) for mask in held if mask.any() and not mask.all()]
