"""Which labels and which column mark control cells."""

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from vc_contracts.text.plain import clean

from vc_data.convert.series import distinct
from vc_data.errors import ColumnError, ControlError, few
from vc_data.text.controls import control_rank, control_stem, resembles_control
from vc_data.text.values import read_booleans

_IS_CONTROL = ("iscontrol", "isctrl", "iscontrolcell", "control", "ctrl")
COUNTS_OF_CONTROLS = ("control", "ctrl")
"""Names that may as well count control guides, or mark an arm of the experiment."""


def boolean_column(obs: pd.DataFrame, names: dict[str, str], path: str | Path) -> str | None:
    """Name of a column like is_control that holds true and false in any spelling.

    Raises:
        ColumnError: One whose name says what it is, but whose values are not understood.
    """
    for name in _IS_CONTROL:
        if name in names:
            values = obs[names[name]].astype(object).unique()
            if read_booleans(values) is not None:
                return names[name]
            if name not in COUNTS_OF_CONTROLS:
                do = "Pass --control LABEL to let the labels decide, or mend the column."
                found = few(sorted({clean(value) for value in values}), 6)
                raise ColumnError(path, f"obs[{names[name]!r}]", "true and false (or TRUE, T, yes, 1)", found, do)
    return None


def as_bool(column: pd.Series, path: str | Path = "the file") -> tuple[np.ndarray, np.ndarray]:
    """[n] Which cells a column of true and false marks, in any spelling, and for which it says nothing.

    Raises:
        ColumnError: A value that is neither.
    """
    values = column.astype(object)
    meaning = read_booleans(values[values.notna()].unique())
    if meaning is None:
        found = few(sorted({clean(value) for value in values.unique()}), 6)
        do = "Pass --control LABEL to let the labels decide, or mend the column."
        raise ColumnError(path, f"obs[{column.name!r}]", "true and false (or TRUE, T, yes, 1)", found, do)
    found_values = [meaning[value] if known else None for value, known in zip(values, values.notna(), strict=True)]
    marked = np.array([value is True for value in found_values], bool)
    return marked, np.array([value is None for value in found_values], bool)


def mixed_labels(is_control: pd.Series, labels: pd.Series) -> list[str]:
    """Labels that some cells carry as controls and others not."""
    marked, _ = as_bool(is_control)
    return sorted((set(labels[marked]) & set(labels[~marked])) - {""})


def positive_controls(is_control: pd.Series, labels: pd.Series) -> list[str]:
    """Labels that a column marks beside usual names of controls, and that are none: positive controls of a screen."""
    marked = sorted(set(labels[as_bool(is_control)[0]]) - {""})
    if not any(control_rank(label) == 2 for label in marked):
        return []
    return [label for label in marked if not resembles_control(label)]


def find_controls(column: pd.Series, given: Sequence[str], name: str, path: str | Path) -> tuple[str, ...]:
    """Labels of control cells: those that the user named, or all of the one kind that has the plainest names.

    Args:
        column: [n] Labels.
        given: What the user named; `*` stands for any text.
        name: Of the column, for messages.
        path: File name for messages.

    Raises:
        ControlError: A label that no cell carries, none that names controls, or several kinds.
    """
    labels = distinct(column)
    where = f"obs[{name!r}]"
    chosen: list[str] = []
    for label in map(clean, given):
        found = match_labels(label, labels)
        if not found:
            near = difflib.get_close_matches(label, labels, n=5, cutoff=0.4) or labels[:5]
            do = f"Nearest labels: {few(near)}. Pass --control with one that exists."
            raise ControlError(path, where, f"control label {label!r}", "no cell with it", do)
        chosen += found
    if given:
        return tuple(dict.fromkeys(chosen))
    rank_of = {label: control_rank(label) for label in labels}
    plainest = max(rank_of.values(), default=0)
    controls = [label for label in labels if plainest and rank_of[label] == plainest]
    if not controls:
        do = f"{suspects(labels)}Pass --control LABEL, or another --perturbation COLUMN."
        raise ControlError(path, where, "a label of control cells", f"{few(labels, 8)}", do)
    if len({control_stem(label) for label in controls}) > 1:
        do = f"Pass --control with those that are controls, e.g. --control {controls[0]!r}."
        raise ControlError(path, where, "one kind of control", f"several: {few(controls)}", do)
    return tuple(controls)


def match_labels(wanted: str, labels: Iterable[str]) -> list[str]:
    """The label that is meant; several where it is none itself and holds `*` for any text (`CTRL0*`)."""
    labels = list(labels)
    if wanted in labels or "*" not in wanted:
        return [wanted] if wanted in labels else []
    pattern = re.compile(".*".join(map(re.escape, wanted.split("*"))), re.DOTALL)
    return [label for label in labels if label and pattern.fullmatch(label)]


def suspects(labels: Sequence[str]) -> str:
    """Labels that may be meant, for a message."""
    found = [label for label in labels if resembles_control(label)]
    return f"Labels that resemble controls: {few(found)} ('NAME*' stands for all that begin so). " if found else ""
