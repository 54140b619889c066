"""Unperturbed cells of a user's own .h5ad as contexts of a model."""

from pathlib import Path
from typing import TYPE_CHECKING

from vc_contracts.text.plain import plain
from vc_data.options import Columns

from vc_apps.outputs import AppError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
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
        AppError: If the file or a column cannot be read.
        QuestionError: If its content cannot be used.
        VcDataError: If it holds perturbed cells and nothing tells them from controls.
    """
    import numpy as np
    import scipy.sparse as sp
    from vc_contracts import ContractError
    from vc_contracts.store import read_anndata
    from vc_model.ask.controls import make_contexts

    try:
        adata = read_anndata(path)
    except ContractError as error:
        raise AppError(str(error)) from error
    for flag, name, frame in (("--cells-line", cell_line, adata.obs), ("--cells-symbol", symbol, adata.var)):
        if name is not None and name not in frame:
            raise AppError(f"{path}: {flag} {name}: expected a column, found {list(map(str, frame.columns))[:8]}.")
    kept_n, notes = _unperturbed(adata.obs, path)
    adata = adata[kept_n]
    genes = adata.var_names if symbol is None else adata.var[symbol]
    line_n = np.full(adata.n_obs, path.stem) if cell_line is None else adata.obs[cell_line].astype(str).to_numpy()
    x_ng = sp.csr_matrix(adata.layers.get("counts", adata.X), dtype=np.float32)
    # Made anew, because files may hold row bounds and positions of two kinds, which scipy does not compute with.
    x_ng = sp.csr_matrix((x_ng.data, x_ng.indices, x_ng.indptr), shape=x_ng.shape)
    x_ng.sum_duplicates()
    x_ng.eliminate_zeros()
    contexts, more = make_contexts(str(path), x_ng, genes.astype(str).to_numpy(), line_n, like)
    return contexts, notes + more


def _unperturbed(obs: "pd.DataFrame", path: Path) -> "tuple[np.ndarray, list[str]]":
    """[n] bool, and a note where cells are left out."""
    import numpy as np
    from vc_data.convert.columns import guess_columns
    from vc_data.convert.controls import as_bool
    from vc_data.convert.series import labels_of
    from vc_data.errors import VcDataError

    try:
        columns, _ = guess_columns(obs, obs.iloc[:0, :0], Columns(cell_line_name="any"), path=path)
    except VcDataError:
        several = [
            str(name) for name in obs if plain(str(name)) in ("perturbation", "targetgene") and obs[name].nunique() > 1
        ]
        if several:
            raise  # labels, and none of them a control's: not all of these cells are unperturbed
        return np.ones(len(obs), dtype=bool), []
    if columns.is_control:
        kept_n = as_bool(obs[columns.is_control], path)[0]
    else:
        kept_n = labels_of(obs, columns.perturbation or "").isin(columns.control).to_numpy()
    how = f"column {columns.is_control!r}" if columns.is_control else f"label {', '.join(columns.control[:3])}"
    left = int((~kept_n).sum())
    return kept_n, [f"{int(kept_n.sum())} unperturbed cells by {how}; {left} others are left out"] if left else []
