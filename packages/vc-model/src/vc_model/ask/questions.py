"""From names that people type to conditions that a model can be asked: checked, completed, and refused with a remedy."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from vc_contracts.text import lists

from vc_model.ask.memory import Memory
from vc_model.errors import VcModelError
from vc_model.table.effects import MODES, Action, Conditions, Contexts

MOST_TARGETS = 4


class QuestionError(VcModelError):
    """A question that cannot be asked; the text says what to change."""


@dataclass(frozen=True, eq=False)
class Questions:
    """Checked questions.

    Attributes:
        conditions: What to ask, each once.
        notes: What was completed or left out, for the user.
    """

    conditions: Conditions
    notes: tuple[str, ...]


def make_questions(
    memory: Memory,
    contexts: Contexts,
    names: Sequence[str],
    *,
    mode: str | None = None,
    cell_lines: Sequence[str] = (),
    doses: Sequence[float] = (),
    force: bool = False,
    new_contexts: Contexts | None = None,
) -> Questions:
    """Complete and check what is asked; every name in every cell line at every dose.

    Args:
        memory: What the model knows of its training data.
        contexts: The model's contexts.
        names: Targets as `A`, combinations as `A+B` (four at most), doses as `A@10`.
        mode: One of `MODES`; the trained one where there is only one.
        cell_lines: Trained lines, or lines of `new_contexts`; all of those given, or all trained ones, by default.
        doses: Doses of every name that brings none; none for genetic perturbations.
        force: Ask for a mode that was never trained, too.
        new_contexts: Control cells of further contexts, over the model's genes.

    Raises:
        QuestionError: For an empty list, a name that is none, an unknown mode or cell line, or a dose that is missing or
            out of place.
    """
    notes: list[str] = []
    mode_number = _mode(memory, mode, force, notes)
    lines = _lines(memory, contexts, cell_lines, new_contexts)
    actions: dict[Action, str] = {}
    called: dict[str, str] = {}
    for name in names:
        for action, label in _actions(memory, name, mode_number, doses, contexts, called):
            actions.setdefault(action, label)
    if not actions:
        raise QuestionError("names: expected at least one target, found an empty list. Name genes, e.g. --genes TP53.")
    if called:
        name, known = next(iter(called.items()))
        notes.append(f"{len(called)} name(s) are read as the training screen spells them, e.g. {name} as {known}")
    dropped = len(names) * max(1, len(doses)) - len(actions)
    if dropped > 0:
        notes.append(f"{dropped} name(s) were given twice and are asked once")
    notes += _unknown(memory, contexts, list(actions))
    order = list(actions)
    conditions = Conditions(
        np.repeat(np.array(lines, dtype=object), len(order)),
        tuple(order) * len(lines),
        new_contexts,
        tuple(actions.values()) * len(lines),
    )
    return Questions(conditions, tuple(notes))


def read_names(path: Path | str, column: str = "") -> list[str]:
    """Names of a list or a table as people save it (`#` begins a comment); see `vc_contracts.text.lists.read_names`.

    Args:
        path: The file.
        column: Column of a table; by default the one that a usual header names, else the first with names.

    Raises:
        QuestionError: If the file is absent, holds no name, or lacks the column.
    """
    path = Path(path)
    if not path.is_file():
        raise QuestionError(f"{path}: file: expected a list of names, found no such file. Check the path.")
    try:
        lines = _column(path, lists.read_rows(path), column) if column else lists.read_names(path)
    except lists.ListError as error:
        raise QuestionError(str(error)) from error
    skip = {"non-targeting", "control"}
    lines = [line for line in lines if not line.startswith("#") and line not in skip]
    names = [name for name in dict.fromkeys(lines) if name]
    if not names:
        raise QuestionError(f"{path}: expected at least one name, found an empty list. Write one name a line.")
    return names


def near_names(name: str, known: Sequence[str], n: int = 3) -> list[str]:
    """The known names that look most like one, other cases of letters first."""
    folded: dict[str, str] = {}
    for one in known:
        folded.setdefault(one.casefold(), one)
    if name.casefold() in folded:
        return [folded[name.casefold()]]
    return [folded[match] for match in difflib.get_close_matches(name.casefold(), list(folded), n=n, cutoff=0.7)]


def _unknown(memory: Memory, contexts: Contexts, actions: list[Action]) -> list[str]:
    """A note on each of the first targets that nothing is known of, with the names that look most like it."""
    names = list(dict.fromkeys(target for action in actions for target in action.targets))
    informed = memory.relatives.knows(names)
    trained = set(memory.targets)
    unknown = [name for name, known in zip(names, informed, strict=True) if not known and name not in trained]
    pool = [*memory.targets, *contexts.genes]
    notes = []
    for name in unknown[:5]:
        near = near_names(name, pool)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        notes.append(f"nothing is known of {name}: not perturbed in training, no measured gene, in no bank{hint}")
    return [*notes, f"and {len(unknown) - 5} more names like these"] if len(unknown) > 5 else notes


def _column(path: Path, rows: list[list[str]], column: str) -> list[str]:
    header = rows[0] if rows else []
    if column not in header:
        raise QuestionError(f"{path}: header: expected a column {column!r}, found {header[:8]}. Give another --column.")
    at = header.index(column)
    return [row[at] for row in rows[1:] if len(row) > at]


def _mode(memory: Memory, mode: str | None, force: bool, notes: list[str]) -> int:
    trained = ", ".join(memory.mode_names)
    if mode is None:
        if len(memory.modes) != 1:
            raise QuestionError(f"mode: expected one, as the model was trained on several: {trained}. Give --mode.")
        if memory.mode_names == ["unknown"]:
            notes.append(
                "the screen did not say how its perturbations act (mode unknown); yours are taken to act likewise"
            )
        return next(iter(memory.modes))
    if mode not in MODES:
        near = near_names(mode, MODES)
        hint = f" Nearest: {', '.join(near)}." if near else ""
        raise QuestionError(f"mode: expected one of {', '.join(MODES)}, found {mode!r}.{hint}")
    number = MODES.index(mode)
    if memory.mode_names == ["unknown"]:
        notes.append(f"the screen did not say how its perturbations act; they are taken to act as yours, by {mode}")
        return next(iter(memory.modes))
    if number not in memory.modes:
        if not force:
            raise QuestionError(
                f"mode {mode}: expected a trained one, {trained}; no {mode} perturbation was in training. "
                "Use one of these, or --force to see an extrapolation."
            )
        notes.append(f"mode {mode} was never trained: every answer is an extrapolation from {trained}")
    return number


def _lines(
    memory: Memory, contexts: Contexts, cell_lines: Sequence[str], new_contexts: Contexts | None
) -> tuple[str, ...]:
    there = contexts.cell_lines if new_contexts is None else new_contexts.cell_lines
    if not cell_lines:
        return there if new_contexts is not None else memory.lines
    for line in cell_lines:
        if line not in there:
            near = near_names(line, there)
            hint = f" Nearest: {', '.join(near)}." if near else ""
            raise QuestionError(
                f"cell line {line!r}: expected one of {', '.join(there[:10])}.{hint} For cells the model has not seen, "
                "give their unperturbed cells with --cells."
            )
    return tuple(dict.fromkeys(cell_lines))


def _actions(
    memory: Memory, name: str, mode: int, doses: Sequence[float], contexts: Contexts, called: dict[str, str]
) -> list[tuple[Action, str]]:
    """What a name asks, and the label of each; notes in `called` what the training screen calls otherwise."""
    bare, _, tail = name.strip().rpartition("@")
    own: list[float] = []
    if bare:
        try:
            own = [float(tail)]
        except ValueError:
            bare = ""
    label = bare or name.strip()
    if label not in memory.targets and not all(part.strip() for part in label.split("+")):
        raise QuestionError(f"name {name!r}: expected targets joined by '+', e.g. MYC+KLF1, found an empty one.")
    given_names = [label.strip()] if contexts.call(label.strip()) in memory.targets else label.split("+")
    targets = tuple(part if part in memory.targets else contexts.call(part) for part in map(str.strip, given_names))
    called |= {part.strip(): known for part, known in zip(given_names, targets, strict=True) if part.strip() != known}
    if "control" in map(str.casefold, targets):
        raise QuestionError(
            f"name {name!r}: expected targets, found 'control', which every effect is a change from. Leave it out."
        )
    if not all(targets) or "\t" in label:
        raise QuestionError(f"name {name!r}: expected targets joined by '+', e.g. MYC+KLF1, found something else.")
    if len(targets) > MOST_TARGETS:
        raise QuestionError(f"name {name!r}: expected at most {MOST_TARGETS} targets, found {len(targets)}.")
    if len(set(targets)) < len(targets):
        raise QuestionError(f"name {name!r}: expected each target once, found one twice.")
    trained = memory.modes.get(mode, (0.0,))
    dosed = max(trained) > 0
    given = own or list(doses)
    if dosed and not given:
        some = ", ".join(f"{dose:g}" for dose in trained[:8])
        raise QuestionError(f"dose of {name}: expected one; {MODES[mode]} was trained at {some}. Give --dose.")
    if given and not dosed:
        raise QuestionError(f"dose of {name}: expected none, as {MODES[mode]} was trained without. Leave --dose out.")
    if any(not (np.isfinite(dose) and dose > 0) for dose in given):
        raise QuestionError(f"dose of {name}: expected numbers above 0, found {given}.")
    if not given:
        action = Action(targets, mode)
        return [(action, action.label)]
    actions = [Action(targets, mode, dose) for dose in given]
    return [(action, f"{action.label}@{action.dose:g}") for action in actions]
