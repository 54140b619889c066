"""Examples of latents-v1."""

import json

import anndata
import numpy as np
import pandas as pd

from corpus.base import SEED, anndata_examples, drop, header, kinds, repeat_name, set_entry, strings


def latents() -> anndata.AnnData:
    """Six rows of all four kinds, three dimensions."""
    return anndata.AnnData(
        X=np.random.default_rng(SEED).standard_normal((6, 3)).astype(np.float32),
        obs=pd.DataFrame(
            {"kind": pd.Categorical(["gene", "gene", "gene", "cell", "condition", "action"])},
            index=strings(["G1", "G2", "AAK1", "cell0", "K562|G1", "G1+G2"]),
        ),
        var=pd.DataFrame(index=strings(["z0", "z1", "z2"])),
        uns={"contract": json.dumps(header("latents")), "site": "residual/hidden", "model": "corpus"},
    )


LATENTS_VALID = {"one_kind.zarr": kinds(*["cell"] * 6)}
LATENTS_BROKEN = {
    "nan_activation": (set_entry(0, 0, np.nan), ("X", "finite")),
    "infinite_activation": (set_entry(5, 2, np.inf), ("X", "finite")),
    "duplicate_rows": (repeat_name("obs"), ("obs", "row")),
    "duplicate_dimensions": (repeat_name("var"), ("var", "dimension")),
    "missing_obs_kind": (drop("obs", "kind"), ("kind",)),
    "unknown_kind": (kinds("gene", "planet", "gene", "cell", "cell", "cell"), ("kind",)),
    "no_site": (lambda a: a.uns.pop("site"), ("site",)),
    "no_model": (lambda a: a.uns.pop("model"), ("model",)),
}


EXAMPLES = anndata_examples("latents", latents, LATENTS_VALID, LATENTS_BROKEN)
