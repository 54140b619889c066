"""Which cells are controls, which carry a perturbation, and which are left out because nobody can say."""

import difflib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from vc_contracts.text.plain import clean

from vc_data.convert.columns import holds_amounts, is_chemical_file, pooled_columns, second_columns
from vc_data.convert.controls import as_bool, match_labels
from vc_data.convert.notes import Notes, ask
from vc_data.convert.series import labels_of
from vc_data.convert.targets import link_targets
from vc_data.errors import ColumnError, ControlError, OptionError, few
from vc_data.genes.link import GeneIndex
from vc_data.options import Columns, ConvertOptions
from vc_data.text.controls import CONTROL, resembles_control
from vc_data.text.labels import read_labels
from vc_data.text.values import is_no_call, is_no_label

_JOINT = "\x1f"
"""Joins the compounds of several columns: their names may hold '+'."""


@dataclass(frozen=True)
class Roles:
    """What every cell is."""

    target: pd.Series
    """[n] Targets joined by '+', `control`, or '' for cells that are left out."""
    label: pd.Series
    """[n] The label as text."""
    guided: np.ndarray
    """[n] bool: the label named a guide."""
    record: dict
    """For `uns["target_genes"]`."""


def read_roles(
    raw: pd.DataFrame, path: Path, index: GeneIndex, options: ConvertOptions, *, perturbation_given: bool = True
) -> tuple[Roles, Notes]:
    """Read labels and controls.

    Args:
        raw: [n] obs of the source.
        path: File name for messages.
        index: Genes of the file.
        options: Of the conversion; `options.columns` says which column holds what.
        perturbation_given: Whether the user named the column of labels.

    Raises:
        ColumnError, ControlError, OptionError: Labels that may mean several things, each with the flag that decides.
    """
    columns = options.columns
    if options.control_only:
        target = pd.Series([CONTROL] * len(raw), dtype=object)
        record = {"kind": "gene", "targets": {}}
        return Roles(target, target, np.zeros(len(raw), bool), record), Notes(
            ("every cell is a control (--control-only)",)
        )
    compounds = is_chemical_file(raw, columns)
    label = labels_of(raw, columns.perturbation or "", _JOINT if compounds else "+")
    notes = _ask_columns(raw, columns, label, path, perturbation_given)
    dropped = _dropped_labels(label, options.drop, path)
    marked, unsaid, controls = _controls(raw, columns, label, path)
    left = ~(dropped | unsaid)
    meaning = read_labels(
        label[left & (label != "").to_numpy()].unique(),
        controls,
        known=index,
        separator=_separator(options, label, compounds=compounds),
        guides=options.guide_labels,
        compounds=compounds,
        where=path,
    )
    targets, more = link_targets(meaning.target_of, index, compounds=compounds)
    target = label.map(targets.target_of).fillna("").astype(object)
    target[marked & ~label.map(is_no_call).to_numpy(bool)] = CONTROL
    target[~left] = ""
    _refuse_mixed(columns, label, target, marked, path)
    notes += Notes(meaning.statements, meaning.questions) + more
    others = sorted(name for name in controls if columns.is_control and (name in index or not resembles_control(name)))
    if others and (len(controls) > 1 or others[0] in index):
        notes += ask(
            f"labels that name no controls count as such: {few(others)} by column {columns.is_control!r}; --control, if not"
        )
    notes += Notes(dropped={
        "left out by --drop": int(dropped.sum()),
        f"no value in {columns.is_control!r}": int((unsaid & ~dropped).sum()),
    })  # fmt: skip
    notes += _count_unlabelled(label, (target == "").to_numpy() & left)
    return Roles(target, label, label.isin(meaning.guides).to_numpy(), targets.record), notes


def _separator(options: ConvertOptions, label: pd.Series, *, compounds: bool) -> str:
    if compounds and label.str.contains(_JOINT, regex=False).any():
        return _JOINT
    return options.combo_separator


def _ask_columns(raw: pd.DataFrame, columns: Columns, label: pd.Series, path: Path, given: bool) -> Notes:
    """Columns that would change what labels mean, and are not used."""
    second = second_columns(raw, columns.perturbation or "")
    notes = Notes()
    if second:
        flag = f"--perturbation {columns.perturbation},{second[0]}"
        if not given:
            do = f"Pass {flag} to join them, or --perturbation {columns.perturbation} to pool over it."
            raise ColumnError(path, "obs", "one column with perturbations", f"a second one, {second[0]!r}", do)
        notes += ask(f"a second perturbation column, {second[0]!r}, is pooled over; {flag} joins them")
    for name in pooled_columns(raw, columns, label):
        line = columns.cell_line or "CELL_LINE"
        values = few(sorted(set(map(clean, raw[name].astype(object).unique())) - {""}), 4)
        flag = (
            f"--dose {name} reads it as doses"
            if holds_amounts(name)
            else f"--cell-line {line},{name} keeps its values apart"
        )
        notes += ask(f"column {name!r} ({values}) is pooled over; {flag}")
    return notes


def _dropped_labels(label: pd.Series, drop: tuple[str, ...], path: Path) -> np.ndarray:
    """[n] bool: cells of labels that are to be left out."""
    there, wanted = sorted(set(label)), set()
    for name in map(clean, drop):
        found = match_labels(name, there)
        if not found:
            near = difflib.get_close_matches(name, there, n=3, cutoff=0.4)
            raise OptionError(path, "--drop", f"a label {name!r}", "no cell with it", f"Nearest labels: {few(near)}.")
        wanted |= set(found)
    return label.isin(wanted).to_numpy()


def _controls(
    raw: pd.DataFrame, columns: Columns, label: pd.Series, path: Path
) -> tuple[np.ndarray, np.ndarray, set[str]]:
    """[n] cells that a column marks as controls, [n] cells for which it says nothing, and the labels of controls."""
    if not columns.is_control:
        controls = {clean(name) for name in columns.control}
        return label.isin(controls).to_numpy(), np.zeros(len(raw), bool), controls
    marked, unsaid = as_bool(raw[columns.is_control], path)
    if unsaid.any() and (marked | unsaid).all():
        do = "Pass --control LABEL to let the labels decide, or write false for perturbed cells."
        raise ControlError(path, f"obs[{columns.is_control!r}]", "true and false", "true and blanks only", do)
    return marked, unsaid, {name for name in label[marked].unique() if not is_no_label(name)}


def _refuse_mixed(columns: Columns, label: pd.Series, target: pd.Series, marked: np.ndarray, path: Path) -> None:
    mixed = (target == CONTROL).to_numpy() & ~marked
    if columns.is_control and mixed.any():
        found = f"{int(mixed.sum())} cells labelled {few(label[mixed].unique())} that it calls perturbed"
        do = "Pass --control LABEL to let the labels decide."
        raise ControlError(path, f"obs[{columns.is_control!r}]", "true for every control label", found, do)


def _count_unlabelled(label: pd.Series, nothing: np.ndarray) -> Notes:
    """How many cells have no label, and how they say so."""
    n, words = int(nothing.sum()), sorted(set(label[nothing]) - {""})
    notes = Notes(dropped={"no perturbation label": n})
    return notes + Notes((f"labels that name no perturbation: {few(words, 8)}",)) if words else notes
