"""The mapper's residual stream as a latents-v1 file, for dictionaries of features (vc-interp)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vc_model.st.fitted import FittedSt
from vc_model.table.effects import Conditions

SITE = "backbone/state"


def write_residuals(
    path: Path | str, fitted: FittedSt, conditions: Conditions, *, parents: Mapping[str, str] | None = None
) -> int:
    """Write a row of kind `cell` for every control cell under every condition.

    Args:
        path: The latents-v1 file.
        fitted: A trained mapper.
        conditions: What is done to the cells.
        parents: File name -> sha256 of what the model was made from.

    Returns:
        Rows written.
    """
    import json

    import anndata
    import pandas as pd

    from vc_model.contracts.header import make_header, write_adata

    base_qg = None if fitted.anchor is None else fitted.anchor.predict(conditions).mean_pg
    blocks, lines, labels = [], [], []
    for row, action in enumerate(conditions.actions):
        line = str(conditions.cell_line[row])
        block_nh = fitted.residuals(line, action, None if base_qg is None else base_qg[row])
        blocks.append(block_nh)
        lines += [line] * len(block_nh)
        labels += [action.label] * len(block_nh)
    x_nh = np.concatenate(blocks)
    obs = pd.DataFrame(
        {"kind": "cell", "cell_line": lines, "perturbation": labels}, index=[f"cell{at}" for at in range(len(x_nh))]
    ).astype("category")
    adata = anndata.AnnData(X=x_nh, obs=obs, var=pd.DataFrame(index=[f"h{at}" for at in range(x_nh.shape[1])]))
    adata.uns["contract"] = json.dumps(make_header("latents", parents=parents))
    adata.uns["site"], adata.uns["model"] = SITE, fitted.name
    write_adata(Path(path), adata, kind="latents")
    return len(x_nh)
