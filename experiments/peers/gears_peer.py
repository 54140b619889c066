"""GEARS (Roohani et al. 2023), cell-gears 0.1.2: documented settings (hidden 64, 20 epochs, batch 32, learning rate 1e-3).

Its gene ontology is downloaded by default; here the graph comes from the gene sets that all models get: two genes are as
similar as their vectors. A gene without a vector cannot be predicted by GEARS and stays out of what it answers. One cell line.
"""

import json
import pickle
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scanpy as sc
import torch

anndata.settings.allow_write_nullable_strings = False  # its reader knows the older way of writing text only

at, out, epochs = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) or 20
cells = anndata.read_h5ad(at / "cells.h5ad")
asked = json.loads((at / "asked.json").read_text())
lines = cells.obs["cell_line"].astype(str).unique()
if len(lines) > 1:
    raise SystemExit(f"GEARS has one control state, found {len(lines)} cell lines")
bank = np.load(at / "vectors.npz")
known = [str(name) for name, vector in zip(bank["names"], bank["vectors"], strict=True) if np.any(vector)]
unit = {str(n): v / np.linalg.norm(v) for n, v in zip(bank["names"], bank["vectors"], strict=True) if np.any(v)}

# Its own preparation: conditions as A+ctrl, the same gene ontology dictionary, pickled where it looks for it.
data = at / "gears"
data.mkdir(exist_ok=True)
(data / "data").mkdir(exist_ok=True)
with (data / "gene2go_all.pkl").open("wb") as stream:
    pickle.dump({name: {name} for name in known}, stream)


def condition(label: str) -> str:
    """A label as GEARS writes it: A+ctrl, A+B, ctrl."""
    return "ctrl" if label == "control" else label if "+" in label else f"{label}+ctrl"


from gears import GEARS, PertData  # noqa: E402
from gears.utils import GeneSimNetwork  # noqa: E402

cells.obs["condition"] = [condition(label) for label in cells.obs["perturbation"].astype(str)]
usable = {name for name in cells.obs["condition"].unique() if all(g in unit for g in name.split("+") if g != "ctrl")}
cells = cells[cells.obs["condition"].isin(usable)].copy()
cells.obs["cell_type"], cells.var["gene_name"] = lines[0], cells.var_names
sc.settings.verbosity = 0
pert = PertData(str(data), default_pert_graph=False)
pert.new_data_process("screen", adata=cells)
pert.load(data_path=str(data / "screen"))
val = sorted({condition(label) for _, label in asked["val"]} & usable)
train = sorted(usable - set(val) - {"ctrl"})
if not val:
    val = train[:1]
with (data / "split.pkl").open("wb") as stream:
    pickle.dump({"train": ["ctrl", *train], "val": val, "test": val}, stream)
pert.prepare_split(split="custom", split_dict_path=str(data / "split.pkl"))
pert.train_gene_set_size = 0.75
pert.get_dataloader(batch_size=32, test_batch_size=128)
# Genes that are asked about have to be nodes: those with a vector all are.
pert.pert_names = np.unique(known)
pert.node_map_pert = {name: at for at, name in enumerate(pert.pert_names)}
near = []
matrix = np.array([unit[name] for name in pert.pert_names])
for target, row in zip(pert.pert_names, matrix @ matrix.T, strict=True):
    near += [(pert.pert_names[source], target, row[source]) for source in np.argsort(-row)[:21] if row[source] > 0]
edges = pd.DataFrame(near, columns=["source", "target", "importance"])
graph = GeneSimNetwork(edges, list(pert.pert_names), node_map=pert.node_map_pert)
torch.manual_seed(0)
model = GEARS(pert, device="cpu")
model.model_initialize(hidden_size=64, G_go=graph.edge_index, G_go_weight=graph.edge_weight)
model.train(epochs=epochs, lr=1e-3)
keys, profiles = [], []
for line, label in asked["test"]:
    targets = label.split("+")
    if all(target in pert.node_map_pert for target in targets):
        keys.append(f"{line}|{label}")
        profiles.append(next(iter(model.predict([targets]).values())))
np.savez(out, genes=np.array(cells.var_names), conditions=np.array(keys), profiles=np.array(profiles))
