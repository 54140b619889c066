"""Tiny sets of cells with a known answer, for tests and examples."""

from pathlib import Path
from typing import Any

import numpy as np

from vc_model.st.actions import ActionTable
from vc_model.st.config import StConfig
from vc_model.st.sets import NOTHING, CellSets, SetBatches
from vc_model.st.training import StTraining, train_mapper
from vc_model.table.effects import Action


def make_sets(
    *, n_genes: int = 24, n_perturbations: int = 6, n_cells: int = 48, effect: float = 0.8, seed: int = 0
) -> CellSets:
    """One line of noisy cells; perturbation p raises genes 2p + 2 and 2p + 3 by `effect`."""
    rng = np.random.default_rng(seed)
    base_g = np.random.default_rng(0).gamma(3, 0.4, n_genes)
    blocks, code = [], []
    for at in range(n_perturbations + 1):
        x_ng = base_g + 0.2 * rng.standard_normal((n_cells, n_genes))
        if at:
            x_ng[:, [(2 * at) % n_genes, (2 * at + 1) % n_genes]] += effect
        blocks.append(np.maximum(x_ng, 0).astype(np.float32))
        code.append(np.full(n_cells, at))
    actions = (NOTHING, *(Action((f"P{at}",), 0) for at in range(n_perturbations)))
    return CellSets(np.concatenate(blocks), np.concatenate(code), ("A",) * (n_perturbations + 1), actions)


def make_table(n_perturbations: int = 6, width: int = 0) -> ActionTable:
    """Ids of these perturbations, and where a width is given a direction of its own as the vector of each."""
    names = tuple(f"P{at}" for at in range(n_perturbations))
    vector_tv = np.eye(n_perturbations, width, dtype=np.float32) * np.float32(np.sqrt(max(width, 1)))
    return ActionTable(names, names if width else (), vector_tv if width else np.zeros((0, 0), np.float32))


def tiny_config(**changes: Any) -> StConfig:
    """The smallest mapper that learns anything."""
    sizes: dict[str, Any] = {
        "n_genes": 24,
        "n_perturbations": 6,
        "set_size": 8,
        "width": 16,
        "n_layers": 1,
        "n_heads": 2,
        "hidden": 16,
    }
    return StConfig(**(sizes | {"mlp_layers": 1} | changes))


def fit_tiny(
    sets: CellSets, table: ActionTable, config: StConfig, folder: Path, *, steps: int = 150, map_controls: bool = True
) -> dict[str, Any]:
    """Parameters after a few steps."""
    batches = SetBatches(sets, table, config, n_sets=4, seed=0, map_controls=map_controls)
    return train_mapper(config, batches, StTraining(steps=steps, peak_rate=1e-2), folder)
