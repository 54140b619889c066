"""What a model said, brought to log1p_cp10k mean profiles on the scored genes.

A predicted delta is the predicted profile minus the model's own control row, which holds the `input` controls: the
measured delta subtracts other cells (`evaluation`), so no sampling noise is shared.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import scipy.sparse

from vc_eval.contracts import CONTROL
from vc_eval.errors import VcEvalError
from vc_eval.metrics.uncertainty import LEVELS
from vc_eval.rank import de
from vc_eval.split.truth import TARGET_SUM

if TYPE_CHECKING:
    import anndata


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """Predicted profiles of `p` conditions of one cell line, log1p_cp10k."""

    profile_pg: np.ndarray
    control_g: np.ndarray
    """The model's own unperturbed state."""
    delta_pg: np.ndarray
    sd_pg: np.ndarray | None
    """Predictive standard deviation, where the model has one."""
    width_pl: np.ndarray | None = None
    """`[p, 9]` half-widths of its intervals of 10 to 90 % in standard deviations, where it states them."""
    supported_p: np.ndarray | None = None
    """`[p]` bool, whether the model says that its training data speak about the condition."""


def predicted_profiles(
    adata: "anndata.AnnData", name: str, cell_line: str, perturbations: list[str], genes: np.ndarray
) -> Predicted:
    """Mean profiles of the wanted conditions; cells of one condition are averaged in log1p_cp10k.

    Args:
        adata: From `contracts.read_predictions`.
        name: The model's name in messages.
        cell_line: The line.
        perturbations: `[p]` wanted labels.
        genes: `[g]` wanted genes, all in the file.

    Raises:
        VcEvalError: If a condition is not predicted.
    """
    line = adata.obs["cell_line"].astype(str).to_numpy()
    label = adata.obs["perturbation"].astype(str).to_numpy()
    wanted = [CONTROL, *perturbations]
    codes: dict[Any, int] = {key: code for code, key in enumerate(wanted)}
    group = np.array([codes.get(p, -1) if c == cell_line else -1 for c, p in zip(line, label, strict=True)])
    missing = [p for code, p in enumerate(wanted) if not (group == code).any()]
    if missing:
        raise VcEvalError(
            f"predictions of {name!r}: {len(missing)} of {len(perturbations)} test conditions of {cell_line!r} are "
            f"missing, e.g. {missing[:5]!r}; every model is scored on the same conditions. Predict all of them."
        )
    rows = np.flatnonzero(group >= 0)
    # pyrefly: ignore[bad-argument-type] pandas takes any list of names here
    columns = adata.var_names.get_indexer(genes)
    matrix = scipy.sparse.csr_array(cast("Any", adata.X)[rows])
    if str(adata.uns["space"]) == "counts":
        matrix = _to_log1p_cp10k(matrix, adata, rows)
    means, _, _ = de.group_moments(matrix[:, columns], group[rows], len(wanted))
    sd_pg = None
    if "sd" in adata.layers and str(adata.uns["unit"]) == "profile" and str(adata.uns["space"]) == "log1p_cp10k":
        sd = scipy.sparse.csr_array(adata.layers["sd"][rows])[:, columns]
        sd_pg = de.group_moments(sd, group[rows], len(wanted))[0][1:]
    if str(adata.uns["unit"]) == "profile":
        row_of = dict(zip(group[rows].tolist(), rows.tolist(), strict=True))
        own = np.array([row_of[code] for code in range(1, len(wanted))], dtype=np.int64)
        width_pl = _widths(adata, own) if sd_pg is not None else None
        supported_p = adata.obs["supported"].to_numpy(bool)[own] if "supported" in adata.obs else None
    else:
        width_pl = supported_p = None
    return Predicted(
        profile_pg=means[1:], control_g=means[0], delta_pg=means[1:] - means[0], sd_pg=sd_pg, width_pl=width_pl,
        supported_p=supported_p,
    )  # fmt: skip


def _widths(adata: "anndata.AnnData", rows: np.ndarray) -> np.ndarray | None:
    """`[p, 9]` stated half-widths at the scored levels, or None where the file does not state all of them."""
    if "interval_width" not in adata.obsm:
        return None
    stated = np.round(np.asarray(adata.uns["interval_levels"], np.float64), 6).tolist()
    if not set(LEVELS) <= set(stated):
        return None
    return np.asarray(adata.obsm["interval_width"])[np.ix_(rows, [stated.index(level) for level in LEVELS])]


def _to_log1p_cp10k(
    matrix: scipy.sparse.csr_array, adata: "anndata.AnnData", rows: np.ndarray
) -> scipy.sparse.csr_array:
    """Divide by `obs["total_counts"]` where the file has it, else by the sum over its genes."""
    totals = matrix.sum(axis=1)
    if "total_counts" in adata.obs:
        totals = adata.obs["total_counts"].to_numpy(np.float64)[rows]
    if (~(totals > 0) & (np.diff(matrix.indptr) > 0)).any():
        raise VcEvalError("predictions in counts: a row with counts has no positive total; expected a library size.")
    per_value = np.repeat(totals.astype(np.float64), np.diff(matrix.indptr))
    values = np.log1p(matrix.data.astype(np.float64) * TARGET_SUM / per_value)
    return scipy.sparse.csr_array((values, matrix.indices, matrix.indptr), shape=matrix.shape)
