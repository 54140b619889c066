"""Examples of predictions-v1."""

import json

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from corpus.base import SEED, anndata_examples, drop, header, repeat_name, set_entry, set_value, strings
from corpus.screen import SCREEN_GENES


def predictions() -> anndata.AnnData:
    """Profiles of two perturbations and the control in two cell lines, log1p CP10k, with sd."""
    rng = np.random.default_rng(SEED)
    rows = [(line, label) for line in ("A549", "K562") for label in ("control", "G1", "G2")]
    line, label = (strings(column) for column in zip(*rows, strict=True))
    values_ng = rng.gamma(2.0, 1.0, (len(rows), 4)).astype(np.float32)
    adata = anndata.AnnData(
        X=values_ng,
        obs=pd.DataFrame(
            {
                "perturbation": pd.Categorical(label),
                "cell_line": pd.Categorical(line),
                "is_control": label == "control",
            },
            index=strings("|".join(row) for row in rows),
        ),
        var=pd.DataFrame(index=strings(SCREEN_GENES[:4])),
        uns={
            "contract": json.dumps(header("predictions")),
            "space": "log1p_cp10k",
            "unit": "profile",
            "model": "corpus",
        },
    )
    adata.layers["sd"] = rng.gamma(2.0, 0.1, values_ng.shape).astype(np.float32)
    return adata


def _as_cells(adata: anndata.AnnData) -> anndata.AnnData:
    """Counts of two cells per condition, CSR."""
    cells = adata[np.repeat(np.arange(adata.n_obs), 2)].copy()
    cells.obs_names = strings(f"cell{i}" for i in range(cells.n_obs))
    cells.X = sparse.csr_matrix(np.floor(cells.X))
    del cells.layers["sd"]
    cells.uns |= {"space": "counts", "unit": "cell"}
    return cells


def _negative_sd(adata: anndata.AnnData) -> None:
    adata.layers["sd"][1, 1] = -0.1


def _repeat_profile(adata: anndata.AnnData) -> anndata.AnnData:
    again = adata[[0, 1, 1, 2, 3, 4, 5]].copy()
    again.obs_names = strings(f"row{i}" for i in range(7))
    return again


def _without_sd(adata: anndata.AnnData) -> None:
    del adata.layers["sd"]


def with_intervals(adata: anndata.AnnData) -> None:
    """Everything that may be said about uncertainty; a wide interval that cannot be promised."""
    rng = np.random.default_rng(SEED)
    adata.layers["sd_epistemic"] = (0.5 * adata.layers["sd"]).astype(np.float32)
    adata.uns["interval_levels"] = np.arange(1, 10) / 10
    width_nl = np.sort(rng.gamma(2.0, 1.0, (adata.n_obs, 9)), axis=1).astype(np.float32)
    width_nl[-1, -1] = np.inf
    adata.obsm["interval_width"] = width_nl
    adata.obs["interval_basis"] = pd.Categorical(["control", "unseen", "unseen"] * 2)
    adata.obs["supported"] = [True, True, False] * 2


def _broken_intervals(change):
    """`with_intervals`, then changed."""

    def edit(adata: anndata.AnnData) -> None:
        with_intervals(adata)
        change(adata)

    return edit


def _fall(adata: anndata.AnnData) -> None:
    adata.obsm["interval_width"] = adata.obsm["interval_width"][:, ::-1].copy()


def _negative_epistemic(adata: anndata.AnnData) -> None:
    adata.layers["sd_epistemic"][1, 1] = -0.1


def _supported_as_numbers(adata: anndata.AnnData) -> None:
    adata.obs["supported"] = adata.obs["supported"].astype(np.int64)


PREDICTIONS_VALID = {
    "with_intervals.zarr": with_intervals,
    "cells_as_sparse_counts.zarr": _as_cells,
    "without_sd.zarr": _without_sd,
    "only_controls_in_one_line.zarr": lambda a: a[:4].copy(),
}
PREDICTIONS_BROKEN = {
    "nan_value": (set_entry(1, 0, np.nan), ("X", "finite")),
    "infinite_value": (set_entry(1, 0, np.inf), ("X", "finite")),
    "negative_value": (set_entry(1, 0, -0.5), ("X", "negative")),
    "unknown_space": (lambda a: a.uns.update(space="log2"), ("space",)),
    "no_space": (lambda a: a.uns.pop("space"), ("space",)),
    "unknown_unit": (lambda a: a.uns.update(unit="gene"), ("unit",)),
    "no_unit": (lambda a: a.uns.pop("unit"), ("unit",)),
    "no_model": (lambda a: a.uns.pop("model"), ("model",)),
    **{f"missing_obs_{c}": (drop("obs", c), (c,)) for c in ("perturbation", "cell_line", "is_control")},
    "control_not_flagged": (set_value("obs", "is_control", 0, False), ("is_control", "control")),
    "duplicate_genes": (repeat_name("var"), ("var", "gene")),
    "duplicate_profile": (_repeat_profile, ("profile", "obs")),
    "cell_line_without_control": (lambda a: a[[0, 1, 2, 4, 5]].copy(), ("control",)),
    "negative_sd": (_negative_sd, ("sd",)),
    "negative_epistemic_sd": (_broken_intervals(_negative_epistemic), ("sd_epistemic",)),
    "falling_widths": (_broken_intervals(_fall), ("interval_width", "rising")),
    "widths_without_levels": (_broken_intervals(lambda a: a.uns.pop("interval_levels")), ("interval_levels",)),
    "levels_out_of_range": (
        _broken_intervals(lambda a: a.uns.update(interval_levels=np.arange(2, 11) / 10)),
        ("interval_levels", "between 0 and 1"),
    ),
    "widths_without_sd": (_broken_intervals(_without_sd), ("interval_width", "sd")),
    "supported_as_numbers": (_broken_intervals(_supported_as_numbers), ("supported", "bool")),
}


EXAMPLES = anndata_examples("predictions", predictions, PREDICTIONS_VALID, PREDICTIONS_BROKEN)
