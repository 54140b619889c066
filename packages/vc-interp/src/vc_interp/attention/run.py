"""Attention and intervention over the same edges, and what is written of it."""

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from vc_interp.attention.edges import Agreement, Interventions, compare, edge_table, interventions
from vc_interp.attention.weights import gene_weights, read_factors, set_weights
from vc_interp.errors import InputError
from vc_interp.files.effects import Effects
from vc_interp.files.stored import StoredLatents


@dataclass(frozen=True, eq=False)
class Comparison:
    """Edges, agreement, and attention between sets (empty without sets)."""

    edges: pd.DataFrame
    agreement: Agreement
    sets: pd.DataFrame


def compare_attention(
    stored: StoredLatents,
    effects: Effects,
    *,
    gene_sets: Mapping[str, Set[str]] | None = None,
    others: Sequence[Effects] = (),
) -> Comparison:
    """Compare weights of perturbed genes with effects of perturbing them, over genes that both know.

    Raises:
        InputError: If too few perturbed genes are among the model's genes.
    """
    factors = read_factors(stored)
    known = set(factors.genes)
    singles = effects.singles()
    keep = np.array([label in known for label in singles.labels], dtype=bool)
    column_of = {gene: at for at, gene in enumerate(effects.genes)}
    genes = tuple(gene for gene in factors.genes if gene in column_of)
    if not keep.any() or not genes:
        raise InputError(f"{effects.source}: expected perturbed genes among the {len(known)} of the model, found none.")
    some = Effects(
        singles.labels[keep], singles.lines[keep], genes,
        singles.delta_cg[keep][:, [column_of[gene] for gene in genes]], effects.source,
    )  # fmt: skip
    found = interventions(some)
    place = {gene: at for at, gene in enumerate(factors.genes)}
    weight_rg = gene_weights(factors, found.sources)[:, [place[gene] for gene in genes]]
    table = edge_table(found, weight_rg, [interventions(other) for other in others])
    sets = pd.DataFrame() if gene_sets is None else _sets(*set_weights(factors, gene_sets), found, gene_sets)
    return Comparison(table, compare(weight_rg, found), sets)


def _sets(
    weight_ss: np.ndarray, names: tuple[str, ...], found: Interventions, gene_sets: Mapping[str, Set[str]]
) -> pd.DataFrame:
    """Attention of set to set, and the mean absolute effect of perturbing genes of one on genes of the other."""
    size_rg = np.where(found.own_rg, np.nan, np.abs(found.z_rg))
    effect_ss = np.full(weight_ss.shape, np.nan)
    for at, name in enumerate(names):
        rows = [row for row, source in enumerate(found.sources) if source in gene_sets[name]]
        for other, reading in enumerate(names):
            columns = [column for column, gene in enumerate(found.genes) if gene in gene_sets[reading]]
            if rows and columns:
                effect_ss[other, at] = np.nanmean(size_rg[np.ix_(rows, columns)])
    to, source = np.divmod(np.arange(weight_ss.size), len(names))
    table = pd.DataFrame(
        {"source": np.array(names)[source], "target": np.array(names)[to], "attention": weight_ss.ravel(),
         "effect": effect_ss.ravel()}
    )  # fmt: skip
    return table.sort_values("attention", ascending=False, ignore_index=True, kind="stable")


def write_comparison(out: Path, found: Comparison, *, overwrite: bool = False) -> None:
    """Write `edges.tsv`, `agreement.json` and, where there are sets, `sets.tsv`; whole or not at all."""
    from vc_contracts.whole import write_whole

    with write_whole(out, kind="attention", overwrite=overwrite, make_parent=True) as temporary:
        temporary.mkdir()
        found.edges.to_csv(temporary / "edges.tsv", sep="\t", index=False, float_format="%.6g")
        (temporary / "agreement.json").write_text(json.dumps(asdict(found.agreement), indent=1))
        if len(found.sets):
            found.sets.to_csv(temporary / "sets.tsv", sep="\t", index=False, float_format="%.6g")
