"""Everything about a conversion that is decided before the counts are read."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from vc_data.convert.columns import check_given, fill_columns, guess_columns
from vc_data.convert.counts import find_problem, refuse_logs, refuse_values
from vc_data.convert.genes import GeneColumns, choose_features, place_genes
from vc_data.convert.notes import Notes, say
from vc_data.convert.obs import Cells, read_cells
from vc_data.convert.source import Matrix, Source
from vc_data.datasets import DATASETS
from vc_data.datasets.registry import Dataset, tidy_obs
from vc_data.errors import ColumnError, ControlError, SourceError, VcDataError, few
from vc_data.genes.link import GeneIndex
from vc_data.genes.names import GeneNames, identify_genes
from vc_data.options import ConvertOptions, Filters


@dataclass(frozen=True)
class Plan:
    """What a conversion will do."""

    source: Source
    matrix: Matrix
    options: ConvertOptions
    """As they were used, with everything that was guessed."""
    genes: GeneNames
    """Of the source."""
    features: np.ndarray
    """[columns of the source] bool: which are genes."""
    columns: GeneColumns
    """How genes become columns of the screen."""
    cells: Cells
    notes: Notes

    def config(self) -> dict:
        """Options as JSON; files by name, so that the bytes of a screen do not depend on where they lie."""
        config = dataclasses.asdict(self.options)
        for key in ("overwrite", "backed", "strict"):
            del config[key]
        if self.options.filters == Filters():
            del config["filters"]
        if self.cells.dose_unit:
            config["dose_unit"] = self.cells.dose_unit
        return {key: value.name if isinstance(value, Path) else value for key, value in config.items()}

    def job(self) -> dict:
        """What decides the bytes of the screen: another job never goes on from this one's work folder."""
        from vc_data import __version__

        o = self.options
        given = (o.panel, o.gene_table, o.aliases, o.obs_table)
        paths = [Path(p) for p in (self.source.path, *given) if p]
        stamps = [[str(p.absolute()), p.stat().st_size, p.stat().st_mtime_ns] for p in paths]
        return {"files": stamps, "config": self.config(), "version": __version__}


def make_plan(source: Source, options: ConvertOptions) -> Plan:
    """Guess, check and read everything but the counts.

    Raises:
        SourceError: A file of one of our contracts, or repeated cell names.
        ColumnError, ControlError, CountsError, GeneError, TooFewError: Each with the flag that mends it.
    """
    if source.is_contract():
        do = "Read it as it is, or convert the file that it was made from."
        raise SourceError(source.path, "uns['contract']", "a foreign file", "a file of one of our contracts", do)
    options, dataset = use_registry(options)
    matrix = source.matrix(options.layer or "X")
    var = source.var(matrix.name)
    if 0 in matrix.shape:
        do = "Pass a file that holds some."
        raise SourceError(source.path, matrix.name, "cells and genes", f"{matrix.shape[0]} x {matrix.shape[1]}", do)
    features, notes = choose_features(var, options.features, source.path)
    genes = identify_genes(
        var[features],
        gene_id=options.columns.gene_id,
        symbol=options.columns.symbol,
        gene_table=options.gene_table,
        path=source.path,
    )
    try:
        columns, more = place_genes(genes, features, options, source.path)
        notes += say(f"counts: {matrix.name!r} ({matrix.kind})") + more + _plan_rounding(source, matrix, options)
        index = columns.index(genes, options)
        options, cells, more = _plan_cells(source, var[features], index, options, dataset)
    except (ColumnError, ControlError):
        # A flag mends these, but nothing mends a file without counts: that is said first.
        if not options.round:
            refuse_values(source.sample(matrix.name), matrix, hint=lambda: find_counts(source, matrix.name))
        raise
    return Plan(source, matrix, options, genes, features, columns, cells, more + notes)


def use_registry(options: ConvertOptions) -> tuple[ConvertOptions, Dataset | None]:
    """Options completed by what is known of the data set, and the data set; None where its key is not registered."""
    dataset = DATASETS.get(options.dataset or "")
    if dataset is None:
        return options, None
    columns = fill_columns(options.columns, dataclasses.replace(dataset.columns, guide=dataset.guide))
    default = ConvertOptions()
    known = {key: value for key, value in dataset.convert.items() if getattr(options, key) == getattr(default, key)}
    return dataclasses.replace(options, columns=columns, **known), dataset


def find_counts(source: Source, name: str) -> str:
    """One sentence on which other matrices of the file hold whole numbers."""
    whole = [x for x in source.matrix_names() if x != name and find_problem(source.sample(x)) is None]
    if len(whole) > 1:
        return f"{few(whole)} hold whole numbers: pass --layer with the one that has all counts of a gene."
    if whole:
        return f"{whole[0]!r} holds whole numbers: pass --layer {whole[0]}."
    return "No other matrix of the file holds whole numbers: get the raw counts from the source of the data."


def _plan_rounding(source: Source, matrix: Matrix, options: ConvertOptions) -> Notes:
    """What `--round` does, checked on the first values."""
    if not options.round:
        return Notes()
    values = source.sample(matrix.name)
    refuse_logs(values, matrix)
    n = int((values != np.trunc(values)).sum())
    return say(f"counts are rounded to whole numbers (--round): {n} of the first {values.size} values are fractional")


def _plan_cells(
    source: Source, var: pd.DataFrame, index: GeneIndex, options: ConvertOptions, dataset: Dataset | None
) -> tuple[ConvertOptions, Cells, Notes]:
    """Options with the columns that are used, the cells of the screen, and notes."""
    table, notes, given = source.obs, Notes(), options.columns
    if dataset is not None:
        if given.guide == dataset.guide and dataset.guide not in table:
            given = dataclasses.replace(given, guide="none")
        check_given(table, var, given, source.path)
        table, repairs = _repair(dataset, table, source.path)
        notes += say(*repairs)
    columns, statements = guess_columns(table, var, given, path=source.path, control_only=options.control_only)
    options = dataclasses.replace(options, columns=columns)
    guides = source.obs[columns.guide] if columns.guide else None
    cells, more = read_cells(table, source.path, index, options, given, guides)
    return options, cells, notes + say(*statements) + more


def _repair(dataset: Dataset, obs: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Labels and doses as the registry knows them; a value that its rules cannot read is a refusal."""
    try:
        return tidy_obs(dataset, obs)
    except ValueError as error:
        if isinstance(error, VcDataError):
            raise
        do = f"Pass a --dataset of your own to read the file without the rules of {dataset.key}."
        raise ColumnError(path, "obs", f"labels and doses as {dataset.key} has them", str(error), do) from error
