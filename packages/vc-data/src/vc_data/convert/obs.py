"""Cells of a foreign file as the obs table of a screen: labels, context, mode, dose, guide, library size."""

from pathlib import Path

import numpy as np
import pandas as pd

from vc_data.convert.columns import as_bool, is_chemical_file, other_totals
from vc_data.convert.counts import Spool
from vc_data.convert.notes import Notes, say
from vc_data.errors import ColumnError, ControlError, SourceError, TooFewError, few
from vc_data.genes.names import GeneNames
from vc_data.options import Columns, ConvertOptions
from vc_data.text.controls import CONTROL
from vc_data.text.labels import read_labels
from vc_data.text.modes import KNOCKOUT, UNKNOWN, is_chemical, parse_mode


def read_cells(
    raw: pd.DataFrame,
    path: Path,
    genes: GeneNames,
    options: ConvertOptions,
    *,
    dose_given: bool = False,
    guides: pd.Series | None = None,
) -> tuple[pd.DataFrame, Notes]:
    """The obs table of the screen except total counts, with `place`, the row in the source, and why cells were dropped.

    Args:
        raw: obs of the source, with the labels as they are to be read.
        path: File name for messages.
        genes: Its genes, to tell combinations from names.
        options: Of the conversion; `options.columns` says which column holds what.
        dose_given: Whether the user named the column of doses.
        guides: [n] Guide of each row of the source, or None.

    Raises:
        SourceError: Repeated cell names.
        ColumnError, ControlError, TooFewError: As for `convert`.
    """
    from anndata.utils import make_index_unique

    columns, statements, names = options.columns, [], raw.index
    raw = raw.reset_index(drop=True)
    if not names.is_unique:
        if not options.make_unique:
            repeated = names[names.duplicated()].unique()
            do = "Pass --make-unique to number them, or repair the file."
            raise SourceError(path, "obs index", "distinct cell names", f"repeated: {few(repeated)}", do)
        statements.append(f"cell names numbered: {int(names.duplicated().sum())} were repeated")
        names = make_index_unique(names)
    chemical = is_chemical_file(raw, columns)
    label = raw[columns.perturbation].astype(object)
    unlabelled = label.isna().to_numpy()
    label = label.astype(str)
    is_control = as_bool(raw[columns.is_control]) if columns.is_control else label.isin(columns.control).to_numpy()
    # A control cell needs no label where a column says that it is one.
    missing = unlabelled & ~is_control
    controls = set(label[is_control & ~unlabelled]) if columns.is_control else set(columns.control)
    separator = "none" if chemical and options.combo_separator == "auto" else options.combo_separator
    known = {*genes.symbols, *genes.gene_ids} - {""}
    meaning = read_labels(label[~unlabelled].unique(), controls, known=known, separator=separator)
    statements += meaning.statements
    target = label.map(meaning.target_of).fillna("")
    target[is_control] = CONTROL
    mixed = (target == CONTROL).to_numpy() & ~is_control & ~missing
    if columns.is_control and mixed.any():
        found = f"{int(mixed.sum())} cells labelled {few(label[mixed].unique())} that it calls perturbed"
        do = "Pass --control LABEL to let the labels decide."
        raise ControlError(path, f"obs[{columns.is_control!r}]", "true for every control label", found, do)
    mode = _read_modes(raw, columns, path)
    mode[(target == CONTROL).to_numpy()] = UNKNOWN
    dose = _read_doses(raw, columns, mode, dose_given, path, statements)
    perturbation = _label_doses(target, dose, options.dose_in_label, statements)
    obs = pd.DataFrame(
        {
            "perturbation": perturbation,
            "target": target,
            "cell_line": _join(raw, columns),
            "batch": raw[columns.batch].astype(object).fillna("unknown").astype(str) if columns.batch else "unknown",
            "is_control": (target == CONTROL).to_numpy(),
            "mode": mode,
            "dose": np.where(target == CONTROL, np.nan, dose).astype(np.float32),
            "dataset": options.dataset or path.stem,
            "place": np.arange(len(raw)),
        }
    ).set_index(names)
    if guides is not None:
        obs["guide"] = guides.astype(object).where(~guides.isna().to_numpy(), "").astype(str).to_numpy()
    no_line = obs["cell_line"].isna().to_numpy() & ~missing
    dropped = {"no perturbation label": int(missing.sum()), "no cell line": int(no_line.sum())}
    obs = obs[~missing & ~no_line]
    if not obs["is_control"].any():
        do = "Pass --control LABEL."
        raise ControlError(path, f"obs[{columns.perturbation!r}]", "control cells", "none", do)
    check_enough(obs, path)
    return obs, Notes(tuple(statements), dropped=dropped)


def _join(raw, columns: Columns):
    """Cell line of every cell; several columns joined by '_'; missing where any is."""
    if columns.cell_line_name:
        return columns.cell_line_name
    parts = [raw[column].astype(object) for column in columns.cell_line.split(",")]
    joined = parts[0].where(parts[0].isna(), parts[0].astype(str))
    for part in parts[1:]:
        joined = (joined + "_" + part.astype(str)).where(~part.isna())
    return joined


def _read_modes(raw, columns: Columns, path) -> np.ndarray:
    """[n] int8, how each cell's perturbation acts."""
    if columns.mode_name:
        mode = parse_mode(columns.mode_name)
        if mode == UNKNOWN and not is_chemical(columns.mode_name) and columns.mode_name != "unknown":
            do = "Pass one of crispri, crispra, overexpression, knockout, inhibitor, agonist, degrader, binder, drug, unknown."
            raise ColumnError(path, "--mode-name", "a known type of perturbation", repr(columns.mode_name), do)
        return np.full(len(raw), mode, np.int8)
    if not columns.mode:
        return np.full(len(raw), UNKNOWN, np.int8)
    texts = raw[columns.mode].astype(object).fillna("").astype(str)
    return texts.map({text: parse_mode(text) for text in texts.unique()}).to_numpy(np.int8)


def _read_doses(raw, columns: Columns, mode: np.ndarray, given: bool, path: Path, statements: list[str]) -> np.ndarray:
    """[n] float32; NaN for genetic perturbations."""
    nothing = np.full(len(raw), np.nan, np.float32)
    if not columns.dose or not (mode > KNOCKOUT).any():
        return nothing
    values = raw[columns.dose].astype(object)
    numbers = pd.to_numeric(values, errors="coerce")
    unread = values[numbers.isna() & ~values.isna()]
    if len(unread):
        if given:
            do = "Pass another --dose column, or --dose none."
            raise ColumnError(path, f"obs[{columns.dose!r}]", "numbers", few(unread.unique()), do)
        statements.append(f"dose column {columns.dose!r} holds no numbers (e.g. {unread.iloc[0]!r}): ignored")
        return nothing
    return np.where(mode > KNOCKOUT, numbers.to_numpy(np.float32), np.nan).astype(np.float32)


def _label_doses(target, dose: np.ndarray, wanted: bool | None, statements: list[str]):
    """Perturbation labels: the target, with its dose where doses are perturbations of their own."""
    dosed = (target != CONTROL).to_numpy() & np.isfinite(dose)
    if wanted is None:
        wanted = bool((pd.Series(dose[dosed]).groupby(target[dosed].to_numpy()).nunique() > 1).any())
    if not wanted or not dosed.any():
        return target
    statements.append("labels carry the dose, NAME@DOSE (several doses of one target)")
    texts = pd.Series(dose, index=target.index).map("{:g}".format)
    return target.where(~dosed, target + "@" + texts)


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


def check_enough(obs, path) -> None:
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
