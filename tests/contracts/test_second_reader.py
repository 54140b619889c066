"""Two readers that share no code agree: on the corpus, and on files that were changed at random."""

import os
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import vc_contracts
from corpus.base import strings
from corpus.predictions import with_intervals
from make_corpus import ANNDATA_BASES, EXAMPLES
from plain_reader import keeps

N_MUTATIONS = int(os.environ.get("VC_MUTATIONS", "120"))
"""Per contract; five contracts."""
VALUES = (None, "", "control", "G1", "x", 0, -1, 3, 9, 0.5, -0.5, np.nan, np.inf, 1e9, True, "1")


def column_of(value: object, n: int, rng: np.random.Generator, old: object) -> object:
    """A whole column of a value, or the old one with the value in one row."""
    if rng.random() < 0.5 or old is None:
        return strings([value] * n) if (value is None or isinstance(value, str)) else np.array([value] * n)
    values = old.astype(object).to_numpy().copy()
    values[rng.integers(n)] = value
    series = pd.Series(values, index=old.index)
    return series.infer_objects() if rng.random() < 0.5 else series


def mutate(adata: anndata.AnnData, rng: np.random.Generator) -> str:
    """Change one thing; what."""
    value = VALUES[rng.integers(len(VALUES))]
    what = rng.choice(["column", "column", "column", "drop", "uns", "x", "layer", "names", "order"])
    table = adata.obs if rng.random() < 0.7 or not len(adata.var.columns) else adata.var
    if what in ("column", "drop"):
        column = str(rng.choice(list(table.columns)))
        if what == "drop":
            table.drop(columns=column, inplace=True)
        else:
            table[column] = column_of(value, len(table), rng, table[column])
        return f"{what} {column} {value!r}"
    if what == "uns":
        key = str(rng.choice([key for key in adata.uns if key != "groups"]))
        if rng.random() < 0.3:
            del adata.uns[key]
        else:
            adata.uns[key] = value if value is not None else [1]
        return f"uns {key} {value!r}"
    if what in ("x", "layer") and isinstance(value, int | float):
        layers = [name for name in adata.layers if name is not None]
        matrix = adata.X if what == "x" or not layers else adata.layers[str(rng.choice(layers))]
        values = matrix.data if hasattr(matrix, "indptr") else matrix.reshape(-1)
        with np.errstate(all="ignore"):
            values[rng.integers(len(values))] = value
        return f"{what} {value!r}"
    if what == "names":
        axis = str(rng.choice(["obs_names", "var_names"]))
        names = list(getattr(adata, axis))
        setattr(adata, axis, strings([names[0], names[0], *names[2:]]))
        return axis
    if what == "order" and "groups" in adata.uns:
        groups = adata.uns["groups"]
        row, column = int(rng.integers(len(groups))), str(rng.choice(["start", "stop", "batch", "perturbation"]))
        groups[column] = groups[column].astype(object)
        groups.iloc[row, groups.columns.get_loc(column)] = value
        adata.uns["groups"] = groups.infer_objects()
        return f"groups {column} {value!r}"
    return "nothing"


def accepts(adata: anndata.AnnData, contract: str) -> bool:
    try:
        vc_contracts.check(adata, contract)
    except vc_contracts.ContractError:
        return False
    return True


@pytest.mark.parametrize("contract", sorted(ANNDATA_BASES))
def test_they_agree_on_files_changed_at_random(contract):
    rng, disagree, accepted = np.random.default_rng(0), [], 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(N_MUTATIONS):
            adata = ANNDATA_BASES[contract]()
            if contract == "predictions" and number % 2:
                with_intervals(adata)
            what = mutate(adata, rng)
            one, other = accepts(adata, contract), keeps(adata, contract)
            accepted += one
            if one != other:
                disagree.append(f"{number}: {what}: vc_contracts says {one}, the pages say {other}")
    assert not disagree, "\n".join(disagree[:20])
    assert 0 < accepted < N_MUTATIONS


@pytest.mark.parametrize("contract", sorted(ANNDATA_BASES))
def test_they_agree_on_the_corpus(contract, corpus):
    disagree = []
    for example in EXAMPLES:
        path = corpus / example.path
        if example.contract != contract or path.suffix != ".h5ad":
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if keeps(anndata.read_h5ad(path), contract) != (not example.words):
                disagree.append(example.path)
    assert not disagree
