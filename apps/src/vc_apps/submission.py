"""Predictions as the cells that the Virtual Cell Challenge's own tools accept."""

from pathlib import Path

import anndata as ad

CONTROL_LABEL = "non-targeting"


def write_challenge_file(cells: ad.AnnData, fpath: Path) -> None:
    """Write predicted cells in the form that `cell-eval prep` reads.

    The challenge wants: X float32 CSR, log1p; obs `target_gene` with `non-targeting` for controls; var by gene name.
    The cell line goes to obs `celltype` (`cell-eval prep -c celltype`).

    Args:
        cells: Predicted and control cells, `[n, g]` log1p_cp10k, with predictions-v1's obs columns.
        fpath: The .h5ad to write.

    References:
        Virtual Cell Challenge 2025 submission rules, as `cell-eval prep` checks them.
    """
    import numpy as np
    import pandas as pd
    from scipy import sparse

    labels = cells.obs["perturbation"].astype(str).to_numpy()
    obs = pd.DataFrame(
        {
            "target_gene": pd.Categorical(np.where(cells.obs["is_control"].to_numpy(), CONTROL_LABEL, labels)),
            "celltype": pd.Categorical(cells.obs["cell_line"].astype(str).to_numpy()),
        },
        index=pd.Index([str(row) for row in range(cells.n_obs)]),
    )
    x_ng = sparse.csr_matrix(cells.X, dtype=np.float32)
    ad.AnnData(x_ng, obs=obs, var=pd.DataFrame(index=cells.var_names.astype(str))).write_h5ad(fpath, compression="gzip")
