"""Unperturbed cells of a user's own .h5ad as contexts of a model."""

from pathlib import Path
from typing import TYPE_CHECKING

from vc_apps.outputs import AppError

if TYPE_CHECKING:
    from vc_model.table.effects import Contexts


def read_h5ad(
    path: Path, like: "Contexts", *, cell_line: str | None = None, symbol: str | None = None
) -> "tuple[Contexts, list[str]]":
    """Read raw counts of unperturbed cells: those that a column or their label says are, or all where nothing tells.

    Args:
        path: The .h5ad; `layers["counts"]`, or X where there is no such layer, holds raw counts.
        like: The model's contexts.
        cell_line: obs column with the cell line; by default the file is one context, by its name.
        symbol: var column that names genes as the model does; by default the index.

    Returns:
        The contexts, and notes for the user.

    Raises:
        AppError: If the file or a column cannot be read, or labels tell cells apart and none is a control's.
        QuestionError: If its content cannot be used.
    """
    import numpy as np
    import scipy.sparse as sp
    from vc_contracts import ContractError
    from vc_contracts.store import read_anndata
    from vc_data.convert.columns import unperturbed_cells
    from vc_data.errors import VcDataError
    from vc_model.ask.controls import make_contexts

    try:
        adata = read_anndata(path)
    except ContractError as error:
        raise AppError(str(error)) from error
    for flag, name, frame in (("--cells-line", cell_line, adata.obs), ("--cells-symbol", symbol, adata.var)):
        if name is not None and name not in frame:
            raise AppError(f"{path}: {flag} {name}: expected a column, found {list(map(str, frame.columns))[:8]}.")
    try:
        kept_n, how = unperturbed_cells(adata.obs, path)
    except VcDataError as error:
        do = f"If nothing was done to any of them: vc-data convert {path} context.zarr --control-only, and give that to --cells."
        raise AppError(f"{error} {do}") from error
    left = int((~kept_n).sum())
    notes = [f"{int(kept_n.sum())} unperturbed cells by {how}; {left} others are left out"] if left else []
    adata = adata[kept_n.to_numpy()]
    genes = adata.var_names if symbol is None else adata.var[symbol]
    line_n = np.full(adata.n_obs, path.stem) if cell_line is None else adata.obs[cell_line].astype(str).to_numpy()
    x_ng = sp.csr_matrix(adata.layers.get("counts", adata.X), dtype=np.float32)
    # Made anew, because files may hold row bounds and positions of two kinds, which scipy does not compute with.
    x_ng = sp.csr_matrix((x_ng.data, x_ng.indices, x_ng.indptr), shape=x_ng.shape)
    x_ng.sum_duplicates()
    x_ng.eliminate_zeros()
    contexts, more = make_contexts(str(path), x_ng, genes.astype(str).to_numpy(), line_n, like)
    return contexts, notes + more
