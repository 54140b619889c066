"""CellFlow (Klein et al. 2025), cellflow-tools 0.0.9: flow matching on 50 principal components, vectors of gene sets as conditions.

Its tutorials' settings but for the widths (2048 and 4096 there, 512 here) and the updates (200,000 there, 2,000 here), so that it
trains on two cores in minutes. Predicted components of the control cells of the line are turned back into genes and averaged.
"""

import json
import sys
from pathlib import Path

import anndata
import cellflow
import numpy as np
import optax
import pandas as pd

at, out, steps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) or 2000
cells = anndata.read_h5ad(at / "cells.h5ad")
asked = json.loads((at / "asked.json").read_text())["test"]
bank = np.load(at / "vectors.npz")
vectors = {str(name): vector.astype(np.float32) for name, vector in zip(bank["names"], bank["vectors"], strict=True)}
width = len(next(iter(vectors.values())))
vectors["control"] = np.zeros(width, np.float32)
x = np.asarray(cells.X.todense())
mean = x.mean(axis=0)
_, _, axes = np.linalg.svd((x - mean)[:: max(1, len(x) // 4000)], full_matrices=False)
axes = axes[:50]
cells.obsm["pca"] = ((x - mean) @ axes.T).astype(np.float32)
cells.obs["control"] = (cells.obs["perturbation"].astype(str) == "control").to_numpy()
most = max(
    len(label.split("+")) for label in [*cells.obs["perturbation"].astype(str).unique(), *(one[1] for one in asked)]
)
columns = [f"gene_{k}" for k in range(most)]


def split(labels) -> pd.DataFrame:
    """Targets of every label, one column each, filled up with control."""
    parts = [(label.split("+") + ["control"] * most)[:most] for label in labels]
    return pd.DataFrame(parts, columns=columns)


for name, values in split(cells.obs["perturbation"].astype(str)).items():
    cells.obs[name] = pd.Categorical(values.to_numpy())
lines = sorted(cells.obs["cell_line"].astype(str).unique())
cells.uns["vectors"] = vectors
cells.uns["lines"] = {line: np.eye(len(lines), dtype=np.float32)[k] for k, line in enumerate(lines)}
cells.obs["cell_line"] = pd.Categorical(cells.obs["cell_line"].astype(str))
model = cellflow.model.CellFlow(cells, solver="otfm")
model.prepare_data(
    sample_rep="pca",
    control_key="control",
    perturbation_covariates={"genes": tuple(columns)},
    perturbation_covariate_reps={"genes": "vectors"},
    sample_covariates=["cell_line"],
    sample_covariate_reps={"cell_line": "lines"},
    split_covariates=["cell_line"],
    null_value=0.0,
)
model.prepare_model(
    condition_embedding_dim=128,
    time_encoder_dims=(512, 512),
    hidden_dims=(512, 512),
    decoder_dims=(512, 512),
    cond_output_dropout=0.5,
    optimizer=optax.adam(2e-4),
    seed=0,
)
model.train(num_iterations=steps, batch_size=256, valid_freq=steps + 1)
control = cells[cells.obs["control"].to_numpy()].copy()
question = split([label for _, label in asked]).astype("category")
question["cell_line"] = pd.Categorical([line for line, _ in asked], categories=lines)
question["control"] = False
question["key"] = [f"{line}|{label}" for line, label in asked]
keys, profiles = [], []
for line in lines:
    part = question[question["cell_line"] == line]
    if len(part):
        some = control[(control.obs["cell_line"] == line).to_numpy()]
        some = some[:: max(1, some.n_obs // 300)].copy()
        for key, z in model.predict(adata=some, sample_rep="pca", condition_id_key="key", covariate_data=part).items():
            keys.append(key)
            # The change of the same cells, so that what the components leave out cancels.
            change = (np.asarray(z).mean(axis=0) - some.obsm["pca"].mean(axis=0)) @ axes
            profiles.append(
                x[(cells.obs["control"] & (cells.obs["cell_line"] == line)).to_numpy()].mean(axis=0) + change
            )
np.savez(out, genes=np.array(cells.var_names), conditions=np.array(keys), profiles=np.array(profiles))
