"""The mean baseline of the 2025 challenge as a file of cells (docs/metrics.md#mean-baseline).

One profile, the unweighted mean over labels of the mean of each label with the control among them, is repeated in every
cell of every perturbation; the original controls follow unchanged. Identical cells have no spread, which inflates their
calls: the rule's baseline is meant to be so, a model's prediction is not.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import scipy.sparse
from vc_contracts.kinds import OUTPUT_MARK

from vc_eval.cells import ranked as cells
from vc_eval.cells.cache import cached_side
from vc_eval.cells.inputs import read_labels
from vc_eval.cells.settings import Settings
from vc_eval.contracts import write_whole
from vc_eval.errors import ContractError, VcEvalError
from vc_eval.metrics import challenge2025 as vcc

if TYPE_CHECKING:
    import anndata

ROWS = 4096  # written at a time


def baseline_profile(adata: "anndata.AnnData", *, settings: Settings) -> tuple[np.ndarray, dict[str, int]]:
    """Profile of the mean baseline, and how many cells each perturbation has.

    Args:
        adata: Cells to average, usually the training data; counts are brought to log1p as the rule does.
        settings: Column, control label, cache.

    Returns:
        (`[g]` float32 profile, perturbation -> cells).
    """
    labels = read_labels(adata, settings.pert_col, settings.control, "real")
    genes = adata.var_names.to_numpy(str)
    side = cached_side(adata, labels, genes, name="real", settings=settings)
    sizes = dict(zip(side.labels, side.sizes[:-1].tolist(), strict=True))
    return vcc.mean_baseline(side.mean_lg).astype(np.float32), sizes


def read_counts(path: str | Path, *, pert_col: str, counts_col: str = "n_cells", control: str) -> dict[str, int]:
    """Cells per perturbation from a CSV with a header; the control's row is left out.

    Raises:
        ContractError: If the file, a column or a whole number is missing.
    """
    import pandas as pd

    remedy = f"Write a CSV with the columns {pert_col} and {counts_col}."
    try:
        table = pd.read_csv(path, dtype={pert_col: str})
    except (OSError, ValueError) as error:
        raise ContractError(path, "file", "a CSV", f"none ({error})", remedy) from None
    missing = [name for name in (pert_col, counts_col) if name not in table.columns]
    if missing:
        raise ContractError(path, "header", f"{pert_col} and {counts_col}", f"no {', '.join(missing)}", remedy)
    table = table[table[pert_col] != control]
    counts = pd.to_numeric(table[counts_col], errors="coerce")
    bad = ~(counts > 0) | (counts % 1 != 0)
    if bad.any() or table[pert_col].isna().any() or table[pert_col].duplicated().any() or not len(table):
        raise ContractError(path, counts_col, "one whole number above 0 per perturbation", "something else", remedy)
    return dict(zip(table[pert_col], counts.astype(int).tolist(), strict=True))


def write_baseline(
    path: str | Path,
    adata: "anndata.AnnData",
    *,
    settings: Settings,
    counts: dict[str, int] | None = None,
    overwrite: bool = False,
) -> int:
    """Write the mean baseline of some cells as an .h5ad of log1p values, in row blocks; the number of cells.

    Args:
        path: The file.
        adata: Cells to average, in memory or opened by `inputs.open_cells`.
        settings: Column, control label.
        counts: Perturbation -> cells to write; None writes as many as `adata` has.
        overwrite: Replace an earlier baseline.
    """
    import anndata
    import h5py
    import pandas as pd

    path = Path(path)
    if path.suffix != ".h5ad":
        raise VcEvalError(f"baseline: expected a name that ends in .h5ad, found {str(path)!r}.")
    profile_g, own = baseline_profile(adata, settings=settings)
    counts = counts if counts is not None else own
    labels = np.repeat(sorted(counts), [counts[name] for name in sorted(counts)])
    real = read_labels(adata, settings.pert_col, settings.control, "real")
    control_rows = real == settings.control
    names = [*(f"p.{k}" for k in range(labels.size)), *adata.obs_names[control_rows].astype(str)]
    values = np.concatenate([labels, np.full(int(control_rows.sum()), settings.control)])
    obs = pd.DataFrame({settings.pert_col: pd.Categorical(values)}, index=pd.Index(names, dtype=object))
    var = pd.DataFrame(index=pd.Index(adata.var_names.to_numpy(str), dtype=object))
    with write_whole(path, kind="cells", overwrite=overwrite, make_parent=True) as temporary:
        anndata.AnnData(obs=obs, var=var, uns={OUTPUT_MARK: "vc-eval baseline"}).write_h5ad(temporary)
        with h5py.File(temporary, "a") as file:
            writer = _CsrWriter(file, adata.n_vars)
            tile = scipy.sparse.csr_array(np.repeat(profile_g[None], min(ROWS, max(labels.size, 1)), axis=0))
            for start in range(0, labels.size, ROWS):
                writer.append(cast("scipy.sparse.csr_array", tile[: min(ROWS, labels.size - start)]))
            for block in cells.log1p_blocks(adata, real, settings=settings, wanted=control_rows):
                writer.append(block.astype(np.float32))
            writer.close()
    return len(obs)


class _CsrWriter:
    """Appends CSR rows to the group `X` of an .h5ad."""

    def __init__(self, file: Any, n_columns: int) -> None:
        if "X" in file:
            del file["X"]
        self.group = file.create_group("X")
        self.n_columns = n_columns
        self.indptr = [0]
        for name, dtype in (("data", np.float32), ("indices", np.int32)):
            self.group.create_dataset(
                name,
                shape=(0,),
                maxshape=(None,),
                dtype=dtype,
                chunks=(1 << 18,),
                compression="gzip",
                compression_opts=1,
            )

    def append(self, rows: scipy.sparse.csr_array) -> None:
        start = self.indptr[-1]
        for name in ("data", "indices"):
            part = self.group[name]
            part.resize(start + rows.nnz, axis=0)
            part[start:] = getattr(rows, name)
        self.indptr.extend((start + rows.indptr[1:].astype(np.int64)).tolist())

    def close(self) -> None:
        self.group.create_dataset("indptr", data=np.array(self.indptr, np.int64))
        self.group.attrs.update({
            "encoding-type": "csr_matrix", "encoding-version": "0.1.0",
            "shape": np.array([len(self.indptr) - 1, self.n_columns], np.int64),
        })  # fmt: skip
