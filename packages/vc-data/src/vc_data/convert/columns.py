"""Which columns of a foreign file hold what: the guess, in words, and the flag that overrules it."""

import dataclasses
import difflib
import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
from vc_contracts.text.plain import is_unnamed, plain

from vc_data.convert.controls import (
    COUNTS_OF_CONTROLS,
    as_bool,
    boolean_column,
    find_controls,
    mixed_labels,
    positive_controls,
    suspects,
)
from vc_data.convert.series import as_text, distinct, labels_of, split_names
from vc_data.errors import ColumnError, ControlError, few
from vc_data.options import Columns
from vc_data.text.controls import control_rank
from vc_data.text.modes import UNKNOWN, is_chemical, parse_mode
from vc_data.text.values import is_no_label

# In order of trust; a later tier is used when no earlier one has a column with control cells in it.
_PERTURBATION = (
    ("perturbation", "perturbations"),
    ("targetgene", "genetarget", "target", "condition", "gene", "drug", "compound", "productname", "treatment"),
    (
        "smname",
        "drugname",
        "compoundname",
        "chemical",
        "cytokine",
        "ligand",
        "perturbagen",
        "pertiname",
        "genesymbol",
        "genotype",
    ),
    ("guideidentity", "guideid", "guideids", "guide", "sgrna", "grna", "sgrnaid", "grnaid", "sgidab", "featurecall"),
)
_DOSE_UNIT = ("doseunit", "doseunits", "concentrationunit", "concunit", "unit", "units")
_POOLED = (
    *(
        "stimulation",
        "stimulus",
        "stim",
        "treatment",
        "treatments",
        "condition",
        "cytokine",
        "drug",
        "compound",
        "agent",
    ),
    *(
        "time",
        "timepoint",
        "timepoints",
        "hours",
        "hpi",
        "day",
        "days",
        "timehr",
        "timeh",
        "harvest",
        "duration",
        "dose",
    ),
    *("mediumcondition", "media", "medium", "arm"),
    *("celltype", "celltypes", "tissue", "genotype", "donor", "donorid", "patient", "patientid"),
)
"""Columns whose values may be part of what was done to a cell, or to another kind of cell."""
_AMOUNT = re.compile(r"dose|dosage|concentration|drug_?conc|(?<![a-z])conc(?![a-z])", re.IGNORECASE)
"""In names of columns that may hold doses."""
_CELL_LINE = ("cellline", "celllinename", "celltype", "celltypes", "line")
_BATCH = ("batch", "gemgroup", "lane", "channel", "batchid", "plate", "well")
_MODE = ("perturbationtype", "perturbationmode", "crisprtype")
_MAYBE_MODE = ("mode", "modality", "perttype", "crispr")
"""Names of columns that say how perturbations act where a value does, e.g. CRISPRi."""
_DOSE = ("dose", "dosevalue", "doseum", "dosenm", "doseasgiven", "doseval", "concentration")
_DOSE_NAME = re.compile(
    r"(?:drug|pert|compound|final|treatment)?(?:doses?|conc|concentration|dosage)(?:value|val)?[(\[]?(?:in)?[fpnum\u00b5\u03bc]?m?[)\]]?"
)
"""Other names of columns with doses, without case, blanks, '-' and '_': `drug_conc_nM`, `Dose [uM]`."""
_GUIDE = (
    "guide", "guideidentity", "guideid", "guideids", "guidename", "guiderna", "sgrna", "sgrnaid", "sgrnaname",
    "sgrnas", "guidetarget", "grna", "grnaid", "grnaname", "grnas", "sgid", "sgidab", "protospacer", "featurecall",
)  # fmt: skip
_TOTAL = ("totalcountsallgenes",)
_NO_GENE = (
    *("ncells", "numcells", "cellcount", "nwells", "replicate", "replicates", "iscontrol", "isctrl"),
    *("pvalue", "pval", "adjpvalue", "pvaladj", "padj", "fdr", "qvalue", "qval"),
)
"""Other columns of numbers that stand beside genes in tables of effects."""
_OTHER_TOTALS = ("totalcounts", "ncounts", "ncount", "umicount", "numis", "ncountrna")


def guess_columns(
    obs: pd.DataFrame,
    var: pd.DataFrame,
    given: Columns | None = None,
    *,
    path: str | Path = "the file",
    control_only: bool = False,
) -> tuple[Columns, list[str]]:
    """Complete `given` from the names and values of the columns.

    Gene columns are left to `genes.identify_genes`.

    Args:
        obs: Cells, a data frame.
        var: Genes, a data frame (not used for the obs columns, checked for given names).
        given: What the user named; never overruled.
        path: File name for messages.
        control_only: Every cell is a control: labels are not needed.

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
    perturbation, control, is_control = given.perturbation, given.control, given.is_control
    if not control_only:
        perturbation, control, is_control, statements = _guess_labels(obs, names, given, path)
    cell_line = given.cell_line
    if given.cell_line_name is None and cell_line is None:
        cell_line = next((names[name] for name in _CELL_LINE if name in names), None)
        if cell_line is None:
            do = "Pass --cell-line COLUMN (or COLUMN,COLUMN), or --cell-line-name NAME for one name for all cells."
            raise ColumnError(path, "obs", "a column with the cell line", f"the columns {few(obs.columns, 30)}", do)
    statements.append(_say("cell line", given.cell_line_name or cell_line, given.cell_line_name or given.cell_line))
    optional = {
        "batch": (_BATCH, "none: every cell gets 'unknown'"),
        "mode": (
            _MODE,
            "none: mode 8, unknown; how do they act? Say --mode-name crispri, crispra, knockout, inhibitor ...",
        ),
        "dose": (_DOSE, "none"),
        "dose_unit": (_DOSE_UNIT, "none stated"),
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
        if key == "dose_unit" and (value or found["dose"] is None):
            found[key] = value
            continue
        if key == "dose_unit":
            candidates = (*(f"{plain(str(found['dose']))}{end}" for end in ("unit", "units")), *candidates)
        found[key] = value or next((names[name] for name in candidates if name in names), None)
        if key == "mode" and found[key] is None:
            found[key] = next(
                (names[name] for name in _MAYBE_MODE if name in names and _tells_mode(obs[names[name]])), None
            )
        if key == "dose" and found[key] is None:
            found[key] = next((column for name, column in names.items() if _DOSE_NAME.fullmatch(name)), None)
        if found[key] in ("none", "sum"):
            found[key] = None
        label = key.replace("_", " ")
        statements.append(_say(f"{label} column", found[key], value) if found[key] else f"{label}: {absent}")
    columns = dataclasses.replace(
        given, perturbation=perturbation, control=control, is_control=is_control, cell_line=cell_line, **found
    )
    return columns, statements


def unperturbed_cells(obs: pd.DataFrame, path: str | Path) -> tuple[pd.Series, str]:
    """Which cells of a foreign file nothing was done to, by the rules of a conversion.

    Returns:
        [n] bool, and what says so; all, and '', where no column tells cells apart.

    Raises:
        ColumnError, ControlError: If columns tell cells apart and none of them, or several, tell controls.
    """
    names = {plain(str(column)): str(column) for column in reversed(obs.columns)}
    usual = [names[name] for tier in _PERTURBATION for name in tier if name in names]
    if not any(len(distinct(obs[name])) > 1 for name in usual):
        marked = boolean_column(obs, names, path)
        if marked is None:
            return pd.Series(True, index=obs.index), ""
        return pd.Series(as_bool(obs[marked], path)[0], index=obs.index), f"column {marked!r}"
    columns, _ = guess_columns(obs, pd.DataFrame(), Columns(cell_line_name="any"), path=path)
    if columns.is_control:
        return pd.Series(as_bool(obs[columns.is_control], path)[0], index=obs.index), f"column {columns.is_control!r}"
    return labels_of(obs, columns.perturbation or "").isin(columns.control), f"label {few(columns.control)}"


def _tells_mode(column: pd.Series) -> bool:
    return any(parse_mode(text) != UNKNOWN for text in distinct(column))


def _guess_labels(
    obs: pd.DataFrame, names: dict[str, str], given: Columns, path: str | Path
) -> tuple[str, tuple[str, ...], str | None, list[str]]:
    """Column with labels, labels of controls, column that marks controls (or None), and statements."""
    statements: list[str] = []
    is_control = given.is_control or (None if given.control else boolean_column(obs, names, path))
    perturbation = given.perturbation or _guess_perturbation(obs, names, bool(is_control or given.control), path)
    if is_control and not given.is_control and plain(is_control) in COUNTS_OF_CONTROLS:
        both = mixed_labels(obs[is_control], labels_of(obs, perturbation))
        if both:
            statements.append(
                f"column {is_control!r} does not tell control cells apart ({few(both, 3)} both ways): not used"
            )
            is_control = None
        elif positive := positive_controls(obs[is_control], labels_of(obs, perturbation)):
            do = f"Pass --control with the labels that are, or --is-control {is_control} if all of them are."
            found = f"it marks {few(positive, 3)}, too"
            raise ControlError(path, f"obs[{is_control!r}]", "only cells that nothing was done to", found, do)
    statements.append(_say("perturbation column", perturbation, given.perturbation))
    control = given.control
    if is_control:
        statements.append(_say("control cells: true in column", is_control, given.is_control))
    else:
        control = find_controls(labels_of(obs, perturbation), given.control, perturbation, path)
        shown = ", ".join(control[:6]) + (f" ... ({len(control)} in all)" if len(control) > 6 else "")
        statements.append(_say("control label", shown, given.control))
    return perturbation, control, is_control, statements


def other_totals(obs: pd.DataFrame) -> list[str]:
    """Columns that could be a library size but do not say over which genes."""
    names = {plain(str(column)): str(column) for column in reversed(obs.columns)}
    return [names[name] for name in _OTHER_TOTALS if name in names]


def is_chemical_file(obs: pd.DataFrame, columns: Columns) -> bool:
    """Whether the perturbations are compounds, by the mode (column or name), else by the perturbation column's name."""
    if columns.mode_name:
        return is_chemical(columns.mode_name)
    if columns.mode:
        values = obs[columns.mode].dropna().astype(str).unique()
        return any(is_chemical(value) and parse_mode(value) not in (0, 1, 2, 3) for value in values)
    return is_chemical(columns.perturbation or "")


def _say(what: str, value: Any, given: Any) -> str:
    return f"{what}{'' if ':' in what else ':'} {value!r} ({'given' if given else 'guessed'})"


def fill_columns(given: Columns, known: Columns) -> Columns:
    """What was given, completed by what is known of a data set; of two ways to say one thing, the given one stands."""
    filled = {f.name: getattr(given, f.name) or getattr(known, f.name) for f in dataclasses.fields(Columns)}
    for pair in (("control", "is_control"), ("cell_line", "cell_line_name"), ("mode", "mode_name")):
        if any(getattr(given, name) for name in pair):
            filled |= {name: getattr(given, name) for name in pair}
    return Columns(**filled)


def check_given(obs: pd.DataFrame, var: pd.DataFrame, given: Columns, path: str | Path) -> None:
    """Every column that was named must exist.

    Raises:
        ColumnError: One does not, or the cell line is named twice.
    """
    wanted = {
        "perturbation": split_names(given.perturbation, obs),
        "is_control": [given.is_control],
        "cell_line": split_names(given.cell_line, obs),
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
                if key in ("mode", "cell_line"):
                    hint += f" If all cells are {name!r}, pass --{key.replace('_', '-')}-name {shlex.quote(name)}."
                do = f"Pass --{key.replace('_', '-')} with one of them.{hint}"
                raise ColumnError(path, table, f"a column {name!r}", f"the columns {few(frame.columns, 30)}", do)
    if given.cell_line and given.cell_line_name:
        raise ColumnError(path, "obs", "one source of the cell line", "two", "Pass --cell-line or --cell-line-name.")


def pooled_columns(obs: pd.DataFrame, columns: Columns, labels: pd.Series) -> list[str]:
    """Columns that may be part of what was done, are not used, and differ among cells of one label and cell line."""
    used = {*split_names(columns.perturbation, obs), *split_names(columns.cell_line, obs)}
    used |= {columns.batch, columns.dose, columns.dose_unit}
    found = []
    dose = as_text(obs[columns.dose]) if columns.dose in obs else ""
    alike = (labels.astype(str) + "\x1f" + dose).to_numpy()
    for name in map(str, obs.columns):
        # A column that joins compound and dose has many values.
        most = 50 if plain(name) in _POOLED else len(obs) // 2
        if name not in used and (plain(name) in _POOLED or holds_amounts(name)):
            values = as_text(obs[name])
            if values.groupby(alike).nunique().max() > 1 and 1 < values.nunique() <= most:
                found.append(name)
    return found


def is_said_of_rows(name: str) -> bool:
    """Whether a column of numbers speaks of the row (dose, plate, time, number of cells), and is no measured gene."""
    word = plain(name)
    guessed = (
        _DOSE_UNIT,
        _POOLED,
        _CELL_LINE,
        _BATCH,
        _MODE,
        _MAYBE_MODE,
        _DOSE,
        _GUIDE,
        _TOTAL,
        _OTHER_TOTALS,
        *_PERTURBATION,
    )
    return (
        any(word in names for names in guessed)
        or word in _NO_GENE
        or is_unnamed(name)
        or bool(_DOSE_NAME.fullmatch(word) or _AMOUNT.search(name))
    )


def holds_amounts(name: str) -> bool:
    """Whether a column's name speaks of doses."""
    return bool(_AMOUNT.search(name))


def second_columns(obs: pd.DataFrame, perturbation: str) -> list[str]:
    """Columns that name a second perturbation of the cell (`gene_2` beside `gene_1`, `drug_b` beside `drug_a`)."""
    first = split_names(perturbation, obs)
    if len(first) != 1:
        return []
    name = plain(first[0])
    stems = {name, re.sub(r"(1|a|first)$", "", name)}
    wanted = {f"{stem}{end}" for stem in stems for end in ("2", "b", "second", "two")} | {
        f"second{stem}" for stem in stems
    }
    wanted |= {"perturbation2", "secondperturbation", "cotreatment", "combinationpartner"}
    fitting = [str(column) for column in obs.columns if plain(str(column)) in wanted]
    return [column for column in fitting if any(not is_no_label(text) for text in as_text(obs[column]).unique())]


def _guess_perturbation(obs: pd.DataFrame, names: dict[str, str], controls_known: bool, path: str | Path) -> str:
    tiers = [[names[name] for name in tier if name in names] for tier in _PERTURBATION]
    rank_of = {
        column: 2 if controls_known else max(map(control_rank, distinct(obs[column])), default=0)
        for column in {column for tier in tiers for column in tier}
    }
    # A column of control and one other label is more often an arm of the experiment than the screen.
    for least, rank in ((4, 2), (4, 1), (0, 2), (0, 1)):
        for tier in tiers:
            fitting = [column for column in tier if rank_of[column] >= rank and len(distinct(obs[column])) >= least]
            if len(fitting) == 1:
                return fitting[0]
            if fitting:
                do = "Pass --perturbation with the one you mean."
                raise ColumnError(path, "obs", "one column with perturbations", f"several: {few(fitting)}", do)
    candidates = [column for tier in tiers for column in tier]
    if candidates:
        labels = distinct(obs[candidates[0]])
        do = f"{suspects(labels)}Pass --control LABEL (and --perturbation COLUMN if that is not the column)."
        raise ControlError(path, f"obs[{candidates[0]!r}]", "a label of control cells", f"{few(labels, 8)}", do)
    pairs = [f"{names[name]},{second[0]}" for name in names for second in [_partners(names, name)] if second]
    do = f"Pass --perturbation {pairs[0]} to join the two, or one COLUMN." if pairs else "Pass --perturbation COLUMN."
    if not len(obs.columns):
        do = "Pass --obs-table TABLE with the cells' columns (cell names first), or --control-only."
        raise ColumnError(path, "obs", "a column with perturbations", "no columns", do)
    raise ColumnError(path, "obs", "a column with perturbations", f"the columns {few(obs.columns, 30)}", do)


def _partners(names: dict[str, str], name: str) -> list[str]:
    """Columns that go on from a first one: `gene_b` of `gene_a`, `perturbation_2` of `perturbation_1`."""
    stem, end = name[:-1], {"1": "2", "a": "b"}.get(name[-1:])
    usual = {known for tier in _PERTURBATION for known in tier}
    return [names[f"{stem}{end}"]] if end and stem in usual and f"{stem}{end}" in names else []
