"""Small screens that each break one rule, and the real ones where they are at hand."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = ROOT.parent / "shared" / "data" / "single_cell"
    if not folder.is_dir():
        pytest.skip("the real screens (shared/data beside the workspace) are not here")
    return folder


@pytest.fixture
def screen() -> ad.AnnData:
    """A healthy little screen: 4 perturbations of 30 cells and 60 controls over 40 genes."""
    rng = np.random.default_rng(0)
    labels = np.repeat(["NT", "G1", "G2", "G3", "G4"], [60, 30, 30, 30, 30])
    counts_ng = rng.poisson(2.0, (labels.size, 40)).astype(np.float32)
    obs = pd.DataFrame({"target_gene": labels, "cell_line": "K562"}, index=[f"cell{i}" for i in range(labels.size)])
    return ad.AnnData(sp.csr_matrix(counts_ng), obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(40)]))
