"""STATE (Adduri et al. 2025), arc-state 0.11.1: `state tx train` and `state tx infer` on the genes, vectors of gene sets as features.

The architecture of its `state_sm`, with a width of 128 instead of 672 and sets of 32 cells instead of 128, 1,000 updates instead of
400,000, so that it trains on two cores in minutes. Without features it would give an unseen perturbation the control cells.
"""

import json
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import torch

anndata.settings.allow_write_nullable_strings = False  # its reader knows the older way of writing text only
at, out, steps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) or 1000
work = at / "state"
(work / "data").mkdir(parents=True, exist_ok=True)
cells = anndata.read_h5ad(at / "cells.h5ad")
asked = json.loads((at / "asked.json").read_text())
bank = np.load(at / "vectors.npz")
vector = {
    str(name): torch.tensor(v, dtype=torch.float32) for name, v in zip(bank["names"], bank["vectors"], strict=True)
}
labels = sorted({*cells.obs["perturbation"].astype(str), *(label for _, label in asked["test"])} - {"control"})
features = {label: sum(vector[target] for target in label.split("+")) for label in labels}
features["control"] = torch.zeros_like(next(iter(vector.values())))
torch.save(features, work / "features.pt")
cells.obs["batch"] = cells.obs["batch"].astype(str).to_numpy()
cells.obsm["X_hvg"] = np.asarray(cells.X.todense(), dtype=np.float32)
for name in ("perturbation", "cell_line", "batch"):
    cells.obs[name] = pd.Categorical(cells.obs[name].astype(str))
cells.write_h5ad(work / "data" / "screen.h5ad")
lines = list(cells.obs["cell_line"].cat.categories)
val = sorted({label for _, label in asked["val"]})
text = f'[datasets]\nscreen = "{work / "data"}"\n[training]\nscreen = "train"\n[zeroshot]\n[fewshot]\n'
text += "".join(f'[fewshot."screen.{line}"]\nval = {json.dumps(val)}\ntest = []\n' for line in lines if val)
(work / "data.toml").write_text(text)
tool = [sys.executable, "-m", "state"]
subprocess.run([
    *tool, "tx", "train", f"data.kwargs.toml_config_path={work / 'data.toml'}", "data.kwargs.embed_key=X_hvg",
    "data.kwargs.output_space=gene", "data.kwargs.num_workers=0", "data.kwargs.batch_col=batch", "data.kwargs.pert_col=perturbation",
    "data.kwargs.cell_type_key=cell_line", "data.kwargs.control_pert=control",
    f"data.kwargs.perturbation_features_file={work / 'features.pt'}", f"training.max_steps={steps}", f"training.val_freq={steps}",
    f"training.ckpt_every_n_steps={steps}", "training.batch_size=4", "model=state_sm", "model.device=cpu",
    "model.kwargs.cell_set_len=32", "model.kwargs.hidden_dim=128", "model.kwargs.transformer_backbone_kwargs.intermediate_size=512",
    "model.kwargs.transformer_backbone_kwargs.head_dim=16", "use_wandb=false", f"output_dir={work}", "name=run", "overwrite=true",
    "training.devices=1",
], check=True)  # fmt: skip
parts = []
for line, label in asked["test"]:
    control = cells[((cells.obs["cell_line"] == line) & (cells.obs["perturbation"] == "control")).to_numpy()]
    some = control[:: max(1, control.n_obs // 128)][:128].copy()
    some.obs["perturbation"] = label
    some.obs["key"] = f"{line}|{label}"
    parts.append(some)
    parts.append(control[:64].copy())
question = anndata.concat(parts, index_unique="-")
question.obsm["X_hvg"] = np.asarray(question.X.todense(), dtype=np.float32)
question.obs["key"] = question.obs["key"].astype(str) if "key" in question.obs else ""
question.write_h5ad(work / "question.h5ad")
subprocess.run([
    *tool, "tx", "infer", "--adata", str(work / "question.h5ad"), "--model-dir", str(work / "run"), "--pert-col", "perturbation",
    "--embed-key", "X_hvg", "--celltype-col", "cell_line", "--batch-col", "batch", "--control-pert", "control", "--output", str(work / "answer.h5ad"),
    "--checkpoint", str(next((work / "run" / "checkpoints").glob("final*.ckpt"))),
], check=True)  # fmt: skip
answer = anndata.read_h5ad(work / "answer.h5ad")
x = np.asarray(answer.obsm["X_hvg"])
keys, profiles = [], []
key_n = np.array(
    [f"{line}|{label}" for line, label in zip(answer.obs["cell_line"], answer.obs["perturbation"], strict=True)]
)
for line, label in asked["test"]:
    keys.append(f"{line}|{label}")
    profiles.append(x[key_n == keys[-1]].mean(axis=0))
np.savez(out, genes=np.array(cells.var_names), conditions=np.array(keys), profiles=np.array(profiles))
