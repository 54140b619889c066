"""Examples of effects-v1."""

import json

import anndata
import numpy as np
import pandas as pd

from corpus.base import SEED, anndata_examples, header, set_value, strings
from corpus.screen import SCREEN_GENES


def effects() -> anndata.AnnData:
    """Four conditions of two cell lines, four genes, standard errors."""
    rng = np.random.default_rng(SEED)
    rows = [(line, label) for line in ("A549", "K562") for label in ("G1", "G2")]
    line, label = (strings(column) for column in zip(*rows, strict=True))
    adata = anndata.AnnData(
        X=rng.standard_normal((4, 4)).astype(np.float32),
        obs=pd.DataFrame(
            {
                "perturbation": pd.Categorical(label),
                "target": pd.Categorical(label),
                "cell_line": pd.Categorical(line),
                "mode": np.zeros(4, np.int8),
                "dose": np.full(4, np.nan, np.float32),
                "n_cells": np.array([10, 20, np.nan, 5], np.float32),
            },
            index=strings("|".join(row) for row in rows),
        ),
        var=pd.DataFrame(index=strings(SCREEN_GENES[:4])),
        uns={"contract": json.dumps(header("effects")), "space": "log1p_delta"},
    )
    adata.layers["se"] = rng.gamma(2.0, 0.1, (4, 4)).astype(np.float32)
    return adata


def _masked(adata: anndata.AnnData) -> None:
    adata.layers["measured"] = np.array([[True, True, True, False]] * 4)
    adata.X[:, 3] = 0


def _masked_column(adata: anndata.AnnData) -> None:
    adata.var["measured"] = [True, True, True, False]
    adata.X[:, 3] = 0


def _both(adata: anndata.AnnData) -> None:
    _masked(adata)
    _masked_column(adata)


def _not_zero(adata: anndata.AnnData) -> None:
    _masked(adata)
    adata.X[0, 3] = 1


def _replicates(adata: anndata.AnnData) -> None:
    adata.obs["batch"] = strings(["r1", "r2"] * 2)
    adata.obs["perturbation"] = strings(["G1"] * 4)


def _unflagged(adata: anndata.AnnData) -> None:
    set_value("obs", "perturbation", 0, "control")(adata)
    adata.obs["is_control"] = False


def _predicted(adata: anndata.AnnData) -> None:
    adata.uns |= {"model": "anchored", "role": "model"}
    adata.obs["supported"] = [True, True, True, False]
    adata.obs["n_cells"] = np.full(4, np.nan, np.float32)


EXAMPLES = anndata_examples(
    "effects",
    effects,
    {
        "masked.zarr": _masked,
        "masked_column.zarr": _masked_column,
        "replicates.zarr": _replicates,
        "predicted.zarr": _predicted,
        "ranks.h5ad": lambda a: a.uns.update(space="rank"),
        "without_se.h5ad": lambda a: a.layers.pop("se") is None,
    },
    {
        "two_masks": (_both, ("measured",)),
        "values_where_not_measured": (_not_zero, ("measured", "X")),
        "condition_twice": (lambda a: a.obs.__setitem__("perturbation", strings(["G1"] * 4)), ("obs", "row")),
        "unknown_role": (lambda a: a.uns.update(model="m", role="judge"), ("role",)),
        "unflagged_control": (_unflagged, ("is_control",)),
    },
)
