"""What the 2026 rule needs of a set of cells: bulk profiles, their sampling error, and the test against a control.

`prepare_real` measures the real cells once; every prediction scored against them then costs one pass over its own
cells. Spaces (metrics.md B4): a bulk profile is log1p of summed counts scaled to 50,000; the test ranks cells scaled to
one million; only genes above 5 counts per million in the control that is tested against are tested.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse

from vc_eval import de
from vc_eval.de import SortedControl
from vc_eval.errors import VcEvalError
from vc_eval.vcc2026 import kernels

if TYPE_CHECKING:
    import anndata

BULK_TARGET_SUM = 50_000.0  # counts of a scaled bulk profile
MIN_CONTROL_CPM = 5.0  # strict bound on the mean counts per million of the control
EPSILON = 1e-9  # added to both means of a fold change
MAX_COUNTS_PER_CELL = 1e6  # a cell may hold this many counts, not more
INTEGRAL = 1e-6  # a count may be this far from a whole number


@dataclass(frozen=True, kw_only=True)
class Side:
    """Bulk profiles and tests of `p` perturbations over `g` genes."""

    perturbations: tuple[str, ...]
    """Labels, sorted."""
    genes: np.ndarray
    """`[g]` gene names in file order."""
    bulk_pg: np.ndarray
    """`[p, g]` log1p of summed counts scaled to 50,000."""
    jackknife_p: np.ndarray
    """`[p]` sampling error of the bulk profile, summed over genes (C of metrics.md B5)."""
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
class RealSide(Side):
    """The real cells, with what a prediction needs to be tested against the same controls."""

    target_p: np.ndarray
    """`[p]` position of the gene each perturbation targets, -1 where there is none in the gene list."""
    control_jackknife: float
    control: SortedControl
    """Tested genes of the control, log1p counts per million, sorted."""
    control_cpm_g: np.ndarray
    """`[g]` mean counts per million of the control."""
    n_cells: dict[str, int]
    """Cells of every label, the control included."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """A count matrix with the total of every cell."""

    csr: scipy.sparse.csr_array
    totals: np.ndarray

    def rows(self, rows: np.ndarray) -> "Counts":
        """The listed cells."""
        return Counts(csr=self.csr[rows], totals=self.totals[rows])


def read_counts(matrix: object, name: str, *, fractional: bool = False) -> Counts:
    """Check a matrix and sum its cells.

    Args:
        matrix: `[n, g]` counts, any scipy sparse format or dense; left as it is.
        name: Side, for messages.
        fractional: Accept values that are not whole numbers.

    Raises:
        VcEvalError: If a value is negative, not finite or not a whole number, or a cell holds more than 1,000,000.
    """
    csr = de.as_csr(matrix, name)
    if csr.nnz and csr.data.min() < 0:
        raise VcEvalError(f"{name}: found a negative value ({csr.data.min():g}); expected raw counts of 0 or more.")
    if not fractional:
        off = np.abs(csr.data - np.rint(csr.data)) > csr.data.dtype.type(INTEGRAL)
        if off.any():
            raise VcEvalError(
                f"{name}: {int(off.sum())} values are not whole numbers (first {csr.data[off][0]:g}); expected raw "
                "counts. Undo the normalisation, or round."
            )
    totals = np.empty(csr.shape[0])
    kernels.row_totals(csr.indptr, csr.data, totals)
    if (totals > MAX_COUNTS_PER_CELL).any():
        raise VcEvalError(
            f"{name}: {int((totals > MAX_COUNTS_PER_CELL).sum())} cells hold more than {MAX_COUNTS_PER_CELL:,.0f} "
            f"counts (largest {totals.max():,.0f}); scale the prediction down."
        )
    return Counts(csr=csr, totals=totals)


def labels_of(adata: "anndata.AnnData", column: str, name: str) -> np.ndarray:
    """`[n]` labels of the cells as text.

    Raises:
        VcEvalError: If the column is missing or a label is missing.
    """
    if column not in adata.obs.columns:
        raise VcEvalError(
            f"{name}: obs has no column {column!r} (columns: {', '.join(map(str, adata.obs.columns)) or 'none'}); name "
            "the column of perturbation labels in the settings."
        )
    if adata.obs[column].isna().any():
        raise VcEvalError(f"{name}: {int(adata.obs[column].isna().sum())} cells have no label in obs[{column!r}].")
    return adata.obs[column].astype(str).to_numpy().astype(str)


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
    target_genes: dict[str, str | None] | None = None, n_threads: int | None = None,
) -> RealSide:  # fmt: skip
    """Measure real cells that hold their own control.

    Args:
        counts: From `read_counts`.
        label_n: `[n]` label of each cell.
        genes: `[g]` gene names.
        control: Label of the control cells.
        target_genes: See `find_targets`.
        n_threads: Threads; default is every core.

    Raises:
        VcEvalError: If the control or every perturbation is missing, or the control tests no gene.
    """
    names, group_n = np.unique(label_n, return_inverse=True)
    perturbations = tuple(str(name) for name in names if name != control)
    if control not in names:
        raise VcEvalError(
            f"real cells: no cell is labelled {control!r}; found {', '.join(names[:5])}. Name the control label."
        )
    if not perturbations:
        raise VcEvalError(f"real cells: every cell is labelled {control!r}; expected perturbed cells too.")
    code = np.where(names == control, len(perturbations), np.cumsum(names != control) - 1)
    group_n = code[group_n]
    sums_pg, cpm_pg, jackknife_p = _bulk(counts, group_n, len(perturbations) + 1, n_threads)
    control_cpm_g = cpm_pg[-1]
    tested_g = control_cpm_g > MIN_CONTROL_CPM
    if not tested_g.any():
        raise VcEvalError(
            f"real control: no gene has more than {MIN_CONTROL_CPM:g} counts per million, so none can be tested."
        )
    sorted_control = de.sort_control(
        _log_per_million(counts, np.flatnonzero(group_n == len(perturbations)), tested_g), n_threads=n_threads
    )
    bulk_pg = _bulk_profiles(sums_pg)
    p_pg, q_pg, lfc_pg = _test(
        counts, np.where(group_n < len(perturbations), group_n, -1), cpm_pg[:-1], control_cpm_g, tested_g,
        sorted_control, n_threads,
    )  # fmt: skip
    return RealSide(
        perturbations=perturbations, genes=genes, bulk_pg=bulk_pg[:-1], jackknife_p=jackknife_p[:-1],
        origin_g=bulk_pg[-1], p_value_pg=p_pg, q_value_pg=q_pg, lfc_pg=lfc_pg, tested_g=tested_g,
        target_p=find_targets(perturbations, genes, target_genes), control_jackknife=float(jackknife_p[-1]),
        control=sorted_control, control_cpm_g=control_cpm_g,
        n_cells={str(name): int(n) for name, n in zip([*perturbations, control], np.bincount(group_n), strict=True)},
    )  # fmt: skip


def measure_prediction(counts: Counts, label_n: np.ndarray, real: RealSide, *, n_threads: int | None = None) -> Side:
    """Measure predicted cells against the real control; cells of other labels (predicted controls) are left out.

    Args:
        counts: From `read_counts`, same genes as the real side.
        label_n: `[n]` label of each cell.
        real: The real side.
        n_threads: Threads; default is every core.

    Raises:
        VcEvalError: If a perturbation of the real side has no predicted cell.
    """
    position = {name: p for p, name in enumerate(real.perturbations)}
    names, inverse = np.unique(label_n, return_inverse=True)
    missing = sorted(set(real.perturbations) - set(names.tolist()))
    if missing:
        raise VcEvalError(
            f"prediction: {len(missing)} of {len(real.perturbations)} perturbations have no cell (first: "
            f"{', '.join(missing[:5])}); every measured perturbation must be predicted."
        )
    group_n = np.array([position.get(str(name), -1) for name in names])[inverse]
    n_groups = len(real.perturbations)
    sums_pg, cpm_pg, jackknife_p = _bulk(counts, group_n, n_groups, n_threads)
    p_pg, q_pg, lfc_pg = _test(counts, group_n, cpm_pg, real.control_cpm_g, real.tested_g, real.control, n_threads)
    return Side(
        perturbations=real.perturbations, genes=real.genes, bulk_pg=_bulk_profiles(sums_pg), jackknife_p=jackknife_p,
        origin_g=real.origin_g, p_value_pg=p_pg, q_value_pg=q_pg, lfc_pg=lfc_pg, tested_g=real.tested_g,
    )  # fmt: skip


def _bulk(
    counts: Counts, group_n: np.ndarray, n_groups: int, n_threads: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Summed counts `[p, g]`, mean counts per million `[p, g]` and jackknife term `[p]` of every group."""
    csr = counts.csr
    order, ends = de.group_order(group_n, n_groups)
    sums_pg, cpm_pg = (np.zeros((n_groups, csr.shape[1])) for _ in range(2))
    jackknife_p = np.zeros(n_groups)
    starts = np.append(0, ends[:-1])

    def task(p: int) -> None:
        rows = order[starts[p] : ends[p]]
        kernels.group_sums(csr.indptr, csr.indices, csr.data, counts.totals, rows, sums_pg[p], cpm_pg[p])
        cpm_pg[p] /= rows.size
        jackknife_p[p] = kernels.jackknife(
            csr.indptr, csr.indices, csr.data, counts.totals, rows, sums_pg[p], BULK_TARGET_SUM
        )

    _on_threads(task, np.argsort(starts - ends, kind="stable").tolist(), n_threads)  # largest group first
    return sums_pg, cpm_pg, jackknife_p


def _bulk_profiles(sums_pg: np.ndarray) -> np.ndarray:
    totals = sums_pg.sum(axis=1)
    scale = np.divide(BULK_TARGET_SUM, totals, out=np.zeros_like(totals), where=totals > 0)
    return np.log1p(sums_pg * scale[:, None])


def _test(
    counts: Counts, group_n: np.ndarray, cpm_pg: np.ndarray, control_cpm_g: np.ndarray, tested_g: np.ndarray,
    control: SortedControl, n_threads: int | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """P values, q values and log2 fold changes `[p, g]`; NaN in genes that are not tested."""
    rows = np.flatnonzero(group_n >= 0)
    table = de.test_groups(
        _log_per_million(counts, rows, tested_g), group_n[rows], len(cpm_pg), control, n_threads=n_threads
    )
    p_pg, q_pg, lfc_pg = (np.full(cpm_pg.shape, np.nan) for _ in range(3))
    p_pg[:, tested_g], q_pg[:, tested_g] = table.p_value_pg, table.q_value_pg
    lfc_pg[:, tested_g] = np.log2((cpm_pg[:, tested_g] + EPSILON) / (control_cpm_g[tested_g] + EPSILON))
    return p_pg, q_pg, lfc_pg


def _log_per_million(counts: Counts, rows: np.ndarray, tested_g: np.ndarray) -> scipy.sparse.csr_array:
    """float64 log1p of counts per million of the listed cells in the tested genes.

    The logarithm leaves ranks alone, except that it may round two neighbouring values to one. It is taken because the
    reference implementation ranks log values, and ties enter the variance of the test.
    """
    csr = counts.csr
    position = np.where(tested_g, np.cumsum(tested_g) - 1, -1)
    sizes = np.empty(rows.size, np.int64)
    kernels.count_kept(csr.indptr, csr.indices, rows, position, sizes)
    ends = np.cumsum(sizes)
    n_stored = int(ends[-1]) if ends.size else 0
    index = np.int32 if n_stored <= np.iinfo(np.int32).max else np.int64  # one type for both, or scipy copies
    indptr = np.append(0, ends).astype(index)
    indices, data = np.empty(n_stored, index), np.empty(n_stored)
    kernels.scale_kept(csr.indptr, csr.indices, csr.data, counts.totals, rows, position, indptr, indices, data)
    np.log1p(data, out=data)
    return scipy.sparse.csr_array((data, indices, indptr), shape=(rows.size, int(tested_g.sum())))


def _on_threads(task: Callable[[int], None], items: list[int], n_threads: int | None) -> None:
    if n_threads is None:
        n_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(n_threads) as pool:
        for done in [pool.submit(task, item) for item in items]:
            done.result()
