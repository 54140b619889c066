"""Edges "A drives B": from what perturbing A does to B, and how often attention says the same.

An effect is taken against what all perturbations do to B (median and median absolute deviation), so that a gene that always
responds is no edge; the test is two-sided with Benjamini-Hochberg over all edges. An edge is called only by intervention; its
direction stands where A on B exceeds B on A; it is stable where other models (other seeds) call it with the same sign.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from vc_interp.errors import InputError
from vc_interp.files.effects import Effects

FDR, LEAST = 0.05, 5
"""False discovery rate of an edge, and the fewest single perturbations that are compared."""


@dataclass(frozen=True, eq=False)
class Interventions:
    """Standardised effects of perturbing each source on each gene.

    Attributes:
        sources: r perturbed genes.
        genes: g names.
        z_rg: [r, g] effects in units of the spread over all perturbations; 0 of a gene on itself.
        fdr_rg: [r, g].
    """

    sources: tuple[str, ...]
    genes: tuple[str, ...]
    z_rg: np.ndarray
    fdr_rg: np.ndarray

    @property
    def own_rg(self) -> np.ndarray:
        """[r, g] bool: a gene with itself, which is no edge."""
        return np.array(self.sources)[:, None] == np.array(self.genes)[None]


@dataclass(frozen=True)
class Agreement:
    """How attention relates to what perturbing says, over the same edges."""

    n_edges: int
    """Possible edges."""
    n_called: int
    """Called by intervention at a false discovery rate of 5 %."""
    shared: float
    """Share of the called ones among as many of the greatest attention weights."""
    expected: float
    """What a random order would share."""
    spearman: float
    """Rank correlation of weight and absolute effect over all edges."""


def interventions(effects: Effects) -> Interventions:
    """Standardise effects of single perturbations; several rows of one target (lines, doses) are averaged.

    Raises:
        InputError: If fewer than five single targets are there.
    """
    singles = effects.singles()
    sources = tuple(dict.fromkeys(singles.labels.tolist()))
    if len(sources) < LEAST:
        raise InputError(f"{effects.source}: expected at least {LEAST} single perturbations, found {len(sources)}.")
    mean_rg = np.stack([singles.delta_cg[singles.labels == name].mean(axis=0) for name in sources]).astype(np.float64)
    own_rg = np.array(sources)[:, None] == np.array(effects.genes)[None]
    open_rg = np.where(own_rg, np.nan, mean_rg)
    open_rg = open_rg - np.nanmedian(open_rg, axis=0)
    # A gene that hardly any perturbation moves in the model has a spread of nearly zero; it is no reason for an edge.
    spread_g = 1.4826 * np.nanmedian(np.abs(open_rg), axis=0)
    spread_g = np.maximum(spread_g, max(float(np.median(spread_g)), 1e-9) / 4)
    z_rg = np.where(own_rg, 0, open_rg / spread_g)
    # A median absolute deviation knows a scale as well as a variance of 0.37 as many values does.
    p_rg = 2 * stats.t.sf(np.abs(z_rg), max(3.0, 0.37 * len(sources)))
    fdr_rg = np.ones_like(p_rg)
    fdr_rg[~own_rg] = stats.false_discovery_control(p_rg[~own_rg])
    return Interventions(sources, effects.genes, z_rg, fdr_rg)


def compare(attention_rg: np.ndarray, found: Interventions) -> Agreement:
    """Agreement of attention weights [r, g] with interventions."""
    use_rg = ~found.own_rg
    weight_n, size_n = attention_rg[use_rg], np.abs(found.z_rg[use_rg])
    called_n = found.fdr_rg[use_rg] < FDR
    n_called = int(called_n.sum())
    top = np.argsort(-weight_n, kind="stable")[:n_called]
    shared = float(called_n[top].mean()) if n_called else float("nan")
    spearman = float(stats.spearmanr(weight_n, size_n).statistic)
    return Agreement(len(weight_n), n_called, shared, n_called / len(weight_n), spearman)


def edge_table(
    found: Interventions,
    attention_rg: np.ndarray | None = None,
    others: Sequence[Interventions] = (),
    most: int = 2000,
) -> pd.DataFrame:
    """The strongest edges: effect, direction, FDR, stability and the attention weight beside it.

    Args:
        found: Interventions.
        attention_rg: [r, g] weights, or None.
        others: The same of models with other seeds.
        most: Rows.
    """
    row_of = {name: at for at, name in enumerate(found.sources)}
    column_of = {name: at for at, name in enumerate(found.genes)}
    size_rg = np.where(found.own_rg, -1, np.abs(found.z_rg))
    order = np.argsort(-size_rg.ravel(), kind="stable")[: min(most, int((~found.own_rg).sum()))]
    a_n, b_n = np.divmod(order, len(found.genes))
    back_n = np.array(
        [abs(found.z_rg[row_of[found.genes[b]], column_of[found.sources[a]]])
         if found.genes[b] in row_of and found.sources[a] in column_of else np.nan
         for a, b in zip(a_n.tolist(), b_n.tolist(), strict=True)]
    )  # fmt: skip
    z_n, fdr_n = found.z_rg[a_n, b_n], found.fdr_rg[a_n, b_n]
    again_n = np.full(len(order), np.nan)
    if others:
        again_n = np.mean([_called(other, found, a_n, b_n) * np.sign(z_n) > 0 for other in others], axis=0)
    direction = np.where(
        np.isnan(back_n), "not tested", np.where(np.abs(z_n) > 1.5 * back_n, "A drives B", "both or unclear")
    )
    return pd.DataFrame(
        {
            "source": np.array(found.sources)[a_n],
            "target": np.array(found.genes)[b_n],
            "z": z_n,
            "fdr": fdr_n,
            "called": fdr_n < FDR,
            "direction": np.where(fdr_n < FDR, direction, ""),
            "stability": again_n,
            "attention": np.nan if attention_rg is None else attention_rg[a_n, b_n],
        }
    )


def _called(other: Interventions, found: Interventions, a_n: np.ndarray, b_n: np.ndarray) -> np.ndarray:
    """Sign with which another model calls these edges; 0 where it does not."""
    row_of = {name: at for at, name in enumerate(other.sources)}
    column_of = {name: at for at, name in enumerate(other.genes)}
    signs = np.zeros(len(a_n))
    for at, (a, b) in enumerate(zip(a_n.tolist(), b_n.tolist(), strict=True)):
        row, column = row_of.get(found.sources[a]), column_of.get(found.genes[b])
        if row is not None and column is not None and other.fdr_rg[row, column] < FDR:
            signs[at] = np.sign(other.z_rg[row, column])
    return signs
