"""What a file holds, before anything is done with it: a screen in numbers, or how a foreign file would be read."""

import json
from pathlib import Path

from vc_data.convert.columns import guess_columns
from vc_data.convert.counts import describe_values, find_problem
from vc_data.convert.formats import open_source
from vc_data.convert.source import Source
from vc_data.errors import VcDataError
from vc_data.genes.align import GeneAlignment, align_genes
from vc_data.genes.names import identify_genes, unique_names
from vc_data.genes.tables import read_panel
from vc_data.screen.file import describe_screen, read_screen


def inspect_file(path: str | Path, *, as_json: bool = False) -> str:
    """Describe a screen, or say what a conversion would guess of a foreign .h5ad.

    Raises:
        ContractError: A screen that breaks its contract.
        SourceError: No readable file.
    """
    path = Path(path)
    if path.is_dir():
        description = describe_screen(read_screen(path), path)
    else:
        with open_source(path) as source:
            description = None if source.is_contract() else _describe_source(source)
        if description is None:
            description = describe_screen(read_screen(path), path)
    return json.dumps(description, indent=1) if as_json else "\n".join(_lines(description))


def align_file(path: str | Path, panel: str | Path, *, gene_table=None, aliases=None) -> GeneAlignment:
    """Align the genes of an .h5ad to a panel file, as a conversion would."""
    with open_source(path) as source:
        genes = identify_genes(source.var(), path=path)
    names = [symbol or name for symbol, name in zip(genes.symbols, unique_names(genes), strict=True)]
    return align_genes(names, read_panel(panel), gene_ids=genes.gene_ids, gene_table=gene_table, aliases=aliases)


def _describe_source(source: Source) -> dict:
    """Matrices and guesses; a guess that fails is said, not raised, because inspecting is how one finds the flags."""
    matrices = {}
    for name in source.matrix_names():
        matrix = source.matrix(name)
        matrices[name] = f"{matrix.shape[0]} x {matrix.shape[1]}, {matrix.kind}, {_judge(source.sample(name))}"
    var = source.var()
    guesses = []
    for guess in (
        lambda: guess_columns(source.obs, var, path=source.path)[1],
        lambda: identify_genes(var, path=source.path).statements,
    ):
        try:
            guesses += guess()
        except VcDataError as error:
            guesses.append(f"not clear: {error}")
    return {
        "matrices": matrices,
        "obs columns": {
            str(c): f"{source.obs[c].nunique()} values, e.g. {source.obs[c].iloc[0]!s}" for c in source.obs
        },
        "var columns": [str(column) for column in var],
        "a conversion would use": guesses,
    }


def _judge(values) -> str:
    return "whole numbers" if find_problem(values) is None else f"no counts. {describe_values(values)}"


def _lines(value: object, indent: str = "") -> list[str]:
    """A JSON object as indented lines."""
    lines = []
    for key, item in value.items():
        if item is None or item == []:
            continue
        if isinstance(item, dict) and len(item) > 12:
            shown = list(item.items())[:12]
            item = dict(shown) | {"...": f"{len(item) - 12} more"}
        if isinstance(item, dict):
            lines += [f"{indent}{key}:", *_lines(item, indent + "  ")]
        elif isinstance(item, list) and any(len(str(element)) > 40 for element in item):
            lines += [f"{indent}{key}:", *(f"{indent}  {element}" for element in item)]
        else:
            text = ", ".join(map(str, item)) if isinstance(item, list) else item
            lines.append(f"{indent}{key}: {text}")
    return lines
