"""How many features annotate to a gene set, and how many would by chance: permuted gene labels, and random weights."""

from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vc_interp.enrichment import enrich
from vc_interp.latents import Latents

FDR = 0.05


@dataclass(frozen=True, eq=False)
class Annotation:
    """Annotated features beside their null.

    Attributes:
        table: What `enrich` gives, all tests.
        share: Share of features with a set at a false discovery rate of 5 %.
        permuted: [r] the same share after each permutation of the gene labels.
        random: The same share of a dictionary of a model with random weights, or None.
    """

    table: pd.DataFrame
    share: float
    permuted: np.ndarray
    random: float | None = None

    @property
    def p_value(self) -> float:
        """Share of permutations with at least as many annotated features, the observed one counted."""
        return float((1 + (self.permuted >= self.share).sum()) / (1 + len(self.permuted)))


def annotate(
    attribution: Latents,
    gene_sets: Mapping[str, Set[str]],
    *,
    permutations: int = 20,
    seed: int = 0,
    random: Latents | None = None,
    top: int = 50,
) -> Annotation:
    """Enrichment of all features, against permuted gene labels and, where given, a model with random weights.

    Args:
        attribution: A row per gene, a column per feature (`Attribution.as_latents`).
        gene_sets: Set name -> genes.
        permutations: Of the gene labels; features keep their loadings, sets their sizes and overlaps.
        seed: Of the permutations.
        random: The attribution of a dictionary trained in the same way on a model with random weights.
        top: Genes of an end that are tested.

    Raises:
        InputError: As `enrich`.
    """
    table = enrich(attribution, gene_sets, top=top)
    loadings_gd, genes = attribution.of_kind("gene")
    permuted = []
    for turn in range(permutations):
        order = np.random.default_rng([seed, 6, turn]).permutation(len(genes))
        other = Latents(
            values_rd=loadings_gd, rows=tuple(genes[at] for at in order), kinds=("gene",) * len(genes),
            dims=attribution.dims, site=attribution.site, model=attribution.model,
        )  # fmt: skip
        permuted.append(share_annotated(enrich(other, gene_sets, top=top), len(attribution.dims)))
    of_random = None if random is None else share_annotated(enrich(random, gene_sets, top=top), len(random.dims))
    return Annotation(table, share_annotated(table, len(attribution.dims)), np.array(permuted), of_random)


def share_annotated(table: pd.DataFrame, n_features: int) -> float:
    """Share of features with at least one set at a false discovery rate of 5 %."""
    return table.loc[table["fdr"] < FDR, "dimension"].nunique() / max(n_features, 1)
