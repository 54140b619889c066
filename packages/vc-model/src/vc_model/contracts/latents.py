"""latents-v1 as a description of cell lines: vectors from an encoder of unperturbed cells, made outside this package."""

from pathlib import Path

import numpy as np

from vc_model.contracts.features import read_anndata
from vc_model.contracts.header import refusal

KINDS = ("cell", "condition", "gene", "action")


def read_context_vectors(path: Path | str) -> dict[str, np.ndarray]:
    """Cell line -> vector, for `contexts=` of `fit` and `predict`.

    Rows of kind `cell` are averaged within `obs["cell_line"]`. Rows of kind `condition` are lines themselves: their
    names are cell lines.

    Args:
        path: A latents-v1 file.

    Returns:
        Cell line -> [v] float32.

    Raises:
        ContractError: For every refusal of docs/contracts/latents-v1.md, and for rows that describe no cell line.
    """
    path = Path(path)
    adata = read_anndata(path, "latents")
    if hasattr(adata.X, "toarray"):
        raise refusal(path, "X", "dense float32", "a sparse matrix")
    x_nv = np.asarray(adata.X, dtype=np.float32)
    if not np.isfinite(x_nv).all():
        raise refusal(path, "X", "finite activations", "NaN or infinity")
    for axis, names in (("obs", adata.obs_names), ("var", adata.var_names)):
        if not names.is_unique:
            raise refusal(path, f"{axis} index", "unique names", "repeated names")
    if "kind" not in adata.obs:
        raise refusal(path, 'obs["kind"]', "a column", "nothing")
    for key in ("site", "model"):
        if not isinstance(adata.uns.get(key), str):
            raise refusal(path, f'uns["{key}"]', "a string", repr(adata.uns.get(key)))
    kinds = sorted(set(adata.obs["kind"].astype(str)))
    if not set(kinds) <= set(KINDS):
        raise refusal(path, 'obs["kind"]', f"one of {KINDS}", repr(kinds))
    if kinds == ["cell"] and "cell_line" in adata.obs:
        line_n = adata.obs["cell_line"].astype(str).to_numpy()
    elif kinds == ["condition"]:
        line_n = adata.obs_names.to_numpy(dtype=str)
    else:
        found = repr(kinds) + ("" if "cell_line" in adata.obs else ' without obs["cell_line"]')
        expected = '"cell" rows with obs["cell_line"], or "condition" rows named as cell lines'
        raise refusal(path, 'obs["kind"]', expected, found)
    return {str(line): x_nv[line_n == line].mean(axis=0) for line in np.unique(line_n)}
