"""Predictions as the cells that the Virtual Cell Challenge's own tools accept."""

from pathlib import Path

from vc_apps.outputs import check_space

CONTROL_LABEL = "non-targeting"
CELLS_PER_CONDITION = 100


def write_challenge_file(
    screen_fpath: Path, splits_fpath: Path, prediction_fpath: Path, out_fpath: Path, *, seed: int
) -> None:
    """Write predicted profiles as cells, in the form that `cell-eval prep` reads.

    The challenge wants X float32 CSR in log1p space, obs `target_gene` with `non-targeting` for controls, and genes by
    name. The cell line goes to obs `celltype` (`cell-eval prep -c celltype`). Cells are drawn by the same rule that the
    scorer uses: input controls, scaled gene by gene to the predicted mean; the controls are those input controls.

    Args:
        screen_fpath: screen-v1, the source of the input controls.
        splits_fpath: splits-v1, which names them.
        prediction_fpath: predictions-v1, profiles in log1p_cp10k.
        out_fpath: The .h5ad to write.
        seed: Root seed of the draws.

    References:
        Virtual Cell Challenge 2025 submission rules, as `cell-eval prep` checks them.
    """
    import anndata as ad
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp
    from vc_eval import emission
    from vc_eval.contracts import read_predictions, read_screen, read_splits
    from vc_eval.truth import log1p_cp10k

    screen = read_screen(screen_fpath)
    splits = read_splits(splits_fpath, screen)
    predicted = read_predictions(prediction_fpath)
    genes = predicted.var_names
    cells = screen[np.sort(screen.obs_names.get_indexer(splits.controls["input"])), genes]
    control_ng = log1p_cp10k(cells.X, cells.obs["total_counts"].to_numpy())
    control_line = cells.obs["cell_line"].astype(str).to_numpy()
    blocks, labels, lines = [], [], []
    for line in sorted(set(predicted.obs["cell_line"].astype(str))):
        own_ng = control_ng[control_line == line]
        blocks.append(own_ng)
        labels += [CONTROL_LABEL] * own_ng.shape[0]
        lines += [line] * own_ng.shape[0]
        for row in np.flatnonzero((predicted.obs["cell_line"].astype(str) == line) & ~predicted.obs["is_control"]):
            name = str(predicted.obs["perturbation"].iloc[row])
            drawn = emission.draw_cells(own_ng.shape[0], CELLS_PER_CONDITION, seed=seed, condition=f"{line}|{name}")
            blocks.append(emission.emit_cells(own_ng, drawn, np.asarray(predicted.X[row]).ravel()))
            labels += [name] * CELLS_PER_CONDITION
            lines += [line] * CELLS_PER_CONDITION
    x_ng = sp.csr_matrix(sp.vstack(blocks), dtype=np.float32)
    obs = pd.DataFrame(
        {"target_gene": pd.Categorical(labels), "celltype": pd.Categorical(lines)},
        index=pd.Index([str(row) for row in range(x_ng.shape[0])]),
    )
    check_space(out_fpath.parent, x_ng.data.nbytes + x_ng.indices.nbytes)
    ad.AnnData(x_ng, obs=obs, var=pd.DataFrame(index=genes)).write_h5ad(out_fpath, compression="gzip")
