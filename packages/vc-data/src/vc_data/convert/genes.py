"""Genes of the source on their way to the columns of the screen."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from vc_contracts.text.ids import is_ensembl
from vc_contracts.text.plain import clean, plain

from vc_data.convert.counts import merge_columns
from vc_data.convert.notes import Notes, ask, say
from vc_data.errors import ColumnError, GeneError, few
from vc_data.genes.align import align_genes
from vc_data.genes.link import GeneIndex, is_date
from vc_data.genes.names import GeneNames, unique_names
from vc_data.genes.tables import read_panel
from vc_data.options import ConvertOptions

_EXPRESSION = frozenset(
    ["geneexpression", "geneexpressions", "gene", "genes", "rna", "mrna", "gex", "transcriptome", "expression"]
)
_NO_EXPRESSION = frozenset(
    [
        *(
            "antibodycapture",
            "antibody",
            "adt",
            "protein",
            "crisprguidecapture",
            "guidecapture",
            "grna",
            "sgrna",
            "hto",
        ),
        *("multiplexingcapture", "hashtag", "custom", "peaks", "peak", "atac"),
    ]
)
_NAMED = re.compile(r"total.?seq|hash.?tag|^(hto|adt|guide)[-_.]|[-_.](hto|adt|s?grna)(\b|[-_.\d])", re.IGNORECASE)
"""Names that antibodies, hashtags and guides have among genes."""
_FEATURE_COLUMNS = ("featuretypes", "featuretype", "feature", "modality", "assay", "librarytype")


@dataclass(frozen=True)
class GeneColumns:
    """How columns of the source become columns of the screen."""

    var: pd.DataFrame
    """The var table of the screen."""
    alignment: dict
    """How genes were matched, as `uns["alignment"]` holds it."""
    merge: np.ndarray | None
    """[source columns] -> [distinct genes], -1 for other features; None where all are distinct."""
    target: np.ndarray | None
    """[distinct genes] -> [columns of the screen], -1 for dropped; None: as they are."""
    n_distinct: int
    how: str
    """`sum` or `max`, where several columns hold one gene."""

    def __call__(self, counts):
        """[n, source columns] CSR counts -> [n, columns of the screen]."""
        if self.merge is not None:
            counts = merge_columns(counts, self.merge, self.n_distinct, how=self.how)
        return counts if self.target is None else merge_columns(counts, self.target, len(self.var))

    def index(self, genes: GeneNames, options: ConvertOptions) -> GeneIndex:
        """Finds genes of the source by any name, as the screen calls them."""
        at = np.arange(len(genes.keys)) if self.merge is None else self.merge[self.merge >= 0]
        at = at if self.target is None else self.target[at]
        own = unique_names(genes)
        index: Any = self.var.index
        names = [str(index[column]) if column >= 0 else name for column, name in zip(at, own, strict=True)]
        return GeneIndex(
            names,
            genes.gene_ids,
            genes.symbols,
            aliases=options.aliases,
            gene_table=options.gene_table,
            rows=genes.rows,
        )

    def most(self, max_g: np.ndarray) -> int:
        """A bound on the counts of the screen: the greatest sum of column maxima that meet in one column."""
        for step, width in ((self.merge, self.n_distinct), (self.target, len(self.var))):
            if step is not None:
                max_g = np.bincount(step[step >= 0], weights=max_g[step >= 0], minlength=width)
        return int(max_g.max(initial=0))


def choose_features(var: pd.DataFrame, wanted: str | None, path: Path) -> tuple[np.ndarray, Notes]:
    """[columns of the source] bool: which are genes, where the file says what each feature is.

    Args:
        var: Features of the source.
        wanted: The kind to keep; gene expression if None.
        path: File name for messages.

    Raises:
        ColumnError: No feature of that kind, or several kinds of which none is gene expression.
    """
    column = next((str(c) for name in _FEATURE_COLUMNS for c in var.columns if plain(str(c)) == name), None)
    everything = np.ones(len(var), bool)
    if column is None:
        return everything, _ask_names(var)
    kind = np.array([clean(value) for value in var[column].astype(object)], object)
    kinds = sorted(set(kind))
    if wanted is not None:
        keep = kind == wanted
    else:
        keep = np.array([plain(name) in _EXPRESSION for name in kind], bool)
        one = len(kinds) == 1 and plain(kinds[0]) not in _NO_EXPRESSION
        if not keep.any() and (one or plain(column) not in ("featuretypes", "featuretype")):
            return everything, Notes()
    if not keep.any():
        do = f"Pass --features KIND, one of {few(kinds)}."
        raise ColumnError(path, f"var[{column!r}]", f"features of kind {wanted or 'Gene Expression'!r}", few(kinds), do)
    if keep.all():
        return everything, Notes()
    others = ", ".join(f"{int((kind == name).sum())} {name or 'of no kind'}" for name in sorted(set(kind[~keep])))
    return keep, say(f"features of var[{column!r}] that are not counted: {others}")


def _ask_names(var: pd.DataFrame) -> Notes:
    suspects = [str(name) for name in var.index if _NAMED.search(str(name))]
    if not suspects:
        return Notes()
    do = "leave them out of the file, or name each feature's kind in var['feature_types'], if they are not"
    return ask(f"features named like antibodies, hashtags or guides are counted as genes: {few(suspects, 3)}; {do}")


def place_genes(
    genes: GeneNames, features: np.ndarray, options: ConvertOptions, path: Path
) -> tuple[GeneColumns, Notes]:
    """Merge genes that stand there several times, and align them to the panel.

    Args:
        genes: Of the source's columns that are genes.
        features: [columns of the source] bool: which those are.
        options: Of the conversion.
        path: File name for messages.

    Raises:
        GeneError: Repeated genes without a rule for them, or a panel that nothing reaches.
    """
    merge, distinct = _merge_duplicates(genes, options.duplicates, path)
    var, alignment, target, lines = _align(distinct, options)
    notes = say(*genes.statements, *lines)
    if merge is not None:
        notes += say(f"columns merged ({options.duplicates}): {len(merge)} into {len(distinct.keys)} genes")
        alignment["duplicates"] = options.duplicates
    dates = [name for name in genes.symbols if is_date(name)]
    if dates:
        notes += ask(
            f"genes that Excel made dates of: {few(dates)}; they link to no target where two genes may be meant"
        )
    if not features.all():
        places = np.full(len(features), -1, np.int64)
        places[features] = np.arange(len(genes.keys)) if merge is None else merge
        merge = places
    how = "max" if options.duplicates == "max" else "sum"
    return GeneColumns(var, alignment, merge, target, len(distinct.keys), how), notes


def _merge_duplicates(genes: GeneNames, how: str, path: Path) -> tuple[np.ndarray | None, GeneNames]:
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
        if any(map(is_date, repeated)):
            do = "Excel made one date of several symbols: restore the symbols in the file (MARCH1 and MARC1 are both '1-Mar')."
        raise GeneError(path, "var", "each gene once", f"repeated: {few(repeated)}", do)
    rows = np.unique(merge, return_index=True)[1]
    return merge, GeneNames([genes.gene_ids[i] for i in rows], [genes.symbols[i] for i in rows], genes.statements)


def _align(genes: GeneNames, options: ConvertOptions) -> tuple[pd.DataFrame, dict, np.ndarray | None, list[str]]:
    """The var table of the screen, the alignment as JSON, [genes] -> [columns] (None: as they are), and statements."""
    names = unique_names(genes)
    if options.panel is None:
        table = {"gene_id": genes.gene_ids, "symbol": genes.symbols, "measured": np.ones(len(names), bool)}
        shared = sum(bool(symbol) and name != symbol for name, symbol in zip(names, genes.symbols, strict=True))
        lines = [f"symbols that several ids share: {shared} genes are named by their id"] if shared else []
        alignment = {"panel": None, "n_source": len(names), "n_panel": len(names), "n_measured": len(names)}
        return pd.DataFrame(table, index=names), alignment, None, lines
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
    return var, {"panel": options.panel.name, **result.to_json()}, result.target, result.lines()
