"""What a table of effects (effects-v1) says of the test conditions, and what a model says of them in the same space."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vc_eval.contracts import Splits
from vc_eval.errors import VcEvalError
from vc_eval.metrics.ranks import top_k

if TYPE_CHECKING:
    import anndata

DECAY = 200.0  # ranks over which a listed gene counts e times less, where ranks have to be numbers


@dataclass(frozen=True, kw_only=True)
class TableTruth:
    """Measured effects of the test conditions of one cell line."""

    cell_line: str
    perturbations: list[str]
    genes: np.ndarray
    delta_pg: np.ndarray
    """Mean over replicates; of ranks, weights that fall with the rank."""
    noise_var_pg: np.ndarray
    """Variance of measuring, from standard errors or replicates; 0 where nothing tells it."""
    excluded_pg: np.ndarray
    """Bool; the perturbed genes by name."""
    train_mean_g: np.ndarray
    """Mean effect of the training conditions of the line, of all lines where it has none."""
    rows: list[np.ndarray]
    """Values of the replicates of each condition, `[replicates, g]`."""

    @property
    def top_by_delta(self) -> np.ndarray:
        """`[p, k]` genes with the largest |delta|, perturbed genes left out."""
        return top_k(np.where(self.excluded_pg, -1.0, np.abs(self.delta_pg)), 50)


def values_of(adata: "anndata.AnnData", genes: np.ndarray) -> np.ndarray:
    """`[n, g]` float64 effects on some genes; ranks become sign(r) exp(-(|r| - 1) / 200)."""
    columns = _columns(adata, genes)
    values = np.asarray(adata.X, np.float64)[:, columns]
    if str(adata.uns["space"]) == "rank":
        return np.sign(values) * np.exp(-np.maximum(np.abs(values) - 1, 0) / DECAY)
    return values


def _columns(adata: "anndata.AnnData", genes: np.ndarray) -> np.ndarray:
    import pandas as pd

    return adata.var_names.get_indexer(pd.Index(genes))


def measured_everywhere(adata: "anndata.AnnData") -> np.ndarray:
    """Names of the genes that every row measured, sorted."""
    known = np.ones(adata.n_vars, bool)
    if "measured" in adata.var:
        known = adata.var["measured"].to_numpy(bool)
    elif "measured" in adata.layers:
        known = np.asarray(adata.layers["measured"]).all(axis=0)
    return np.sort(adata.var_names.to_numpy(str)[known])


def make_table_truth(adata: "anndata.AnnData", splits: Splits, cell_line: str, genes: np.ndarray) -> TableTruth:
    """Collect the test conditions of one cell line.

    Args:
        adata: A checked effects-v1.
        splits: Checked against it.
        cell_line: A line with test conditions.
        genes: `[g]` names to score, sorted.
    """
    line, label, target = (adata.obs[key].astype(str).to_numpy() for key in ("cell_line", "perturbation", "target"))
    value_ng = values_of(adata, genes)
    parts = splits.conditions
    own = parts[parts["cell_line"] == cell_line]
    wanted = sorted(own["perturbation"][own["part"] == "test"])
    at = {name: np.flatnonzero((line == cell_line) & (label == name)) for name in wanted}
    place = {name: column for column, name in enumerate(genes)}
    excluded_pg = np.zeros((len(wanted), len(genes)), bool)
    for row, name in enumerate(wanted):
        excluded_pg[row, [place[gene] for gene in target[at[name][0]].split("+") if gene in place]] = True
    return TableTruth(
        cell_line=cell_line,
        perturbations=wanted,
        genes=genes,
        delta_pg=np.stack([value_ng[at[name]].mean(axis=0) for name in wanted]),
        noise_var_pg=_noise(adata, value_ng, genes, [at[name] for name in wanted]),
        excluded_pg=excluded_pg,
        train_mean_g=_training_mean(splits, cell_line, line, label, value_ng),
        rows=[value_ng[at[name]] for name in wanted],
    )


def predicted_effects(
    adata: "anndata.AnnData", name: str, cell_line: str, perturbations: list[str], genes: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """`[p, g]` predicted effects, their standard deviations or None, and `[p]` whether they are supported, or None.

    Raises:
        VcEvalError: If a condition is not predicted.
    """
    line, label = (adata.obs[key].astype(str).to_numpy() for key in ("cell_line", "perturbation"))
    row_of = {label[row]: row for row in np.flatnonzero(line == cell_line)}
    missing = [each for each in perturbations if each not in row_of]
    if missing:
        raise VcEvalError(
            f"predictions of {name!r}: {len(missing)} of {len(perturbations)} test conditions of {cell_line!r} are "
            f"missing, e.g. {missing[:5]!r}; every model is scored on the same conditions. Predict all of them."
        )
    rows = np.array([row_of[each] for each in perturbations], np.int64)
    columns = _columns(adata, genes)
    sd_pg = np.asarray(adata.layers["se"], np.float64)[np.ix_(rows, columns)] if "se" in adata.layers else None
    supported_p = adata.obs["supported"].to_numpy(bool)[rows] if "supported" in adata.obs else None
    return values_of(adata, genes)[rows], sd_pg, supported_p


def _training_mean(
    splits: Splits, cell_line: str, line: np.ndarray, label: np.ndarray, value_ng: np.ndarray
) -> np.ndarray:
    train = splits.conditions[splits.conditions["part"] == "train"]
    if (train["cell_line"] == cell_line).any():
        train = train[train["cell_line"] == cell_line]
    keys = {key: code for code, key in enumerate(zip(train["cell_line"], train["perturbation"], strict=True))}
    code_n = np.array([keys.get(key, -1) for key in zip(line, label, strict=True)])
    kept = code_n >= 0
    total_pg = np.zeros((len(keys), value_ng.shape[1]))
    np.add.at(total_pg, code_n[kept], value_ng[kept])
    return (total_pg / np.bincount(code_n[kept], minlength=len(keys))[:, None]).mean(axis=0)


def _noise(adata: "anndata.AnnData", value_ng: np.ndarray, genes: np.ndarray, rows: list[np.ndarray]) -> np.ndarray:
    """`[p, g]` variance of each mean: pooled over replicates where there are enough, else from standard errors."""
    n_p = np.array([len(own) for own in rows])
    spare = int((n_p - 1).sum())
    if spare >= max(3, len(rows) // 4):
        residual = [value_ng[own] - value_ng[own].mean(axis=0) for own in rows]
        return (np.concatenate(residual) ** 2).sum(axis=0) / spare / n_p[:, None]
    if "se" not in adata.layers:
        return np.zeros((len(rows), len(genes)))
    columns = _columns(adata, genes)
    se_ng = np.asarray(adata.layers["se"], np.float64)[:, columns]
    return np.stack([(se_ng[own] ** 2).sum(axis=0) / len(own) ** 2 for own in rows])
