"""What was measured: per cell line the test conditions, their deltas, their noise, and the cells behind them.

Effects are measured against the `evaluation` controls of the split, which no model and no training effect has seen: a
control mean shared between prediction and truth makes its sampling noise look like a predicted effect. Deltas are
batch-matched: the control mean is weighted by the batches of the perturbed cells. CP10k divides by the library size
over all genes the source measured (`obs["total_counts"]`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np
import scipy.sparse
from vc_contracts.targets import targets_of

from vc_eval.contracts import Splits
from vc_eval.errors import VcEvalError
from vc_eval.metrics import weighted
from vc_eval.rank import de

if TYPE_CHECKING:
    import anndata

TARGET_SUM = 10_000  # counts per cell after scaling, the CP10k convention
TOP = 50  # genes in the top-gene metrics (docs/metrics.md#profile-suite)
PRIOR_CELLS = 10  # degrees of freedom with which the controls' variance steadies that of a small condition


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Measured effects of `p` conditions over `g` genes, in log1p_cp10k."""

    profile_pg: np.ndarray
    """Mean over the cells of each condition."""
    control_g: np.ndarray
    """Mean over all evaluation controls of the cell line, not batch-matched."""
    delta_pg: np.ndarray
    """Batch-matched profile minus control."""


@dataclass(frozen=True, kw_only=True)
class LineTruth:
    """Everything measured about the test conditions of one cell line."""

    cell_line: str
    perturbations: list[str]
    """`[p]` labels, sorted."""
    genes: np.ndarray
    """`[g]` gene names, sorted."""
    effects: Effects
    noise_var_pg: np.ndarray
    """Sampling variance of each measured delta: cells of the condition plus evaluation controls."""
    excluded_pg: np.ndarray
    """Bool; true for the perturbed genes of each condition."""
    target_p: np.ndarray
    """Gene position of a single target, -1 where there is none (what vcc2025 leaves out)."""
    cells: scipy.sparse.csr_array
    """`[n, g]` float32 log1p_cp10k of the test cells, by condition, then cell name."""
    group_n: np.ndarray
    batch_n: np.ndarray
    evaluation: scipy.sparse.csr_array
    """Evaluation controls, by cell name."""
    evaluation_batch: np.ndarray
    input: scipy.sparse.csr_array
    """Input controls, by cell name; what emission draws from."""
    mean_baseline_g: np.ndarray
    """cell-eval's mean baseline from the training conditions (docs/metrics.md#mean-baseline)."""
    train_delta_g: np.ndarray
    """Mean training delta against the reference controls, the reference shift of Systema (docs/metrics.md#systematic)."""
    unmatched: int
    """Test cells in batches without evaluation controls; their control is the mean over the other batches."""

    @property
    def sizes(self) -> np.ndarray:
        """`[p]` cells per condition."""
        return np.bincount(self.group_n, minlength=len(self.perturbations))

    @property
    def is_combo(self) -> np.ndarray:
        """`[p]` bool: more than one target."""
        return np.array(["+" in name for name in self.perturbations])

    @cached_property
    def control(self) -> de.SortedControl:
        """Evaluation controls, sorted once for every model."""
        return de.sort_control(self.evaluation)

    @cached_property
    def table(self) -> de.DeTable:
        """DE of the real cells against the evaluation controls."""
        return de.test_groups(self.cells, self.group_n, len(self.perturbations), self.control)

    @cached_property
    def weight_pg(self) -> np.ndarray:
        """`[p, g]` weights of `wmse`: how much a gene responds to this condition more than to the others of the line."""
        mean_pg, square_pg, sizes = de.group_moments(self.cells, self.group_n, len(self.perturbations))
        return weighted.weights(weighted.welch_t(mean_pg, square_pg, sizes))

    @cached_property
    def top_by_delta(self) -> np.ndarray:
        """`[p, k]` genes with the largest |delta|, perturbed genes left out."""
        return top_genes(np.abs(self.effects.delta_pg), self.excluded_pg)

    @cached_property
    def top_by_test(self) -> np.ndarray:
        """`[p, k]` genes with the smallest p value, then the largest |delta|, perturbed genes left out."""
        order = np.lexsort((-np.abs(self.effects.delta_pg), self.table.p_value_pg), axis=1)
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(order.shape[1], 0, -1)[None, :], axis=1)
        return top_genes(rank.astype(np.float64), self.excluded_pg)


def top_genes(size_pg: np.ndarray, excluded_pg: np.ndarray) -> np.ndarray:
    """`[p, k]` positions of the k = 50 largest sizes per row (fewer if there are fewer genes), excluded genes left out."""
    k = min(TOP, int((~excluded_pg).sum(axis=1).min()))
    return np.argsort(-np.where(excluded_pg, -1.0, size_pg), axis=1, kind="stable")[:, :k]


def log1p_cp10k(counts: scipy.sparse.csr_array, totals: np.ndarray) -> scipy.sparse.csr_array:
    """float32 log1p(counts / totals * 10,000); rows of zero counts stay zero whatever their total.

    The product is taken before the quotient: both are exact or correctly rounded, so equal rates give equal values and
    ties between cells are ties of the data.
    """
    counts = scipy.sparse.csr_array(counts)
    per_value = np.repeat(np.asarray(totals, np.float64), np.diff(counts.indptr))
    values = np.log1p(counts.data.astype(np.float64) * TARGET_SUM / per_value).astype(np.float32)
    return scipy.sparse.csr_array((values, counts.indices, counts.indptr), shape=counts.shape)


def measured_genes(screen: "anndata.AnnData") -> np.ndarray:
    """Names of the genes the screen measured, sorted."""
    return np.sort(screen.var_names.to_numpy(str)[screen.var["measured"].to_numpy(bool)])


def test_lines(splits: Splits) -> list[str]:
    """Cell lines with test conditions, sorted."""
    return sorted(set(splits.conditions["cell_line"][splits.conditions["part"] == "test"]))


# pyrefly: ignore[missing-attribute] a function may carry attributes; pytest reads this one
test_lines.__test__ = False  # about test conditions, not a test


def make_truth(screen: "anndata.AnnData", splits: Splits, cell_line: str, genes: np.ndarray) -> LineTruth:
    """Measure the test conditions of one cell line.

    Args:
        screen: From `contracts.read_screen`.
        splits: From `contracts.read_splits`, checked against the screen.
        cell_line: One of `test_lines`.
        genes: `[g]` names to score, sorted; from `measured_genes`.

    Raises:
        VcEvalError: If the line lacks input, reference or evaluation controls.
    """
    obs = screen.obs
    line = obs["cell_line"].astype(str).to_numpy()
    label = obs["perturbation"].astype(str).to_numpy()
    names = obs.index.to_numpy(str)
    # pyrefly: ignore[bad-argument-type] pandas takes any list of names here
    columns = screen.var_names.get_indexer(genes)

    def rows_of(mask: np.ndarray) -> np.ndarray:
        rows = np.flatnonzero(mask)
        return rows[np.lexsort((names[rows], label[rows]))]

    def values_of(rows: np.ndarray) -> scipy.sparse.csr_array:
        matrix = cast(
            "scipy.sparse.csr_array", cast("scipy.sparse.csr_array", scipy.sparse.csr_array(screen.X)[rows])[:, columns]
        )
        matrix.sort_indices()
        return log1p_cp10k(matrix, obs["total_counts"].to_numpy()[rows])

    controls = {}
    for kind, members in splits.controls.items():
        controls[kind] = rows_of(np.isin(names, members) & (line == cell_line))
        if controls[kind].size == 0:
            raise VcEvalError(
                f"cell line {cell_line!r} has test conditions but no {kind} controls; expected control cells of this "
                "line in each of the split's three lists. Make the split again, or drop the line."
            )
    part = splits.conditions[splits.conditions["cell_line"] == cell_line].set_index("perturbation")["part"]
    perturbations = sorted(part.index[part == "test"])
    rows = rows_of((line == cell_line) & np.isin(label, perturbations))
    group_n = np.searchsorted(perturbations, label[rows])
    batches, batch_all = np.unique(obs["batch"].astype(str).to_numpy(), return_inverse=True)
    cells, evaluation = values_of(rows), values_of(controls["evaluation"])
    batch_n, evaluation_batch = batch_all[rows], batch_all[controls["evaluation"]]
    effects = measure(cells, group_n, len(perturbations), batch_n, evaluation, evaluation_batch, len(batches))
    target = obs["target"].astype(str).to_numpy()[rows[np.searchsorted(group_n, np.arange(len(perturbations)))]]
    excluded_pg, target_p = _targets(target, screen, genes)
    baseline_g, train_delta_g = _training_means(
        splits, cell_line, line, label, rows_of, values_of, controls["reference"]
    )
    return LineTruth(
        cell_line=cell_line, perturbations=perturbations, genes=genes, effects=effects,
        noise_var_pg=_noise(cells, group_n, len(perturbations), batch_n, evaluation, evaluation_batch, len(batches)),
        excluded_pg=excluded_pg, target_p=target_p, cells=cells, group_n=group_n, batch_n=batch_n,
        evaluation=evaluation, evaluation_batch=evaluation_batch, input=values_of(controls["input"]),
        mean_baseline_g=baseline_g, train_delta_g=train_delta_g,
        unmatched=int((~np.isin(batch_n, evaluation_batch)).sum()),
    )  # fmt: skip


def measure(
    cells: scipy.sparse.csr_array, group_n: np.ndarray, n_groups: int, batch_n: np.ndarray,
    control: scipy.sparse.csr_array, control_batch: np.ndarray, n_batches: int,
) -> Effects:  # fmt: skip
    """Profiles and batch-matched deltas: delta_p = mean_p - sum_b (n_pb / n_p) control mean of batch b.

    Args:
        cells: `[n, g]` log1p_cp10k.
        group_n: `[n]` condition of each cell, -1 to leave a cell out.
        n_groups: Number of conditions.
        batch_n: `[n]` batch of each cell.
        control: `[m, g]` evaluation controls of the same line.
        control_batch: `[m]` batch of each control; -1 leaves a control out.
        n_batches: Number of batches.
    """
    profile_pg, _, _ = de.group_moments(cells, group_n, n_groups)
    batch_mean_bg, _, batch_sizes = de.group_moments(control, control_batch, n_batches)
    overall_g = de.group_moments(control, np.where(control_batch >= 0, 0, -1), 1)[0][0]
    batch_mean_bg[batch_sizes == 0] = overall_g
    weight_pb = _batch_weights(group_n, n_groups, batch_n, n_batches)
    return Effects(profile_pg=profile_pg, control_g=overall_g, delta_pg=profile_pg - weight_pb @ batch_mean_bg)


def _batch_weights(group_n: np.ndarray, n_groups: int, batch_n: np.ndarray, n_batches: int) -> np.ndarray:
    kept = group_n >= 0
    weight_pb = np.zeros((n_groups, n_batches))
    np.add.at(weight_pb, (group_n[kept], batch_n[kept]), 1.0)
    with np.errstate(invalid="ignore"):
        return weight_pb / weight_pb.sum(axis=1, keepdims=True)


def _noise(
    cells: scipy.sparse.csr_array, group_n: np.ndarray, n_groups: int, batch_n: np.ndarray,
    control: scipy.sparse.csr_array, control_batch: np.ndarray, n_batches: int,
) -> np.ndarray:  # fmt: skip
    """Variance of each delta: s2_p / n_p + s2_control * sum_b w_b^2 / n_control_b, s2_p steadied by the controls'."""
    _, square_pg, sizes = de.group_moments(cells, group_n, n_groups)
    _, square_bg, control_sizes = de.group_moments(control, control_batch, n_batches)
    used = control_sizes > 0
    # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
    control_var_g = square_bg[used].sum(axis=0) / max(1, control.shape[0] - int(used.sum()))
    prior = PRIOR_CELLS * control_var_g
    case_var_pg = (square_pg + prior) / (sizes - 1 + PRIOR_CELLS)[:, None]
    weight_pb = _batch_weights(group_n, n_groups, batch_n, n_batches)
    # pyrefly: ignore[unsupported-operation] scipy's code, which has no stubs, starts shape at None
    per_control = np.where(used, 1 / np.maximum(control_sizes, 1), 1 / control.shape[0])
    return case_var_pg / sizes[:, None] + control_var_g * (weight_pb**2 @ per_control)[:, None]


def _targets(target: np.ndarray, screen: "anndata.AnnData", genes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Perturbed genes of each condition, as the screen links its targets: mask `[p, g]` and the single target `[p]`."""
    position = {name: g for g, name in enumerate(genes)}
    targets = targets_of(screen)
    excluded_pg = np.zeros((len(target), len(genes)), bool)
    target_p = np.full(len(target), -1)
    for p, label in enumerate(target):
        names = [targets.gene_of(part) for part in label.split("+")]
        found = [position[name] for name in names if name in position]
        excluded_pg[p, found] = True
        if "+" not in label and found:
            target_p[p] = found[0]
    return excluded_pg, target_p


def _training_means(
    splits: Splits, cell_line: str, line: np.ndarray, label: np.ndarray,
    rows_of: Callable, values_of: Callable, reference: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Mean profile over training labels and the control (A9), and the mean training delta, each label weighted equally.

    A line without training conditions takes the training conditions of all lines, which is all a model may know.
    """
    train = splits.conditions[splits.conditions["part"] == "train"]
    if (train["cell_line"] == cell_line).any():
        train = train[train["cell_line"] == cell_line]
    codes = {key: code for code, key in enumerate(sorted(zip(train["cell_line"], train["perturbation"], strict=True)))}
    group = np.array([codes.get(key, -1) for key in zip(line, label, strict=True)])
    rows = rows_of(group >= 0)
    profile_lg, _, _ = de.group_moments(values_of(rows), group[rows], len(codes))
    control_g = de.group_moments(values_of(reference), np.zeros(reference.size, np.int64), 1)[0][0]
    return np.vstack([profile_lg, control_g]).mean(axis=0), profile_lg.mean(axis=0) - control_g
