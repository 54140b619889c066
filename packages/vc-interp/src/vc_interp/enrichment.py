"""Which gene sets the ends of a latent dimension are made of.

For every dimension the genes with the greatest positive loadings (end `high`) and with the greatest negative ones (end
`low`) are two selections. Each is tested against every gene set by the hypergeometric test, which is Fisher's exact
test, one-sided, for over-representation. All tests of one call share one Benjamini-Hochberg correction.

The background decides the answer, so it is stated in every row. By default it holds the genes of the latents that are in
at least one gene set: a gene that no set knows can never be a hit, and counting it as one that could have been makes
every set look enriched. Selections are made within the background for the same reason.
"""

from collections.abc import Mapping, Sequence, Set
from typing import Literal

import numpy as np
import pandas as pd
from scipy import sparse, stats

from vc_interp.errors import InputError
from vc_interp.latents import Latents

COLUMNS = (
    "dimension",
    "end",
    "gene_set",
    "overlap",
    "selected",
    "set_size",
    "background",
    "expected",
    "fold",
    "p_value",
    "fdr",
    "genes",
)
ENDS = ("high", "low")


def enrich(
    latents: Latents,
    gene_sets: Mapping[str, Set[str]],
    *,
    top: int = 50,
    background: Literal["annotated", "all"] = "annotated",
    min_size: int = 5,
    max_size: int = 500,
) -> pd.DataFrame:
    """Test every end of every latent dimension against every gene set.

    Args:
        latents: Latents with gene rows; rows of other kinds are left out.
        gene_sets: Set name -> its genes, by the names that the gene rows carry.
        top: Most genes to select per end. Only genes with a loading of that end's sign are selected, so a sparse
            dimension selects fewer; ties go to the name that sorts first.
        background: `annotated`: gene rows that are in at least one set; `all`: all gene rows.
        min_size: Sets with fewer genes in the background are not tested.
        max_size: Sets with more genes in the background are not tested.

    Returns:
        One row per (dimension, end, gene set), best first: the columns `COLUMNS`. `expected` is the overlap by chance,
        `fold` the overlap over it, `genes` the overlapping genes, joined by commas, strongest loading first.

    Raises:
        InputError: If there are no gene rows, none of them is in a set, or no set is left to test.

    References:
        Rivals et al., Enrichment or depletion of a GO category within a class of genes: which test?, Bioinformatics
        2007. Benjamini and Hochberg, J. R. Stat. Soc. B 1995.
    """
    if top < 1 or min_size < 1 or max_size < min_size:
        raise InputError(
            "enrichment: expected top >= 1 and 1 <= min_size <= max_size; "
            f"found top {top}, min_size {min_size}, max_size {max_size}."
        )
    loadings_gd, genes = latents.of_kind("gene")
    if not genes:
        raise InputError(
            f"latents of {latents.model!r} at {latents.site!r}: expected gene rows; found only "
            f"{sorted(set(latents.kinds))}. Write latents of a site with genes as rows."
        )
    annotated = check_gene_sets(genes, gene_sets, f"latents of {latents.model!r}")
    if background == "annotated":
        keep = np.array([gene in annotated for gene in genes])
        loadings_gd, genes = loadings_gd[keep], tuple(gene for gene, kept in zip(genes, keep, strict=True) if kept)

    names, member_gs = _membership(gene_sets, genes, min_size, max_size)
    if not names:
        raise InputError(
            f"gene sets: expected at least one with {min_size} to {max_size} of the {len(genes)} background genes; "
            "found none. Give other sets (or, of `vc-interp enrich`, change --min-size or --max-size)."
        )
    selections = [
        (dim, end, chosen)
        for column, dim in enumerate(latents.dims)
        for end, chosen in zip(ENDS, _select(loadings_gd[:, column], genes, top), strict=True)
        if len(chosen)
    ]
    if not selections:
        raise InputError("latents: every gene has a loading of zero on every dimension; nothing can be selected.")
    return _test(selections, names, member_gs, genes)


def check_gene_sets(genes: Sequence[str], gene_sets: Mapping[str, Set[str]], whose: str) -> Set[str]:
    """All genes of gene sets, of which some must be those of a model: asked before anything is trained.

    Args:
        genes: Names that the model knows.
        gene_sets: Set name -> genes.
        whose: Says in a refusal whose genes they are.

    Raises:
        InputError: If none of the genes is in a set.
    """
    annotated = set().union(*gene_sets.values()) if gene_sets else set()
    if annotated.isdisjoint(genes):
        raise InputError(
            f"{whose}: none of the {len(genes)} genes (e.g. {list(genes[:3])}) is in a gene set "
            f"(e.g. {sorted(annotated)[:3]}). Both must use the same gene names."
        )
    return annotated


def _membership(
    gene_sets: Mapping[str, Set[str]], genes: tuple[str, ...], min_size: int, max_size: int
) -> tuple[list[str], sparse.csc_array]:
    """Names of the sets to test, sorted, and a gene x set matrix of ones."""
    row_of = {gene: row for row, gene in enumerate(genes)}
    names, rows, starts = [], [], [0]
    for name in sorted(gene_sets):
        members = sorted(row_of[gene] for gene in gene_sets[name] if gene in row_of)
        if min_size <= len(members) <= max_size:
            names.append(name)
            rows += members
            starts.append(len(rows))
    matrix = sparse.csc_array((np.ones(len(rows), np.int64), rows, starts), shape=(len(genes), len(names)))
    return names, matrix


def _select(loading_g: np.ndarray, genes: tuple[str, ...], top: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the strongest genes of the high and of the low end, strongest first."""
    by_name = np.argsort(np.array(genes), kind="stable")
    ends = []
    for strength_g in (loading_g, -loading_g):
        order = by_name[np.argsort(-strength_g[by_name], kind="stable")][:top]
        ends.append(order[strength_g[order] > 0])
    return ends[0], ends[1]


def _test(
    selections: list[tuple[str, str, np.ndarray]],
    names: list[str],
    member_gs: sparse.csc_array,
    genes: tuple[str, ...],
) -> pd.DataFrame:
    """The hypergeometric test of every selection against every set, corrected together."""
    n_genes = len(genes)
    n_selected = np.array([len(chosen) for _, _, chosen in selections])
    set_size = member_gs.sum(axis=0)
    starts = np.concatenate([[0], np.cumsum(n_selected)])
    chosen_genes = np.concatenate([chosen for _, _, chosen in selections])
    selected_ng = sparse.csr_array(
        (np.ones(len(chosen_genes), np.int64), chosen_genes, starts), shape=(len(selections), n_genes)
    )
    overlap_ns = (selected_ng @ member_gs).toarray()
    # P(overlap >= k) is the survival function at k - 1.
    p_ns = stats.hypergeom.sf(overlap_ns - 1, n_genes, set_size[None, :], n_selected[:, None])
    expected_ns = n_selected[:, None] * set_size[None, :] / n_genes

    n_sets = len(names)
    which, column = np.divmod(np.arange(p_ns.size), n_sets)
    member_sg = member_gs.T.tocsr()
    members = [set(member_sg.indices[member_sg.indptr[s] : member_sg.indptr[s + 1]].tolist()) for s in range(n_sets)]
    hits = [
        ",".join(genes[g] for g in selections[n][2].tolist() if g in members[s]) if overlap else ""
        for n, s, overlap in zip(which, column, overlap_ns.ravel(), strict=True)
    ]
    # Rounding can leave a survival function a hair above one.
    p_value = np.clip(p_ns.ravel(), 0, 1)
    table = pd.DataFrame(
        {
            "dimension": [selections[n][0] for n in which],
            "end": [selections[n][1] for n in which],
            "gene_set": [names[s] for s in column],
            "overlap": overlap_ns.ravel(),
            "selected": n_selected[which],
            "set_size": set_size[column],
            "background": n_genes,
            "expected": expected_ns.ravel(),
            "fold": overlap_ns.ravel() / expected_ns.ravel(),
            "p_value": p_value,
            "fdr": stats.false_discovery_control(p_value, method="bh"),
            "genes": hits,
        },
        columns=list(COLUMNS),
    )
    return table.sort_values(
        ["p_value", "fold", "dimension", "end", "gene_set"],
        ascending=[True, False, True, True, True],
        ignore_index=True,
        kind="stable",
    )
