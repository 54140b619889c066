"""latents-v1 as a description of cell lines: vectors from an encoder of unperturbed cells, this package's or any other."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from vc_contracts.errors import raised_as

from vc_model.contracts.header import Config, Parents, make_header, refusal, write_adata
from vc_model.errors import ContractError


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
    import vc_contracts

    path = Path(path)
    with raised_as(ContractError):
        adata = vc_contracts.read(path, "latents")
    x_nv, kinds = adata.X, sorted(set(adata.obs["kind"].astype(str)))
    if kinds == ["cell"] and "cell_line" in adata.obs:
        line_n = adata.obs["cell_line"].astype(str).to_numpy()
    elif kinds == ["condition"]:
        line_n = adata.obs_names.to_numpy(dtype=str)
    else:
        found = repr(kinds) + ("" if "cell_line" in adata.obs else ' without obs["cell_line"]')
        expected = '"cell" rows with obs["cell_line"], or "condition" rows named as cell lines'
        raise refusal(path, 'obs["kind"]', expected, found)
    return {str(line): x_nv[line_n == line].mean(axis=0) for line in np.unique(line_n)}


def write_context_vectors(
    path: Path | str,
    vectors: Mapping[str, np.ndarray],
    *,
    model: str,
    site: str,
    parents: Parents = None,
    config: Config = None,
) -> None:
    """Write a latents-v1 file with a row of kind `condition` per cell line (zarr, or `.h5ad` by its suffix).

    Args:
        path: Target; an older file there is replaced.
        vectors: Cell line -> [v] vector.
        model: Name of the encoder.
        site: Where in the encoder the vectors are from.
        parents: File name -> sha256 of what the vectors were made from.
        config: How they were made.

    Raises:
        ContractError: If the vectors are not finite.
    """
    import anndata
    import pandas as pd

    path = Path(path)
    x_cv = np.stack(list(vectors.values())).astype(np.float32)
    if not np.isfinite(x_cv).all():
        raise refusal(path, "X", "finite activations", "NaN or infinity", "Train the encoder again.")
    obs = pd.DataFrame({"kind": pd.Categorical(["condition"] * len(vectors))}, index=pd.Index(list(vectors)))
    adata = anndata.AnnData(X=x_cv, obs=obs, var=pd.DataFrame(index=[f"d{at}" for at in range(x_cv.shape[1])]))
    adata.uns["contract"] = json.dumps(make_header("latents", parents=parents, config=config))
    adata.uns["site"], adata.uns["model"] = site, model
    write_adata(path, adata, kind="latents")
