"""Examples of screen-v1."""

import json
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from corpus.base import SEED, Example, anndata_examples, drop, header, repeat_name, set_value, strings, write

SCREEN_GENES = ("AAK1", "BRCA1", "CTCF", "G1", "G2", "UNMEASURED")
SCREEN_LABELS = ("control", "G1", "G1+G2", "G2")
CELLS_PER_GROUP = 3


def screen() -> anndata.AnnData:
    """Two cell lines x (control and three perturbations) x two batches x three cells, six genes."""
    rng = np.random.default_rng(SEED)
    groups = [(line, label, batch) for line in ("A549", "K562") for label in SCREEN_LABELS for batch in ("b1", "b2")]
    cells = [group for group in groups for _ in range(CELLS_PER_GROUP)]
    line, label, batch = (strings(column) for column in zip(*cells, strict=True))
    counts_ng = rng.poisson(2.0, (len(cells), len(SCREEN_GENES))).astype(np.float32)
    counts_ng[:, -1] = 0
    counts_ng[:, 0] += 1  # every cell has a count
    counts_ng[5] = 0  # but one: its library lies in genes that are not in the table
    is_control = label == "control"
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical(label),
            "target": pd.Categorical(label),
            "cell_line": pd.Categorical(line),
            "batch": pd.Categorical(batch),
            "is_control": is_control,
            "mode": np.where(is_control, 8, 0).astype(np.int8),
            "dose": np.full(len(cells), np.nan, np.float32),
            "total_counts": (counts_ng.sum(axis=1) * 3 + 10).astype(np.float32),
            "dataset": pd.Categorical(["corpus"] * len(cells)),
        },
        index=strings(f"cell{i}" for i in range(len(cells))),
    )
    var = pd.DataFrame(
        {
            "gene_id": strings(f"ENSG{i:011d}" if i else "" for i in range(len(SCREEN_GENES))),
            "symbol": strings(SCREEN_GENES),
            "measured": [gene != "UNMEASURED" for gene in SCREEN_GENES],
        },
        index=strings(SCREEN_GENES),
    )
    start = np.arange(len(groups), dtype=np.int64) * CELLS_PER_GROUP
    table = pd.DataFrame(
        {
            key: strings(column)
            for key, column in zip(("cell_line", "perturbation", "batch"), zip(*groups, strict=True), strict=True)
        }
        | {"start": start, "stop": start + CELLS_PER_GROUP},
        index=strings(map(str, range(len(groups)))),
    )
    uns = {
        "contract": json.dumps(header("screen")),
        "groups": table,
        "alignment": json.dumps({"matched_by": "symbol", "dropped": {}}),
    }
    return anndata.AnnData(X=sparse.csr_matrix(counts_ng), obs=obs, var=var, uns=uns)


def _first_count(value: float) -> Callable:
    def change(adata: anndata.AnnData) -> None:
        adata.X.data[0] = value

    return change


def _swap_first_indices(adata: anndata.AnnData) -> None:
    adata.X.indices[:2] = adata.X.indices[:2][::-1].copy()
    adata.X.data[:2] = adata.X.data[:2][::-1].copy()
    adata.X.has_sorted_indices = False


def _columns_as_strings(adata: anndata.AnnData) -> None:
    for column in ("perturbation", "target", "cell_line", "batch", "dataset"):
        adata.obs[column] = strings(adata.obs[column])


def _counts_as(dtype: type) -> Callable:
    def change(adata: anndata.AnnData) -> None:
        adata.X = adata.X.astype(dtype)

    return change


def _keep(rows: Callable) -> Callable:
    """Keep some cells, with the groups that tile them."""

    def change(adata: anndata.AnnData) -> anndata.AnnData:
        table = adata.uns["groups"]
        kept = adata[np.flatnonzero(rows(adata.obs))].copy()
        table = table[rows(table.assign(is_control=table["perturbation"] == "control"))].copy()
        table["start"] = np.arange(len(table), dtype=np.int64) * CELLS_PER_GROUP
        table["stop"] = table["start"] + CELLS_PER_GROUP
        kept.uns["groups"] = table
        return kept

    return change


def _group(row: int, column: str, value: object) -> Callable:
    def change(adata: anndata.AnnData) -> None:
        adata.uns["groups"].iloc[row, adata.uns["groups"].columns.get_loc(column)] = value

    return change


def _split_group(adata: anndata.AnnData) -> None:
    """The first group as two rows: it tiles, but one (cell line, perturbation, batch) has two slices."""
    table = adata.uns["groups"]
    table = pd.concat([table.iloc[:1], table]).reset_index(drop=True)
    table.loc[0, "stop"] = 1
    table.loc[1, "start"] = 1
    table.index = strings(map(str, range(len(table))))
    adata.uns["groups"] = table


def _wrong_shape(axis: int) -> Callable[[Path], None]:
    """X that claims one row or column more than obs or var; no AnnData object can be like that, so metadata is edited."""

    def make(path: Path) -> None:
        write(screen(), path)
        for name in ("X/zarr.json", "zarr.json"):
            text = json.loads((path / name).read_text())
            node = text if name == "X/zarr.json" else text["consolidated_metadata"]["metadata"]["X"]
            node["attributes"]["shape"][axis] += 1
            (path / name).write_text(json.dumps(text))

    return make


SCREEN_VALID = {
    "string_columns.zarr": _columns_as_strings,
    "int32_counts.zarr": _counts_as(np.int32),
    "uint16_counts.zarr": _counts_as(np.uint16),
    "float64_counts.h5ad": _counts_as(np.float64),
    "one_cell_line.zarr": _keep(lambda table: (table["cell_line"] == "K562").to_numpy()),
}
SCREEN_BROKEN = {
    **{
        f"missing_obs_{c}": (drop("obs", c), (c,))
        for c in (
            "perturbation",
            "target",
            "cell_line",
            "batch",
            "is_control",
            "mode",
            "dose",
            "total_counts",
            "dataset",
        )
    },
    **{f"missing_var_{c}": (drop("var", c), (c,)) for c in ("gene_id", "symbol", "measured")},
    "duplicate_cell_names": (repeat_name("obs"), ("obs",)),
    "duplicate_gene_names": (repeat_name("var"), ("var",)),
    "negative_counts": (_first_count(-1), ("X",)),
    "fractional_counts": (_first_count(1.5), ("X",)),
    "nan_counts": (_first_count(np.nan), ("X",)),
    "infinite_counts": (_first_count(np.inf), ("X",)),
    "stored_zeros": (_first_count(0), ("X",)),
    "unsorted_column_indices": (_swap_first_indices, ("X",)),
    "dense_counts": (lambda a: setattr(a, "X", a.X.toarray()), ("X",)),
    "csc_counts": (lambda a: setattr(a, "X", a.X.tocsc()), ("X",)),
    "control_not_flagged": (set_value("obs", "is_control", 0, False), ("is_control",)),
    "perturbed_flagged_as_control": (set_value("obs", "is_control", -1, True), ("is_control",)),
    "no_control": (_keep(lambda table: ~table["is_control"].to_numpy(bool)), ("control",)),
    "only_controls": (_keep(lambda table: table["is_control"].to_numpy(bool)), ("control", "perturb")),
    "mode_above_8": (set_value("obs", "mode", 3, 9), ("mode",)),
    "mode_below_0": (set_value("obs", "mode", 3, -1), ("mode",)),
    "no_groups": (lambda a: a.uns.pop("groups"), ("groups",)),
    "groups_with_gap": (_group(1, "start", 4), ("groups",)),
    "groups_that_overlap": (_group(1, "start", 2), ("groups",)),
    "groups_that_end_early": (_group(-1, "stop", 47), ("groups",)),
    "groups_that_end_late": (_group(-1, "stop", 49), ("groups",)),
    "groups_with_other_perturbation": (_group(-1, "perturbation", "G1"), ("groups",)),
    "groups_with_other_batch": (_group(-1, "batch", "b1"), ("groups",)),
    "groups_that_repeat": (_split_group, ("groups",)),
    **{
        f"groups_without_{c}": (lambda a, c=c: a.uns["groups"].drop(columns=c, inplace=True), ("groups",))
        for c in ("cell_line", "perturbation", "batch", "start", "stop")
    },
    "total_counts_of_zero": (set_value("obs", "total_counts", 0, 0.0), ("total_counts",)),
    "total_counts_of_zero_in_an_empty_cell": (set_value("obs", "total_counts", 5, 0.0), ("total_counts",)),
    "total_counts_negative": (set_value("obs", "total_counts", 0, -5.0), ("total_counts",)),
    "total_counts_nan": (set_value("obs", "total_counts", 0, np.nan), ("total_counts",)),
    "total_counts_infinite": (set_value("obs", "total_counts", 0, np.inf), ("total_counts",)),
}


EXAMPLES = [
    *anndata_examples("screen", screen, SCREEN_VALID, SCREEN_BROKEN),
    Example("screen", "more_rows_than_obs.zarr", _wrong_shape(0), ("X", "shape")),
    Example("screen", "more_columns_than_var.zarr", _wrong_shape(1), ("X", "shape")),
]
