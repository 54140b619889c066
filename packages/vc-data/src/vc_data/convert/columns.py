"""Which columns of a foreign file hold what: the guess, in words, and the flag that overrules it."""

import dataclasses
import difflib
from collections.abc import Sequence

from vc_data.errors import ColumnError, ControlError, few
from vc_data.options import Columns
from vc_data.text.controls import control_stem, is_control_name
from vc_data.text.modes import is_chemical, parse_mode
from vc_data.text.plain import plain

# In order of trust; a later tier is used when no earlier one has a column with control cells in it.
_PERTURBATION = (
    ("perturbation", "perturbations"),
    ("targetgene", "genetarget", "target", "condition", "gene", "drug", "compound", "productname", "treatment"),
    ("guideidentity", "guideid", "guideids", "guide", "sgrna", "grna", "sgidab", "featurecall"),
)
_IS_CONTROL = ("iscontrol", "isctrl", "control", "ctrl")
_CELL_LINE = ("cellline", "celllinename", "celltype", "celltypes", "line")
_BATCH = ("batch", "gemgroup", "lane", "channel", "batchid", "plate", "well")
_MODE = ("perturbationtype", "perturbationmode", "crisprtype")
_DOSE = ("dose", "dosevalue", "doseum", "dosenm", "doseasgiven", "doseval", "concentration")
_GUIDE = ("guide", "guideidentity", "guideid", "guideids", "sgrna", "grna", "sgid", "sgidab", "featurecall")
_TOTAL = ("totalcountsallgenes",)
_OTHER_TOTALS = ("totalcounts", "ncounts", "ncount", "umicount", "numis", "ncountrna")


def guess_columns(obs, var, given: Columns | None = None, *, path: object = "the file") -> tuple[Columns, list[str]]:
    """Complete `given` from the names and values of the columns.

    Gene columns are left to `genes.identify_genes`.

    Args:
        obs: Cells, a data frame.
        var: Genes, a data frame (not used for the obs columns, checked for given names).
        given: What the user named; never overruled.
        path: File name for messages.

    Returns:
        The completed columns, and one statement per decision, e.g. "perturbation column: 'target_gene' (guessed)".

    Raises:
        ColumnError: A given column does not exist, a needed one is absent, or several fit equally well.
        ControlError: No control cells, or a control label that no cell carries.
    """
    given = given or Columns()
    statements: list[str] = []
    check_given(obs, var, given, path)
    names = {plain(str(column)): str(column) for column in reversed(obs.columns)}
    is_control = given.is_control or (None if given.control else _boolean_column(obs, names))
    perturbation = given.perturbation or _guess_perturbation(obs, names, bool(is_control or given.control), path)
    statements.append(_say("perturbation column", perturbation, given.perturbation))
    control = given.control
    if is_control:
        statements.append(_say("control cells: true in column", is_control, given.is_control))
    else:
        control = _find_controls(obs[perturbation], given.control, perturbation, path)
        statements.append(_say("control label", ", ".join(control), given.control))
    cell_line = given.cell_line
    if given.cell_line_name is None and cell_line is None:
        cell_line = next((names[name] for name in _CELL_LINE if name in names), None)
        if cell_line is None:
            do = "Pass --cell-line COLUMN (or COLUMN,COLUMN), or --cell-line-name NAME for one name for all cells."
            raise ColumnError(path, "obs", "a column with the cell line", f"the columns {few(obs.columns, 30)}", do)
    statements.append(_say("cell line", given.cell_line_name or cell_line, given.cell_line_name or given.cell_line))
    optional = {
        "batch": (_BATCH, "none: every cell gets 'unknown'"),
        "mode": (_MODE, "none: mode 8, unknown"),
        "dose": (_DOSE, "none"),
        "guide": (_GUIDE, "none"),
        "total_counts": (_TOTAL, f"row sum over the {len(var)} genes in this file"),
    }
    found: dict[str, str | None] = {}
    for key, (candidates, absent) in optional.items():
        value = getattr(given, key)
        if key == "mode" and given.mode_name:
            statements.append(_say("mode", given.mode_name, True))
            found[key] = None
            continue
        found[key] = value or next((names[name] for name in candidates if name in names), None)
        if found[key] in ("none", "sum"):
            found[key] = None
        label = key.replace("_", " ")
        statements.append(_say(f"{label} column", found[key], value) if found[key] else f"{label}: {absent}")
    columns = dataclasses.replace(
        given, perturbation=perturbation, control=control, is_control=is_control, cell_line=cell_line, **found
    )
    return columns, statements


def other_totals(obs) -> list[str]:
    """Columns that could be a library size but do not say over which genes."""
    names = {plain(str(column)): str(column) for column in reversed(obs.columns)}
    return [names[name] for name in _OTHER_TOTALS if name in names]


def is_chemical_file(obs, columns: Columns) -> bool:
    """Whether the perturbations are compounds, by the mode (column or name), else by the perturbation column's name."""
    if columns.mode_name:
        return is_chemical(columns.mode_name)
    if columns.mode:
        values = obs[columns.mode].dropna().astype(str).unique()
        return any(is_chemical(value) and parse_mode(value) not in (0, 1, 2, 3) for value in values)
    return is_chemical(columns.perturbation or "")


def _say(what: str, value: object, given: object) -> str:
    return f"{what}{'' if ':' in what else ':'} {value!r} ({'given' if given else 'guessed'})"


def fill_columns(given: Columns, known: Columns) -> Columns:
    """What was given, completed by what is known of a data set; of two ways to say one thing, the given one stands."""
    filled = {f.name: getattr(given, f.name) or getattr(known, f.name) for f in dataclasses.fields(Columns)}
    for pair in (("control", "is_control"), ("cell_line", "cell_line_name"), ("mode", "mode_name")):
        if any(getattr(given, name) for name in pair):
            filled |= {name: getattr(given, name) for name in pair}
    return Columns(**filled)


def check_given(obs, var, given: Columns, path: object) -> None:
    """Every column that was named must exist.

    Raises:
        ColumnError: One does not, or the cell line is named twice.
    """
    wanted = {
        "perturbation": [given.perturbation],
        "is_control": [given.is_control],
        "cell_line": (given.cell_line or "").split(","),
        "batch": [] if given.batch == "none" else [given.batch],
        "mode": [given.mode],
        "dose": [] if given.dose == "none" else [given.dose],
        "guide": [] if given.guide == "none" else [given.guide],
        "total_counts": [] if given.total_counts == "sum" else [given.total_counts],
        "gene_id": [] if given.gene_id == "index" else [given.gene_id],
        "symbol": [] if given.symbol == "index" else [given.symbol],
    }
    for key, names in wanted.items():
        table, frame = ("var", var) if key in ("gene_id", "symbol") else ("obs", obs)
        for name in filter(None, names):
            if name not in frame.columns:
                near = difflib.get_close_matches(name, [str(column) for column in frame.columns], n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                do = f"Pass --{key.replace('_', '-')} with one of them.{hint}"
                raise ColumnError(path, table, f"a column {name!r}", f"the columns {few(frame.columns, 30)}", do)
    if given.cell_line and given.cell_line_name:
        raise ColumnError(path, "obs", "one source of the cell line", "two", "Pass --cell-line or --cell-line-name.")


def _boolean_column(obs, names: dict[str, str]) -> str | None:
    """Name of a column like is_control that holds only true and false."""
    for name in _IS_CONTROL:
        if name in names and set(obs[names[name]].dropna().astype(str)) <= {"True", "False", "0", "1", "0.0", "1.0"}:
            return names[name]
    return None


def as_bool(column):
    """Boolean array of a column that holds true/false in any spelling that `is_control` columns use."""
    return column.astype(str).isin(["True", "1", "1.0"]).to_numpy()


def _guess_perturbation(obs, names: dict[str, str], controls_known: bool, path: object) -> str:
    tiers = [[names[name] for name in tier if name in names] for tier in _PERTURBATION]
    for tier in tiers:
        fitting = [column for column in tier if controls_known or any(map(is_control_name, _labels(obs[column])))]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            do = "Pass --perturbation with the one you mean."
            raise ColumnError(path, "obs", "one column with perturbations", f"several: {few(fitting)}", do)
    candidates = [column for tier in tiers for column in tier]
    if candidates:
        labels = _labels(obs[candidates[0]])
        do = "Pass --control LABEL (and --perturbation COLUMN if that is not the column)."
        raise ControlError(path, f"obs[{candidates[0]!r}]", "a label of control cells", f"{few(labels, 8)}", do)
    do = "Pass --perturbation COLUMN."
    raise ColumnError(path, "obs", "a column with perturbations", f"the columns {few(obs.columns, 30)}", do)


def _labels(column) -> list[str]:
    return sorted(column.dropna().astype(str).unique())


def _find_controls(column, given: Sequence[str], name: str, path: object) -> tuple[str, ...]:
    labels = _labels(column)
    where = f"obs[{name!r}]"
    for label in given:
        if label not in labels:
            near = difflib.get_close_matches(label, labels, n=5, cutoff=0.4) or labels[:5]
            do = f"Nearest labels: {few(near)}. Pass --control with one that exists."
            raise ControlError(path, where, f"control label {label!r}", "no cell with it", do)
    if given:
        return tuple(given)
    controls = [label for label in labels if is_control_name(label)]
    if not controls:
        do = "Pass --control LABEL, or another --perturbation COLUMN."
        raise ControlError(path, where, "a label of control cells", f"{few(labels, 8)}", do)
    if len({control_stem(label) for label in controls}) > 1:
        do = f"Pass --control with those that are controls, e.g. --control {controls[0]!r}."
        raise ControlError(path, where, "one kind of control", f"several: {few(controls)}", do)
    return tuple(controls)
