"""A foreign .h5ad becomes a screen: guess, check, spool, align, write.

Everything cheap is checked before the counts are read; the counts are read once, in blocks.
"""

import dataclasses
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from vc_data.columns import Columns, as_bool, guess_columns, is_chemical_file, other_totals
from vc_data.contract import check_target, sha256_tree
from vc_data.counts import Spool, find_problem, merge_columns
from vc_data.errors import ColumnError, ControlError, GeneError, OutputError, SourceError, TooFewError, few
from vc_data.genes import GeneNames, align_genes, identify_genes, is_ensembl, read_panel, unique_names
from vc_data.labels import CONTROL, KNOCKOUT, UNKNOWN, is_chemical, parse_mode, read_labels
from vc_data.source import Source, open_source


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """How to read a foreign file."""

    columns: Columns = field(default_factory=Columns)
    """Which columns hold what; the rest is guessed."""
    layer: str | None = None
    """Matrix with the raw counts: a layer's name, or 'raw'. Default: X."""
    panel: Path | None = None
    """Text file with one gene a line: the genes, and their order, of the screen. Default: the file's own genes."""
    gene_table: Path | None = None
    """Table with Ensembl ids and symbols (TSV, .gz), to translate between them."""
    aliases: Path | None = None
    """Table with previous and alias symbols and the approved symbol (TSV, .gz)."""
    duplicates: Literal["refuse", "sum", "max"] = "refuse"
    """What to do where one gene has several columns."""
    make_unique: bool = False
    """Number repeated cell names instead of refusing them."""
    combo_separator: str = "auto"
    """What joins targets in labels; 'none' for names that only look joined. Auto: '+', '_' between known genes, and
    none for compounds."""
    dose_in_label: bool | None = None
    """Make each dose its own perturbation, NAME@DOSE. Default: yes where a target has several doses."""
    dataset: str | None = None
    """Key of the source. Default: the file's name without suffix."""
    seed: int = 0
    """Seed of the order of cells within a group."""
    backed: bool = True
    """Read counts in blocks; otherwise the whole matrix at once."""
    overwrite: bool = False
    """Replace an output that exists."""


@dataclass(frozen=True)
class ConvertReport:
    """What a conversion did."""

    path: Path
    n_cells: int
    n_genes: int
    n_controls: int
    n_perturbations: int
    cell_lines: list[str]
    dropped_cells: dict[str, int]
    """Why -> how many cells."""
    statements: list[str]
    """Every guess and rule that was used."""
    alignment: dict
    """How genes were matched, as in `uns['alignment']`."""

    def lines(self) -> list[str]:
        """The report for people."""
        dropped = [f"dropped {n} cells: {why}" for why, n in self.dropped_cells.items()]
        total = (
            f"{self.n_cells} cells ({self.n_controls} controls) x {self.n_genes} genes, "
            f"{self.n_perturbations} perturbations, {len(self.cell_lines)} cell lines ({few(self.cell_lines, 4)})"
        )
        return [*self.statements, *dropped, total]


def convert(in_path: str | Path, out_path: str | Path, options: ConvertOptions | None = None) -> ConvertReport:
    """Convert an .h5ad with raw counts (CSR, CSC or dense) into a screen-v1 folder.

    Args:
        in_path: The .h5ad file.
        out_path: The screen; a name that ends in `.zarr`. Appears whole or not at all.
        options: How to read the file.

    Returns:
        What was guessed, dropped, matched and written.

    Raises:
        SourceError: The input is no .h5ad, or truncated or damaged.
        ColumnError, ControlError, CountsError, GeneError, TooFewError: Each with the flag that mends it.
        OutputError: The target exists or its name does not end in `.zarr`.
    """
    from vc_data.screen import write_screen

    options = options or ConvertOptions()
    in_path, out_path = Path(in_path), check_target(out_path, overwrite=options.overwrite)
    if out_path.suffix != ".zarr":
        raise OutputError(out_path, "output", "a name that ends in .zarr", repr(out_path.name), "Choose such a name.")
    with open_source(in_path) as source:
        if source.is_contract():
            do = "Read it as it is, or convert the file that it was made from."
            raise SourceError(in_path, "uns['contract']", "a foreign file", "a file of one of our contracts", do)
        name = options.layer or "X"
        matrix = source.matrix(name)
        var_table = source.var(name)
        genes = identify_genes(var_table, gene_id=options.columns.gene_id, symbol=options.columns.symbol, path=in_path)
        columns, statements = guess_columns(source.obs, var_table, options.columns, path=in_path)
        obs, dropped = _read_cells(source, genes, columns, options, statements)
        merge, genes = _merge_duplicates(genes, options.duplicates, in_path)
        var, alignment, target = _align(genes, options, in_path)
        statements += [f"counts: {name!r} ({matrix.kind})", *genes.statements, *alignment.pop("lines")]
        if merge is not None:
            statements.append(f"columns merged ({options.duplicates}): {len(merge)} into {len(genes.keys)} genes")
            alignment["duplicates"] = options.duplicates
        with tempfile.TemporaryDirectory(dir=out_path.parent, prefix=f".{out_path.name}.tmp-") as folder:
            spool = Spool(Path(folder), *matrix.shape)
            spool.fill(
                matrix,
                obs_names=source.obs.index,
                var_names=var_table.index,
                whole=not options.backed,
                hint=lambda: _find_counts(source, name),
            )
            obs = _add_totals(obs, spool, columns, source, dropped, statements)
            _check_enough(obs, in_path)
            place = obs.pop("place").to_numpy()

            def rows(order: np.ndarray):
                counts = spool.rows(place[order])
                if merge is not None:
                    counts = merge_columns(counts, merge, len(genes.keys), how=options.duplicates)
                return counts if target is None else merge_columns(counts, target, len(var))

            write_screen(
                obs,
                var,
                rows,
                out_path,
                alignment=alignment,
                parents={in_path.name: sha256_tree(in_path)},
                config=_config(options, columns),
                seed=options.seed,
                max_count=_max_count(spool, merge, target, len(var)),
                overwrite=options.overwrite,
            )
    perturbed = ~obs["is_control"]
    return ConvertReport(
        path=out_path,
        n_cells=len(obs),
        n_genes=len(var),
        n_controls=int((~perturbed).sum()),
        n_perturbations=int(obs.loc[perturbed, "perturbation"].nunique()),
        cell_lines=sorted(obs["cell_line"].unique()),
        dropped_cells={why: n for why, n in dropped.items() if n},
        statements=statements,
        alignment=alignment,
    )


def _read_cells(source: Source, genes: GeneNames, columns: Columns, options: ConvertOptions, statements: list[str]):
    """The obs table of the screen except total counts, with `place`, the row in the source."""
    import pandas as pd
    from anndata.utils import make_index_unique

    raw, path, names = source.obs.reset_index(drop=True), source.path, source.obs.index
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
    dose = _read_doses(raw, columns, mode, options.columns.dose, path, statements)
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
    no_line = obs["cell_line"].isna().to_numpy() & ~missing
    dropped = {"no perturbation label": int(missing.sum()), "no cell line": int(no_line.sum())}
    obs = obs[~missing & ~no_line]
    if not obs["is_control"].any():
        do = "Pass --control LABEL."
        raise ControlError(path, f"obs[{columns.perturbation!r}]", "control cells", "none", do)
    _check_enough(obs, path)
    return obs, dropped


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


def _read_doses(raw, columns: Columns, mode: np.ndarray, given: str | None, path, statements: list[str]) -> np.ndarray:
    """[n] float32; NaN for genetic perturbations."""
    import pandas as pd

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
    import pandas as pd

    dosed = (target != CONTROL).to_numpy() & np.isfinite(dose)
    if wanted is None:
        wanted = bool((pd.Series(dose[dosed]).groupby(target[dosed].to_numpy()).nunique() > 1).any())
    if not wanted or not dosed.any():
        return target
    statements.append("labels carry the dose, NAME@DOSE (several doses of one target)")
    texts = pd.Series(dose, index=target.index).map("{:g}".format)
    return target.where(~dosed, target + "@" + texts)


def _merge_duplicates(genes: GeneNames, how: str, path) -> tuple[np.ndarray | None, GeneNames]:
    """[source genes] -> [distinct genes], and the distinct genes; None where all are distinct."""
    keys = genes.keys
    first: dict[str, int] = {}
    merge = np.array([first.setdefault(key, len(first)) for key in keys], np.int64)
    if len(first) == len(keys):
        return None, genes
    if how == "refuse":
        seen: set[str] = set()
        repeated = list(dict.fromkeys(key for key in keys if key in seen or seen.add(key)))
        do = "Pass --duplicates sum or --duplicates max."
        raise GeneError(path, "var", "each gene once", f"repeated: {few(repeated)}", do)
    rows = np.unique(merge, return_index=True)[1]
    return merge, GeneNames([genes.gene_ids[i] for i in rows], [genes.symbols[i] for i in rows], genes.statements)


def _align(genes: GeneNames, options: ConvertOptions, path):
    """The var table of the screen, the alignment as JSON with `lines`, and [genes] -> [columns] (None: as they are)."""
    import pandas as pd

    names = unique_names(genes)
    if options.panel is None:
        table = {"gene_id": genes.gene_ids, "symbol": genes.symbols, "measured": np.ones(len(names), bool)}
        shared = sum(bool(symbol) and name != symbol for name, symbol in zip(names, genes.symbols, strict=True))
        lines = [f"symbols that several ids share: {shared} genes are named by their id"] if shared else []
        alignment = {"panel": None, "n_source": len(names), "n_panel": len(names), "n_measured": len(names)}
        return pd.DataFrame(table, index=names), alignment | {"lines": lines}, None
    by_symbol = [symbol or name for symbol, name in zip(genes.symbols, names, strict=True)]
    panel = read_panel(options.panel)
    result = align_genes(
        by_symbol, panel, gene_ids=genes.gene_ids, gene_table=options.gene_table, aliases=options.aliases
    )
    source_of = {target: row for row, target in reversed(list(enumerate(result.target.tolist()))) if target >= 0}
    gene_ids, symbols = list(result.panel_ids), ["" if is_ensembl(name) else name for name in result.panel]
    for i, row in source_of.items():
        gene_ids[i] = genes.gene_ids[row] or gene_ids[i]
        symbols[i] = symbols[i] or genes.symbols[row]
    var = pd.DataFrame({"gene_id": gene_ids, "symbol": symbols, "measured": result.measured}, index=result.panel)
    alignment = {"panel": options.panel.name, **result.to_json(), "lines": result.lines()}
    return var, alignment, result.target


def _add_totals(obs, spool: Spool, columns: Columns, source: Source, dropped: dict, statements: list[str]):
    """Add total counts; drop cells without any."""
    path = source.path
    place = obs["place"].to_numpy()
    sums = spool.totals_n[place]
    if columns.total_counts:
        name = f"obs[{columns.total_counts!r}]"
        try:
            totals = source.obs[columns.total_counts].to_numpy(np.float64)[place]
        except (TypeError, ValueError):
            do = "Pass --total-counts COLUMN, or --total-counts sum."
            raise ColumnError(path, name, "numbers", str(source.obs[columns.total_counts].dtype), do) from None
        wrong = ~np.isfinite(totals) | (totals < sums - 0.5)
        if wrong.any():
            i = int(np.argmax(wrong))
            expected = f"at least the cell's own counts ({sums[i]} in cell {obs.index[i]!r})"
            do = "Pass --total-counts with a column over all genes, or --total-counts sum."
            raise ColumnError(path, name, expected, f"{totals[i]:g} ({int(wrong.sum())} such cells)", do)
    else:
        totals = sums.astype(np.float64)
        for name in other_totals(source.obs):
            other = source.obs[name].to_numpy()[place]
            if other.dtype.kind in "iuf" and (other >= sums).all() and (other > sums).any():
                statements.append(f"column {name!r} is above the row sums: over all genes? Then --total-counts {name}")
    obs = obs.assign(total_counts=totals.astype(np.float32))
    dropped["zero total counts"] = int((totals <= 0).sum())
    return obs[totals > 0]


def _check_enough(obs, path) -> None:
    """Three perturbations, or three (cell line, perturbation) conditions, are the least that can be learned from."""
    perturbed = obs[~obs["is_control"]]
    n_labels = perturbed["perturbation"].nunique()
    n_conditions = len(perturbed[["cell_line", "perturbation"]].drop_duplicates())
    if n_labels < 3 and n_conditions < 3:
        found = f"{n_labels} perturbations ({few(perturbed['perturbation'].unique())}) in {n_conditions} conditions"
        do = "Check --perturbation and --cell-line, or use a larger screen."
        raise TooFewError(path, "obs", "three perturbations or three (cell line, perturbation) conditions", found, do)
    if len(perturbed) == len(obs):
        raise ControlError(path, "obs", "control cells with counts", "none", "Check --control and --layer.")


def _find_counts(source: Source, name: str) -> str:
    """One sentence on which other matrix of the file holds whole numbers."""
    for other in source.matrix_names():
        if other == name:
            continue
        if find_problem(source.sample(other)) is None:
            return f"{other!r} holds whole numbers: pass --layer {other}."
    return "No other matrix of the file holds whole numbers: get the raw counts from the source of the data."


def _max_count(spool: Spool, merge, target, n_columns: int) -> int:
    """No count of the screen is above this: the greatest sum of column maxima that meet in one column."""
    greatest = spool.max_g
    for step, n in ((merge, None), (target, n_columns)):
        if step is not None:
            width = n if n is not None else int(step.max()) + 1
            greatest = np.bincount(step[step >= 0], weights=greatest[step >= 0], minlength=width)
    return int(greatest.max(initial=0))


def _config(options: ConvertOptions, columns: Columns) -> dict:
    """Options and the columns that were used, as JSON; files by name, so that the bytes do not depend on where they lie."""
    config = dataclasses.asdict(dataclasses.replace(options, columns=columns))
    for key in ("overwrite", "backed"):
        del config[key]
    return {key: value.name if isinstance(value, Path) else value for key, value in config.items()}
