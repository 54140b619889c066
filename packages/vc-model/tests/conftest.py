import json
import os

# Several test runs share few cores; small decompositions are fastest on one thread.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

N_GENES = 6
# (cell line, perturbation, batch, cells); sorted as the contract asks.
LAYOUT = (
    ("A", "control", "b1", 9),
    ("A", "control", "b2", 9),
    ("A", "G0", "b1", 4),
    ("A", "G0", "b2", 2),
    ("A", "G0+G1", "b1", 3),
    ("A", "G1", "b2", 3),
    ("A", "G2", "b1", 4),
    ("B", "control", "b3", 6),
    ("B", "G0", "b3", 3),
    ("B", "G0", "b4", 2),
)
PARTS = {("A", "G0"): "train", ("A", "G0+G1"): "train", ("A", "G1"): "val", ("A", "G2"): "test", ("B", "G0"): "train"}


def make_screen(seed: int = 0) -> anndata.AnnData:
    """A tiny screen-v1: two lines, four batches (the last without controls), an unmeasured gene."""
    rng = np.random.default_rng(seed)
    rows = [(line, label, batch) for line, label, batch, n in LAYOUT for _ in range(n)]
    counts = rng.poisson(3, (len(rows), N_GENES)).astype(np.float32)
    counts[:, 5] = 0
    line, label, batch = (np.array(column) for column in zip(*rows, strict=True))
    is_control = label == "control"
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical(label),
            "target": pd.Categorical(label),
            "cell_line": pd.Categorical(line),
            "batch": pd.Categorical(batch),
            "is_control": is_control,
            "mode": np.where(is_control, 8, 0).astype(np.int8),
            "dose": np.full(len(rows), np.nan, dtype=np.float32),
            # More than the row sum: the source measured genes that are not in the table.
            "total_counts": (counts.sum(axis=1) + rng.integers(5, 30, len(rows))).astype(np.float32),
            "dataset": "tiny",
        },
        index=pd.Index([f"c{i}" for i in range(len(rows))]),
    )
    var = pd.DataFrame(
        {"gene_id": "", "symbol": [f"G{i}" for i in range(N_GENES)], "measured": [True] * 5 + [False]},
        index=pd.Index([f"G{i}" for i in range(N_GENES)]),
    )
    adata = anndata.AnnData(X=sp.csr_matrix(counts), obs=obs, var=var)
    stop = np.cumsum([n for *_, n in LAYOUT])
    groups = pd.DataFrame(list(LAYOUT), columns=["cell_line", "perturbation", "batch", "n"])
    adata.uns["alignment"] = "{}"
    adata.uns["groups"] = groups.assign(start=stop - groups["n"], stop=stop).drop(columns="n")
    adata.uns["contract"] = json.dumps({"name": "screen", "version": "1.0"})
    return adata


def make_splits(adata: anndata.AnnData) -> dict:
    """Controls of every (line, batch) dealt into thirds; see PARTS for the conditions."""
    names = adata.obs_names[adata.obs["is_control"]].tolist()
    return {
        "contract": {"name": "splits", "version": "1.0"},
        "recipe": "cell_load",
        "seed": 0,
        "conditions": [{"cell_line": c, "perturbation": p, "part": part} for (c, p), part in PARTS.items()],
        "controls": {"input": names[0::3], "reference": names[1::3], "evaluation": names[2::3]},
    }


@pytest.fixture
def tiny(tmp_path):
    """Writes a screen and a split, changed by the caller's functions; returns their paths and the AnnData."""

    def write(change_screen=None, change_splits=None, suffix=".zarr"):
        adata = make_screen()
        splits = make_splits(adata)
        if change_screen is not None:
            adata = change_screen(adata) or adata
        if change_splits is not None:
            change_splits(splits)
        screen_path, splits_path = tmp_path / f"screen{suffix}", tmp_path / "splits.json"
        adata.write_zarr(screen_path) if suffix == ".zarr" else adata.write_h5ad(screen_path)
        splits_path.write_text(json.dumps(splits))
        return screen_path, splits_path, adata

    return write
