"""Cells of a foreign file as the obs table of a screen: labels, context, mode, dose, guide, library size."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from vc_data.convert.columns import other_totals
from vc_data.convert.counts import Spool
from vc_data.convert.notes import Notes, ask, say
from vc_data.convert.roles import Roles, read_roles
from vc_data.convert.series import as_text, split_names
from vc_data.errors import ColumnError, ControlError, SourceError, TooFewError, few
from vc_data.genes.link import GeneIndex
from vc_data.options import Columns, ConvertOptions
from vc_data.text.controls import CONTROL
from vc_data.text.modes import KNOCKOUT, UNKNOWN, is_chemical, parse_mode
from vc_data.text.values import is_nothing, read_amounts, tidy_unit

_UNIT_IN_NAME = re.compile(r"[-_. (\[]([fpnum\u00b5\u03bc]?M)[)\]]?$", re.IGNORECASE)
"""A molar unit at the end of a column's name: `dose_uM`."""


@dataclass(frozen=True)
class Cells:
    """Cells of the screen before the counts are read."""

    obs: pd.DataFrame
    """The obs table of the screen except total counts, with `place`, the row in the source."""
    target_genes: dict
    """For `uns["target_genes"]`."""
    dose_unit: str
    """'' where none is stated."""


def read_cells(
    raw: pd.DataFrame,
    path: Path,
    index: GeneIndex,
    options: ConvertOptions,
    given: Columns,
    guides: pd.Series | None = None,
    *,
    of_cells: bool = True,
) -> tuple[Cells, Notes]:
    """Read everything that obs says.

    Args:
        raw: obs of the source, with the labels as they are to be read.
        path: File name for messages.
        index: Its genes, to tell combinations from names and to link targets.
        options: Of the conversion; `options.columns` says which column holds what.
        given: What of it the user named.
        guides: [n] Guide of each row of the source, or None.
        of_cells: Whether rows are cells, of which a screen needs controls and several perturbations.

    Raises:
        SourceError: Repeated cell names.
        ColumnError, ControlError, TooFewError: As for `convert`.
    """
    names, notes = _name_cells(raw.index, options, path)
    raw, columns = raw.reset_index(drop=True), options.columns
    roles, more = read_roles(raw, path, index, options, perturbation_given=bool(given.perturbation))
    notes += more
    is_control = (roles.target == CONTROL).to_numpy()
    perturbed = ~is_control & (roles.target != "").to_numpy()
    mode, more = _read_modes(raw, columns, path, perturbed)
    notes += more
    mode[is_control] = UNKNOWN
    line = _join(raw, columns)
    _refuse_two_modes(roles.target, line, mode, columns, path)
    dose, unit, more = _read_doses(raw, columns, (mode > KNOCKOUT) & perturbed, given, path)
    perturbation, labelled = _label_doses(roles.target, dose, options.dose_in_label)
    notes += more + labelled
    obs = pd.DataFrame(
        {
            "perturbation": perturbation,
            "target": roles.target,
            "cell_line": line,
            "batch": _read_batches(raw, columns),
            "is_control": is_control,
            "mode": mode,
            "dose": dose,
            "dataset": options.dataset or path.stem,
            "place": np.arange(len(raw)),
        }
    ).set_index(names)
    _add_guides(obs, roles, guides)
    labelled_n, lined = (roles.target != "").to_numpy(), ~obs["cell_line"].isna().to_numpy()
    notes += Notes(dropped={"no cell line": int((labelled_n & ~lined).sum())})
    obs = obs[labelled_n & lined]
    if not of_cells:
        return Cells(obs, roles.record, unit), notes
    if not obs["is_control"].any():
        field = f"obs[{columns.perturbation!r}]"
        raise ControlError(path, field, "control cells", "none", "Pass --control LABEL.")
    if not options.control_only:
        check_enough(obs, path)
    return Cells(obs, roles.record, unit), notes


def _name_cells(names: pd.Index, options: ConvertOptions, path: Path) -> tuple[pd.Index, Notes]:
    from anndata.utils import make_index_unique

    if names.is_unique:
        return names, Notes()
    if not options.make_unique:
        repeated = names[names.duplicated()].unique()
        do = "Pass --make-unique to number them, or repair the file."
        raise SourceError(path, "obs index", "distinct cell names", f"repeated: {few(repeated)}", do)
    return make_index_unique(names), say(f"cell names numbered: {int(names.duplicated().sum())} were repeated")


def _read_batches(raw: pd.DataFrame, columns: Columns) -> pd.Series | str:
    """Batch of every cell; `unknown` where it has none."""
    if not columns.batch:
        return "unknown"
    batch = as_text(raw[columns.batch])
    return batch.where(~batch.map(is_nothing).to_numpy(bool), "unknown")


def _add_guides(obs: pd.DataFrame, roles: Roles, guides: pd.Series | None) -> None:
    """Add the guide of every cell, from its own column or from labels that named guides."""
    if guides is not None:
        obs["guide"] = as_text(guides).to_numpy()
    elif roles.guided.any():
        obs["guide"] = roles.label.where(roles.guided, "").to_numpy()


def _join(raw: pd.DataFrame, columns: Columns) -> pd.Series | str:
    """Cell line of every cell; several columns joined by '_'; missing where any is, or says so in words."""
    if columns.cell_line_name:
        return columns.cell_line_name
    joined: pd.Series | None = None
    for column in split_names(columns.cell_line, raw):
        part = as_text(raw[column])
        part = part.where(~part.map(is_nothing).to_numpy(bool))
        joined = part if joined is None else joined + "_" + part
    assert joined is not None
    return joined


def _read_modes(raw: pd.DataFrame, columns: Columns, path: Path, perturbed: np.ndarray) -> tuple[np.ndarray, Notes]:
    """[n] int8, how each cell's perturbation acts, and words of perturbed cells that do not tell."""
    if columns.mode_name:
        mode = parse_mode(columns.mode_name)
        if mode == UNKNOWN and not is_chemical(columns.mode_name) and columns.mode_name != "unknown":
            do = "Pass one of crispri, crispra, overexpression, knockout, inhibitor, agonist, degrader, binder, drug, unknown."
            raise ColumnError(path, "--mode-name", "a known type of perturbation", repr(columns.mode_name), do)
        return np.full(len(raw), mode, np.int8), Notes()
    if not columns.mode:
        return np.full(len(raw), UNKNOWN, np.int8), Notes()
    texts = as_text(raw[columns.mode])
    mode = texts.map({text: parse_mode(text) for text in texts.unique()}).to_numpy(np.int8)
    unclear = sorted(
        {text or "(blank)" for text in texts[perturbed & (mode == UNKNOWN)].unique() if not is_chemical(text)}
    )
    if not unclear:
        return mode, Notes()
    return mode, ask(f"{columns.mode!r} does not tell how {few(unclear)} acts (mode 8, unknown); --mode-name says it")


def _refuse_two_modes(target: pd.Series, line: pd.Series | str, mode: np.ndarray, columns: Columns, path: Path) -> None:
    """A gene that is repressed in some cells and activated in others of a line is two perturbations, not one."""
    known = pd.DataFrame({"target": target.to_numpy(), "line": line, "mode": mode})[(mode != UNKNOWN)]
    several = known.groupby(["target", "line"])["mode"].nunique()
    names = sorted({name for name, _ in several.index[several > 1]} - {"", CONTROL})
    if names:
        do = f"Pass --cell-line {columns.cell_line or 'CELL_LINE'},{columns.mode} to keep them apart, or --mode-name with one for all."
        found = f"several for {few(names, 3)}"
        raise ColumnError(
            path, f"obs[{columns.mode!r}]", "one type of perturbation per target and cell line", found, do
        )


def _read_doses(
    raw: pd.DataFrame, columns: Columns, dosed: np.ndarray, given: Columns, path: Path
) -> tuple[np.ndarray, str, Notes]:
    """[n] float32 doses, NaN where cells are not `dosed`; their unit; and what was decided."""
    nothing = np.full(len(raw), np.nan, np.float32)
    if not columns.dose or not dosed.any():
        return nothing, "", Notes()
    field = f"obs[{columns.dose!r}]"
    values = as_text(raw[columns.dose])
    texts, unit_of = _with_units(values, raw, columns)
    amounts = read_amounts(texts[dosed].unique(), unit_of)
    if amounts.problem:
        do = "Pass --dose with a column of numbers in one unit, or --dose none."
        raise ColumnError(path, field, "amounts in one unit and one notation", amounts.problem, do)
    if amounts.unread:
        if given.dose:
            do = "Pass another --dose column, or --dose none."
            raise ColumnError(path, field, "numbers", few(amounts.unread), do)
        said = f"dose column {columns.dose!r} holds no numbers (e.g. {amounts.unread[0]!r}): ignored"
        return nothing, "", Notes((said,), (f"doses of {columns.dose!r} are pooled over; --dose COLUMN names numbers",))
    numbers = texts.map(amounts.values).to_numpy(np.float64)
    if (numbers[dosed] < 0).any():
        do = "Turn logarithms back into amounts and pass --dose with that column, or --dose none."
        raise ColumnError(path, field, "amounts of 0 or more", f"{np.nanmin(numbers[dosed]):g}: logarithms?", do)
    notes = say(f"doses are in {amounts.unit!r}") if amounts.unit else Notes()
    notes += _ask_doses(columns.dose, texts[dosed], numbers[dosed])
    return np.where(dosed, numbers, np.nan).astype(np.float32), amounts.unit, notes


def _ask_doses(column: str, texts: pd.Series, numbers: np.ndarray) -> Notes:
    """What doses may mean besides an amount that was given."""
    notes = Notes()
    bounds = [text for text in texts.unique() if text[:1] in "<>~" and text]
    if bounds:
        notes += ask(f"doses {few(bounds)} of {column!r} are read as their numbers; write amounts, if they are none")
    if (numbers == 0).any():
        notes += ask(
            f"{int((numbers == 0).sum())} cells of compounds have dose 0; --drop or --control, if they got nothing"
        )
    unknown = ~np.isfinite(numbers)
    if unknown.any() and not unknown.all():
        notes += ask(
            f"{int(unknown.sum())} cells of compounds have no dose in {column!r} and stay without; --dose none pools all"
        )
    return notes


def _with_units(values: pd.Series, raw: pd.DataFrame, columns: Columns) -> tuple[pd.Series, dict[str, str]]:
    """[n] Doses as text, made distinct by unit, and text -> unit, from a column, one unit for all, or the column's name."""
    if not columns.dose_unit:
        named = _UNIT_IN_NAME.search(columns.dose or "")
        return values, dict.fromkeys(values.unique(), named[1]) if named else {}
    if columns.dose_unit == "none":
        return values, {}
    if columns.dose_unit not in raw.columns:
        return values, dict.fromkeys(values.unique(), columns.dose_unit)
    units = as_text(raw[columns.dose_unit])
    plain = ~values.str.contains(r"[^\d.,eE+\-\s]", regex=True).to_numpy(bool) & (values != "").to_numpy()
    return values.where(~plain, values + " " + units.map(tidy_unit)).str.strip(), {}


def _label_doses(target: pd.Series, dose: np.ndarray, wanted: bool | None) -> tuple[pd.Series, Notes]:
    """Perturbation labels: the target, with its dose where doses are perturbations of their own."""
    dosed = (target != CONTROL).to_numpy() & (target != "").to_numpy() & np.isfinite(dose)
    if wanted is None:
        wanted = bool((pd.Series(dose[dosed]).groupby(target[dosed].to_numpy()).nunique() > 1).any())
    if not wanted or not dosed.any():
        return target, Notes()
    texts = pd.Series(dose, index=target.index).map("{:g}".format)
    return target.where(~dosed, target + "@" + texts), say(
        "labels carry the dose, NAME@DOSE (several doses of one target)"
    )


def add_totals(
    obs: pd.DataFrame, spool: Spool, columns: Columns, raw: pd.DataFrame, path: Path
) -> tuple[pd.DataFrame, Notes]:
    """Add total counts; drop cells without any.

    Args:
        obs: [n] Cells with `place`, their row in the source.
        spool: Counts of the source.
        columns: Which column holds totals.
        raw: obs of the source.
        path: File name for messages.

    Raises:
        ColumnError: The column holds no numbers, or totals below the cell's own counts.
    """
    notes, place = Notes(), obs["place"].to_numpy()
    sums = spool.totals_n[place]
    if columns.total_counts:
        name = f"obs[{columns.total_counts!r}]"
        try:
            totals = raw[columns.total_counts].to_numpy(np.float64)[place]
        except (TypeError, ValueError):
            do = "Pass --total-counts COLUMN, or --total-counts sum."
            raise ColumnError(path, name, "numbers", str(raw[columns.total_counts].dtype), do) from None
        wrong = ~np.isfinite(totals) | (totals < sums - 0.5)
        if wrong.any():
            i = int(np.argmax(wrong))
            expected = f"at least the cell's own counts ({sums[i]} in cell {obs.index[i]!r})"
            do = "Pass --total-counts with a column over all genes, or --total-counts sum."
            raise ColumnError(path, name, expected, f"{totals[i]:g} ({int(wrong.sum())} such cells)", do)
    else:
        totals = sums.astype(np.float64)
        for name in other_totals(raw):
            other = raw[name].to_numpy()[place]
            if other.dtype.kind in "iuf" and (other >= sums).all() and (other > sums).any():
                notes += say(f"column {name!r} is above the row sums: over all genes? Then --total-counts {name}")
    obs = obs.assign(total_counts=totals.astype(np.float32))
    return obs[totals > 0], notes + Notes(dropped={"zero total counts": int((totals <= 0).sum())})


def check_enough(obs: pd.DataFrame, path: Path) -> None:
    """Three perturbations, or three (cell line, perturbation) conditions, are the least that can be learned from.

    Raises:
        TooFewError: Fewer.
        ControlError: No control cells are left.
    """
    perturbed = obs[~obs["is_control"]]
    n_labels = perturbed["perturbation"].nunique()
    n_conditions = len(perturbed[["cell_line", "perturbation"]].drop_duplicates())
    if n_labels < 3 and n_conditions < 3:
        found = f"{n_labels} perturbations ({few(perturbed['perturbation'].unique())}) in {n_conditions} conditions"
        do = "Check --perturbation and --cell-line, or use a larger screen."
        raise TooFewError(path, "obs", "three perturbations or three (cell line, perturbation) conditions", found, do)
    if len(perturbed) == len(obs):
        raise ControlError(path, "obs", "control cells with counts", "none", "Check --control and --layer.")
