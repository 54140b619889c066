"""Run the split of cell-gears itself on a made-up set of conditions and store what its seeds pick.

    uv venv env && uv pip install --python env/bin/python cell-gears==0.1.2 torch_geometric "setuptools<81"
    env/bin/python make_golden.py simulation.json

`setuptools<81` because one of its dependencies imports pkg_resources. Only names are split, so the cells hold no counts.
"""

import importlib.metadata
import itertools
import json
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from gears.data_utils import DataSplitter


def make_conditions() -> list[str]:
    """Sixty singles and seventy pairs, some pairs spelt against the alphabet, as in the published Norman file."""
    rng = np.random.default_rng(0)
    genes = [f"GENE{i:02d}" for i in range(60)]
    pairs = list(itertools.combinations(genes, 2))
    drawn = [pairs[i] for i in rng.permutation(len(pairs))[:70]]
    names = [f"{gene}+ctrl" if i % 2 else f"ctrl+{gene}" for i, gene in enumerate(genes[:50])]
    names += ["+".join(pair if i % 3 else pair[::-1]) for i, pair in enumerate(drawn)]
    return [names[i] for i in rng.permutation(len(names))]


def main(out: str) -> None:
    """Write conditions, and for each seed the part and the group of each."""
    conditions = make_conditions()
    seeds = {}
    for seed in (1, 2, 3, 4, 5):
        obs = pd.DataFrame({"condition": [*conditions, "ctrl"]}, index=[f"c{i}" for i in range(len(conditions) + 1)])
        adata = anndata.AnnData(np.zeros((len(obs), 1), np.float32), obs=obs)
        adata, groups = DataSplitter(adata, split_type="simulation").split_data(
            train_gene_set_size=0.75, combo_seen2_train_frac=0.75, seed=seed
        )
        part = dict(zip(adata.obs["condition"], adata.obs["split"], strict=True))
        seeds[seed] = {
            "train": sorted(n for n in conditions if part[n] == "train"),
            **{
                p: {g: sorted(map(str, names)) for g, names in groups[f"{p}_subgroup"].items()} for p in ("val", "test")
            },
        }
        # The parts are those of the column that models read.
        for p in ("val", "test"):
            assert {n for names in seeds[seed][p].values() for n in names} == {n for n in conditions if part[n] == p}
    made_by = {name: importlib.metadata.version(name) for name in ("cell-gears", "numpy")}
    text = json.dumps({"made_by": made_by, "conditions": conditions, "seeds": seeds}, indent=None)
    Path(out).write_text(text + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
