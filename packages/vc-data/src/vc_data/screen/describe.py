"""A screen in numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from vc_contracts import sha256_tree


def describe_screen(adata, path: str | Path | None = None) -> dict:
    """Describe a screen in numbers.

    Args:
        adata: A checked screen.
        path: Where it lies; adds its hash.

    Returns:
        A JSON object: shape, cell lines with their controls and conditions, quantiles of cells per condition and of
        counts per cell, share of zeros, batches without controls, modes, and the alignment in numbers.
    """
    obs = adata.obs
    lines = {}
    perturbed = obs[~obs["is_control"]]
    for line, cells in obs.groupby("cell_line", observed=True):
        controls = cells[cells["is_control"]]
        per_batch = controls["batch"].astype(str).value_counts()
        batches = sorted(cells["batch"].astype(str).unique())
        lines[str(line)] = {
            "cells": len(cells),
            "controls": len(controls),
            "perturbations": int(cells.loc[~cells["is_control"], "perturbation"].nunique()),
            "batches": len(batches),
            "controls_per_batch": {b: int(per_batch.get(b, 0)) for b in batches},
            "batches_without_controls": [batch for batch in batches if batch not in per_batch.index],
        }
    sizes = perturbed.groupby(["cell_line", "perturbation"], observed=True).size().to_numpy()
    measured = adata.var["measured"].to_numpy()
    combos = perturbed.loc[perturbed["target"].astype(str).str.contains("+", regex=False), "perturbation"]
    return {
        "cells": adata.n_obs,
        "genes": adata.n_vars,
        "genes_measured": int(measured.sum()),
        "perturbations": int(perturbed["perturbation"].nunique()),
        "combinations": int(combos.nunique()),
        "conditions": len(sizes),
        "cell_lines": lines,
        "modes": {str(mode): int(n) for mode, n in obs["mode"].value_counts().sort_index().items()},
        "cells_per_condition": _quantiles(sizes),
        "counts_per_cell": _quantiles(obs["total_counts"].to_numpy()),
        "share_of_zeros": round(1 - adata.X.nnz / max(adata.n_obs * int(measured.sum()), 1), 4),
        "alignment": _numbers(json.loads(adata.uns["alignment"])),
        "header": json.loads(adata.uns["contract"]),
        "sha256": sha256_tree(path) if path else None,
    }


def _numbers(value: Any) -> object:
    """The alignment without its lists of genes and its rules: each list as its length."""
    if not isinstance(value, dict):
        return value
    return value["n"] if "n" in value else {key: _numbers(item) for key, item in value.items() if key != "rules"}


def _quantiles(values: np.ndarray) -> dict[str, float]:
    names = {"min": 0, "q25": 0.25, "median": 0.5, "q75": 0.75, "max": 1}
    return {name: round(float(np.quantile(values, q)), 1) for name, q in names.items()}
