"""What a file holds, before anything is done with it: a screen in numbers, or how a foreign file would be read."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from vc_contracts.bucket.address import is_address
from vc_contracts.kinds import header_of
from vc_contracts.store import check_files

from vc_data.convert.columns import guess_columns
from vc_data.convert.counts import describe_values, find_problem
from vc_data.convert.formats import open_source
from vc_data.convert.plan import make_plan
from vc_data.convert.source import Source
from vc_data.errors import OptionError, VcDataError
from vc_data.genes.align import GeneAlignment, align_genes
from vc_data.genes.names import identify_genes, unique_names
from vc_data.genes.tables import read_panel
from vc_data.options import ConvertOptions
from vc_data.screen.describe import describe_screen
from vc_data.screen.file import read_screen


def inspect_file(path: str | Path, *, as_json: bool = False, options: ConvertOptions | None = None) -> str:
    """Describe a screen, or say what a conversion would make of another file, before anything is written.

    Args:
        path: A screen, or a file that `convert` reads.
        as_json: Give JSON.
        options: How the file would be converted.

    Raises:
        ContractError: A screen that breaks its contract.
        SourceError: No readable file.
        OptionError: Open questions, with `strict`.
    """
    path, options = Path(path), options or ConvertOptions()
    in_bucket = is_address(path)
    if in_bucket and not header_of(path):
        path, in_bucket = check_files(path), False
    if in_bucket or _is_screen(path):
        description = describe_screen(read_screen(path), path)
    else:
        with open_source(path, options.obs_table) as source:
            description = None if source.is_contract() else _describe_source(source, options)
        if description is None:
            description = describe_screen(read_screen(path), path)
    return json.dumps(description, indent=1) if as_json else "\n".join(_lines(description))


def _is_screen(path: Path) -> bool:
    """Whether a folder is a zarr store with the header of a contract, or no store at all (then reading says why)."""
    if not path.is_dir() or any((path / name).exists() for name in ("matrix.mtx", "matrix.mtx.gz")):
        return False
    return not (path / "obs").exists() or (path / "uns" / "contract").exists()


def align_file(path: str | Path, panel: str | Path, *, gene_table=None, aliases=None) -> GeneAlignment:
    """Align the genes of an .h5ad to a panel file, as a conversion would."""
    with open_source(path) as source:
        genes = identify_genes(source.var(), path=path)
    names = [symbol or name for symbol, name in zip(genes.symbols, unique_names(genes), strict=True)]
    return align_genes(names, read_panel(panel), gene_ids=genes.gene_ids, gene_table=gene_table, aliases=aliases)


def _describe_source(source: Source, options: ConvertOptions) -> dict:
    """Matrices, columns and the plan of a conversion; a plan that fails is said, not raised: so one finds the flags."""
    matrices = {}
    for name in source.matrix_names():
        try:
            matrix = source.matrix(name)
            matrices[name] = f"{matrix.shape[0]} x {matrix.shape[1]}, {matrix.kind}, {_judge(source.sample(name))}"
        except VcDataError as error:
            matrices[name] = str(error)
    var = source.var()
    tables = {
        "obs columns": {str(c): _example(source.obs[c]) for c in source.obs},
        "var columns": [str(column) for column in var],
    }
    try:
        plan = make_plan(source, options)
    except VcDataError as error:
        return {
            "matrices": matrices,
            **tables,
            "a conversion would use": [*_guesses(source, var), f"not clear: {error}"],
        }
    if options.strict and plan.notes.questions:
        do = "Decide it with that flag, or leave --strict out."
        raise OptionError(source.path, "--strict", "no open question", "; ".join(plan.notes.questions), do)
    links = plan.cells.target_genes["targets"]
    return {
        "matrices": matrices,
        **tables,
        "a conversion would use": list(plan.notes.statements),
        "questions": list(plan.notes.questions),
        "cells dropped": {why: n for why, n in plan.notes.dropped.items() if n},
        "cells": {
            "kept": len(plan.cells.obs),
            "controls": int(plan.cells.obs["is_control"].sum()),
            "perturbations": int(plan.cells.obs.loc[~plan.cells.obs["is_control"], "perturbation"].nunique()),
        },
        "targets": {name: _link(link) for name, link in links.items()},
    }


def _example(column: pd.Series) -> str:
    return f"{column.nunique()} values, e.g. {column.iloc[0]!s}" if len(column) else "no values"


def _link(link: dict) -> str:
    """One target's gene, in words."""
    if not link["how"]:
        return "no known gene"
    gene = " ".join(text for text in (link["symbol"], link["gene_id"]) if text)
    came = f", from {', '.join(link['labels'])}" if link.get("labels") else ""
    return f"{gene} (by {link['how']}{'' if link['measured'] else ', not measured'}{came})"


def _guesses(source: Source, var: pd.DataFrame) -> list[str]:
    """What can be guessed, and why the rest cannot."""
    guesses: list[str] = []
    for guess in (
        lambda: guess_columns(source.obs, var, path=source.path)[1],
        lambda: identify_genes(var, path=source.path).statements,
    ):
        try:
            guesses += guess()
        except VcDataError as error:
            guesses.append(f"not clear: {error}")
    return guesses


def _judge(values: np.ndarray) -> str:
    return "whole numbers" if find_problem(values) is None else f"no counts. {describe_values(values)}"


def _lines(value: dict, indent: str = "") -> list[str]:
    """A JSON object as indented lines."""
    lines = []
    for key, item in value.items():
        if item is None or item == [] or item == {}:
            continue
        if isinstance(item, dict) and len(item) > 12:
            shown = list(item.items())[:12]
            item = dict(shown) | {"...": f"{len(item) - 12} more (--json shows all)"}
        if isinstance(item, dict):
            lines += [f"{indent}{key}:", *_lines(item, indent + "  ")]
        elif isinstance(item, list) and any(len(str(element)) > 40 for element in item):
            lines += [f"{indent}{key}:", *(f"{indent}  {element}" for element in item)]
        else:
            text = ", ".join(map(str, item)) if isinstance(item, list) else item
            lines.append(f"{indent}{key}: {text}")
    return lines
