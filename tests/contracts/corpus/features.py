"""Examples of features-v1."""

import json
from collections.abc import Callable

import anndata
import numpy as np
import pandas as pd

from corpus.base import SEED, anndata_examples, drop, header, kinds, repeat_name, set_entry, strings


def features() -> anndata.AnnData:
    """Five entities, one of them missing, three dimensions."""
    vectors_ef = np.random.default_rng(SEED).standard_normal((5, 3)).astype(np.float32)
    vectors_ef[2] = 0
    encoder = {"id": "corpus", "revision": "1", "pooling": "none", "dtype": "float32", "dim": 3, "licence": "CC0"}
    return anndata.AnnData(
        X=vectors_ef,
        obs=pd.DataFrame(
            {
                "kind": pd.Categorical(["gene"] * 5),
                "source": strings(["P1", "P2", "", "P4", "P5"]),
                "missing": np.array([False, False, True, False, False]),
            },
            index=strings(["G1", "G2", "AAK1", "BRCA1", "CTCF"]),
        ),
        var=pd.DataFrame(index=strings(["d0", "d1", "d2"])),
        uns={"contract": json.dumps(header("features")), "encoder": json.dumps(encoder)},
    )


def _encoder(change: Callable[[dict], object]) -> Callable:
    def alter(adata: anndata.AnnData) -> None:
        encoder = json.loads(adata.uns["encoder"])
        change(encoder)
        adata.uns["encoder"] = json.dumps(encoder)

    return alter


def _all_missing(adata: anndata.AnnData) -> None:
    adata.obs["missing"] = True
    adata.X[:] = 0


FEATURES_VALID = {
    "every_kind.zarr": kinds("gene", "guide", "protein", "compound", "gene"),
    "all_missing.zarr": _all_missing,
    "encoder_with_more_keys.zarr": _encoder(lambda e: e.update(tokenizer="x", max_length=7)),
}
FEATURES_BROKEN = {
    "nan_vector": (set_entry(0, 0, np.nan), ("X", "finite")),
    "infinite_vector": (set_entry(1, 2, -np.inf), ("X", "finite")),
    "duplicate_entities": (repeat_name("obs"), ("obs", "entit")),
    "duplicate_dimensions": (repeat_name("var"), ("var", "dimension")),
    **{f"missing_obs_{c}": (drop("obs", c), (c,)) for c in ("kind", "source", "missing")},
    "unknown_kind": (kinds("gene", "planet", "gene", "gene", "gene"), ("kind",)),
    "no_encoder": (lambda a: a.uns.pop("encoder"), ("encoder",)),
    "encoder_that_is_not_json": (lambda a: a.uns.update(encoder="id=1"), ("encoder",)),
    "encoder_that_is_a_list": (lambda a: a.uns.update(encoder="[]"), ("encoder",)),
    **{
        f"encoder_without_{key}": (_encoder(lambda e, key=key: e.pop(key)), (key,))
        for key in ("id", "revision", "pooling", "dtype", "dim", "licence")
    },
    "missing_row_that_is_not_zero": (set_entry(2, 1, 0.25), ("missing",)),
    "dim_that_differs": (_encoder(lambda e: e.update(dim=4)), ("dim",)),
}


EXAMPLES = anndata_examples("features", features, FEATURES_VALID, FEATURES_BROKEN)
