"""What the 2026 rule needs of a set of cells: bulk profiles, their sampling error, and the test against a control.

`measure_real` measures the real cells once; every prediction scored against them then costs two passes over its own
cells. Spaces (docs/metrics.md#vcc2026): a bulk profile is log1p of summed counts scaled to 50,000; the test ranks cells scaled to
one million; only genes above 5 counts per million in the control that is tested against are tested.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vc_eval.cells.inputs import column_labels
from vc_eval.errors import VcEvalError
from vc_eval.rank import de
from vc_eval.vcc2026.counts import BULK_TARGET_SUM, Columns, Counts, Ranks, rank_groups, sum_groups

if TYPE_CHECKING:
    import anndata

MIN_CONTROL_CPM = 5.0  # strict bound on the mean counts per million of the control
EPSILON = 1e-9  # added to both means of a fold change


@dataclass(frozen=True, kw_only=True)
class MeasuredSide:
    """Bulk profiles and tests of `p` perturbations over `g` genes."""

    perturbations: tuple[str, ...]
    """Labels, sorted."""
    genes: np.ndarray
    """`[g]` gene names in file order."""
    bulk_pg: np.ndarray
    """`[p, g]` log1p of summed counts scaled to 50,000."""
    jackknife_p: np.ndarray
    """`[p]` sampling error of the bulk profile, summed over genes (C of docs/metrics.md#vcc2026)."""
    origin_g: np.ndarray
    """`[g]` bulk profile of the control that deltas are taken from."""
    p_value_pg: np.ndarray
    """`[p, g]` p value against that control; NaN where the gene is not tested."""
    q_value_pg: np.ndarray
    """`[p, g]` Benjamini-Hochberg over the tested genes of each perturbation; NaN where not tested."""
    lfc_pg: np.ndarray
    """`[p, g]` log2 ratio of arithmetic means of counts per million; NaN where not tested."""
    tested_g: np.ndarray
    """`[g]` bool."""


@dataclass(frozen=True, kw_only=True)
class RealSide(MeasuredSide):
    """The real cells, with what a prediction needs to be tested against the same controls."""

    target_p: np.ndarray
    """`[p]` position of the gene each perturbation targets, -1 where there is none in the gene list."""
    control_jackknife: float
    control: Columns
    """Tested genes of the control, log1p counts per million."""
    control_cpm_g: np.ndarray
    """`[g]` mean counts per million of the control."""
    n_cells: dict[str, int]
    """Cells of every label, the control included."""


def labels_of(adata: "anndata.AnnData", column: str, name: str) -> np.ndarray:
    """`[n]` labels of the cells as text.

    Raises:
        VcEvalError: If the column is missing or a label is missing.
    """
    return column_labels(adata, column, name)


def find_targets(
    perturbations: Sequence[str], genes: np.ndarray, target_genes: dict[str, str | None] | None
) -> np.ndarray:
    """`[p]` position of each perturbation's own gene, -1 where it is not in the gene list.

    Args:
        perturbations: Labels.
        genes: `[g]` gene names.
        target_genes: Label -> gene, for labels that are not gene symbols; None says that a label targets no gene, and
            the key "*" says so for every label without an entry of its own.

    Raises:
        VcEvalError: If gene names repeat, or no label is found and none is declared to have no target: then nothing
            would be excluded, and every prediction could score on its own knocked-down gene.
    """
    position = {gene: g for g, gene in enumerate(genes.tolist())}
    if len(position) != len(genes):
        raise VcEvalError(f"gene list: {len(genes) - len(position)} names occur twice; make gene names unique.")
    mapping = target_genes or {}
    target_p = np.full(len(perturbations), -1)
    declared = 0
    for p, label in enumerate(perturbations):
        gene = mapping.get(label, mapping.get("*", label))
        if gene is None:
            declared += 1
        else:
            target_p[p] = position.get(gene, -1)
    if len(perturbations) and declared == 0 and not (target_p >= 0).any():
        raise VcEvalError(
            f"perturbations: none of {len(perturbations)} labels (first: {', '.join(perturbations[:3])}) is a gene of "
            "the gene list, so no target gene would be excluded. Give target_genes={label: gene}, or {'*': None} if "
            "the perturbations have no target gene."
        )
    return target_p


def measure_real(
    counts: Counts, label_n: np.ndarray, genes: np.ndarray, *, control: str,
    target_genes: dict[str, str | None] | None = None,
) -> RealSide:  # fmt: skip
    """Measure real cells that hold their own control.

    Args:
        counts: The cells.
        label_n: `[n]` label of each cell; an empty one leaves the cell out.
        genes: `[g]` gene names.
        control: Label of the control cells.
        target_genes: See `find_targets`.

    Raises:
        VcEvalError: If cells hold no counts, the control or every perturbation is missing, or the control tests no gene.
    """
    names = sorted(set(np.unique(label_n).tolist()) - {""})
    perturbations = tuple(name for name in names if name != control)
    if control not in names:
        raise VcEvalError(
            f"real cells: no cell is labelled {control!r}; found {', '.join(names[:5])}. Name the control label."
        )
    if not perturbations:
        raise VcEvalError(f"real cells: every cell is labelled {control!r}; expected perturbed cells too.")
    target_p = find_targets(perturbations, genes, target_genes)
    code_n = _codes(label_n, [*perturbations, control])
    sums = sum_groups(counts, code_n, len(perturbations) + 1)
    control_cpm_g = sums.cpm_pg[-1]
    tested_g = control_cpm_g > MIN_CONTROL_CPM
    if not tested_g.any():
        raise VcEvalError(
            f"real control: no gene has more than {MIN_CONTROL_CPM:g} counts per million, so none can be tested."
        )
    bulk_pg = _bulk_profiles(sums.sums_pg)
    ranks = rank_groups(counts, code_n, sums, tested_g, None)
    p_pg, q_pg, lfc_pg = _test(ranks, sums.cpm_pg[:-1], sums.sizes, control_cpm_g, tested_g)
    return RealSide(
        perturbations=perturbations, genes=genes, bulk_pg=bulk_pg[:-1], jackknife_p=ranks.jackknife_p[:-1],
        origin_g=bulk_pg[-1], p_value_pg=p_pg, q_value_pg=q_pg, lfc_pg=lfc_pg, tested_g=tested_g, target_p=target_p,
        control_jackknife=float(ranks.jackknife_p[-1]), control=ranks.control, control_cpm_g=control_cpm_g,
        n_cells={name: int(n) for name, n in zip([*perturbations, control], sums.sizes, strict=True)},
    )  # fmt: skip


def measure_prediction(counts: Counts, label_n: np.ndarray, real: RealSide) -> MeasuredSide:
    """Measure predicted cells against the real control; cells of other labels (predicted controls) are left out.

    Args:
        counts: The cells, genes as on the real side.
        label_n: `[n]` label of each cell.
        real: The real side.

    Raises:
        VcEvalError: If a perturbation of the real side has no predicted cell, or cells hold no counts.
    """
    missing = sorted(set(real.perturbations) - set(np.unique(label_n).tolist()))
    if missing:
        raise VcEvalError(
            f"prediction: {len(missing)} of {len(real.perturbations)} perturbations have no cell (first: "
            f"{', '.join(missing[:5])}); every measured perturbation must be predicted."
        )
    code_n = _codes(label_n, list(real.perturbations))
    sums = sum_groups(counts, code_n, len(real.perturbations))
    ranks = rank_groups(counts, code_n, sums, real.tested_g, real.control)
    sizes = np.append(sums.sizes, real.control.n_cells)
    p_pg, q_pg, lfc_pg = _test(ranks, sums.cpm_pg, sizes, real.control_cpm_g, real.tested_g)
    return MeasuredSide(
        perturbations=real.perturbations, genes=real.genes, bulk_pg=_bulk_profiles(sums.sums_pg),
        jackknife_p=ranks.jackknife_p, origin_g=real.origin_g, p_value_pg=p_pg, q_value_pg=q_pg, lfc_pg=lfc_pg,
        tested_g=real.tested_g,
    )  # fmt: skip


def _codes(label_n: np.ndarray, names: list[str]) -> np.ndarray:
    """`[n]` position of each label among the names, -1 for others."""
    position = {name: p for p, name in enumerate(names)}
    found, inverse = np.unique(label_n, return_inverse=True)
    return np.array([position.get(str(name), -1) for name in found], np.int64)[inverse]


def _bulk_profiles(sums_pg: np.ndarray) -> np.ndarray:
    totals = sums_pg.sum(axis=1)
    scale = np.divide(BULK_TARGET_SUM, totals, out=np.zeros_like(totals), where=totals > 0)
    return np.log1p(sums_pg * scale[:, None])


def _test(
    ranks: Ranks, cpm_pg: np.ndarray, sizes: np.ndarray, control_cpm_g: np.ndarray, tested_g: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P values, q values and log2 fold changes `[p, g]`; NaN in genes that are not tested."""
    p_pg, q_pg, lfc_pg = (np.full(cpm_pg.shape, np.nan) for _ in range(3))
    tested = de.p_values(ranks.twice_u, ranks.ties, sizes[:-1], int(sizes[-1]))
    p_pg[:, tested_g], q_pg[:, tested_g] = tested, de.benjamini_hochberg(tested)
    lfc_pg[:, tested_g] = np.log2((cpm_pg[:, tested_g] + EPSILON) / (control_cpm_g[tested_g] + EPSILON))
    return p_pg, q_pg, lfc_pg
