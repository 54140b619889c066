"""A foreign .h5ad becomes a screen: guess, check, spool, align, write.

Everything cheap is checked before the counts are read; the counts are read once, in blocks. A killed conversion leaves
`.NAME.part` beside the output; the same command goes on from there and gives the same bytes.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from vc_data.contract import check_target, sha256_tree
from vc_data.convert.columns import Columns, check_given, fill_columns, guess_columns
from vc_data.convert.counts import Spool, find_problem, merge_columns, refuse_values
from vc_data.convert.filters import Filters, apply_filters
from vc_data.convert.obs import add_totals, check_enough, read_cells
from vc_data.convert.source import Source, open_source
from vc_data.errors import ColumnError, ControlError, GeneError, OutputError, SourceError, VcDataError, few
from vc_data.genes.align import GeneNames, align_genes, identify_genes, is_ensembl, read_panel, unique_names
from vc_data.screen.part import open_part, read_note, write_note


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """How to read a foreign file."""

    columns: Columns = field(default_factory=Columns)
    """Which columns hold what; the rest is guessed."""
    filters: Filters = field(default_factory=Filters)
    """Which cells to leave out."""
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
    """Key of the source; one that 'vc-data list' shows also brings its columns and repairs its labels. Default: the
    file's name without suffix."""
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
    from vc_data.screen.file import write_screen

    options, dataset = use_registry(options or ConvertOptions())
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
        genes = identify_genes(
            var_table,
            gene_id=options.columns.gene_id,
            symbol=options.columns.symbol,
            gene_table=options.gene_table,
            path=in_path,
        )
        untouched, repairs = source.obs, []
        if dataset is not None:
            if options.columns.guide == dataset.guide and dataset.guide not in source.obs:
                options = dataclasses.replace(options, columns=dataclasses.replace(options.columns, guide="none"))
            check_given(source.obs, var_table, options.columns, in_path)
            source.obs, repairs = _repair(dataset, source.obs, in_path)
        try:
            columns, statements = guess_columns(source.obs, var_table, options.columns, path=in_path)
            statements = [*repairs, *statements]
            guides = untouched[columns.guide] if columns.guide else None
            obs, dropped = read_cells(source, genes, columns, options, statements, guides)
        except (ColumnError, ControlError):
            # A flag mends these, but nothing mends a file without counts: that is said first.
            refuse_values(source.sample(name), matrix, hint=lambda: _find_counts(source, name))
            raise
        merge, merged_genes = _merge_duplicates(genes, options.duplicates, in_path)
        var, alignment, target = _align(merged_genes, options, in_path)
        statements += [f"counts: {name!r} ({matrix.kind})", *genes.statements, *alignment.pop("lines")]
        if merge is not None:
            statements.append(
                f"columns merged ({options.duplicates}): {len(merge)} into {len(merged_genes.keys)} genes"
            )
            alignment["duplicates"] = options.duplicates
        config = _config(options, columns)
        with open_part(out_path, _job(in_path, options, config)) as part:
            parents = read_note(part / "parents.json") or {in_path.name: sha256_tree(in_path)}
            write_note(part / "parents.json", parents)
            spool = Spool(part / "spool", *matrix.shape)
            spool.fill(
                matrix,
                obs_names=source.obs.index,
                var_names=var_table.index,
                whole=not options.backed,
                hint=lambda: _find_counts(source, name),
            )
            obs = add_totals(obs, spool, columns, source, dropped, statements)
            check_enough(obs, in_path)
            obs, left_out, filtered = apply_filters(obs, spool, genes, options.filters, in_path, statements)
            dropped |= left_out
            if left_out:
                check_enough(obs, in_path)
            place = obs.pop("place").to_numpy()

            def rows(order: np.ndarray):
                counts = spool.rows(place[order])
                if merge is not None:
                    counts = merge_columns(counts, merge, len(merged_genes.keys), how=options.duplicates)
                return counts if target is None else merge_columns(counts, target, len(var))

            write_screen(
                obs,
                var,
                rows,
                out_path,
                alignment=alignment,
                parents=parents,
                config=config,
                seed=options.seed,
                max_count=_max_count(spool, merge, target, len(var)),
                overwrite=options.overwrite,
                filters=filtered,
                part=part,
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


def use_registry(options: ConvertOptions):
    """Options completed by what is known of the data set, and the data set; None where its key is not registered."""
    from vc_data.datasets import DATASETS

    dataset = DATASETS.get(options.dataset)
    if dataset is None:
        return options, None
    columns = fill_columns(options.columns, dataclasses.replace(dataset.columns, guide=dataset.guide))
    default = ConvertOptions()
    known = {key: value for key, value in dataset.convert.items() if getattr(options, key) == getattr(default, key)}
    return dataclasses.replace(options, columns=columns, **known), dataset


def _repair(dataset, obs, path):
    """Labels and doses as the registry knows them; a value that its rules cannot read is a refusal."""
    from vc_data.datasets.registry import tidy_obs

    try:
        return tidy_obs(dataset, obs)
    except ValueError as error:
        if isinstance(error, VcDataError):
            raise
        do = f"Pass a --dataset of your own to read the file without the rules of {dataset.key}."
        raise ColumnError(path, "obs", f"labels and doses as {dataset.key} has them", str(error), do) from error


def _job(in_path: Path, options: ConvertOptions, config: dict) -> dict:
    """What decides the bytes of the screen: another job never goes on from this one's work folder."""
    from vc_data import __version__

    def stamp(path: Path) -> list:
        return [str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns]

    files = [in_path, *(path for path in (options.panel, options.gene_table, options.aliases) if path)]
    return {"files": [stamp(path) for path in files], "config": config, "version": __version__}


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
    if options.filters == Filters():
        del config["filters"]
    return {key: value.name if isinstance(value, Path) else value for key, value in config.items()}
