"""Tiny foreign files in every layout that screens come in, for tests."""

from pathlib import Path
from typing import Any, cast

import numpy as np

LAYOUTS: dict[str, dict] = {
    "csr": {},
    "csc": {"matrix": "csc"},
    "dense": {"matrix": "dense"},
    "dense, integers": {"matrix": "dense", "dtype": "int64"},
    "layer": {"layer": "counts"},
    "csc layer": {"matrix": "csc", "layer": "counts"},
    "raw": {"layer": "raw"},
    "symbols in the index": {"var_index": "symbol"},
    "versions on ids": {"var_index": "version"},
    "numbers in the index": {"var_index": "number"},
    "older categoricals": {"older": True},
    "unsorted, stored zeros": {"untidy": True},
}
"""Name -> arguments of `write_foreign`: every one holds the same screen."""


def make_foreign(*, seed: int = 0, cells_per_group: int = 6, n_genes: int = 12):
    """A screen as other people store it: two cell lines, two batches, three genes alone and one pair.

    Args:
        seed: Of the counts.
        cells_per_group: Cells of each (cell line, perturbation, batch).
        n_genes: At least 4.

    Returns:
        An AnnData: `X` dense int64 counts, every cell with some; obs `target_gene` (control `non-targeting`),
        `cell_line`, `gem_group`, `perturbation_type`, `total_counts_all_genes`; var `gene_id`, `gene_name`.
    """
    import anndata
    import pandas as pd

    rng = np.random.default_rng(seed)
    symbols = [f"GENE{i}" for i in range(n_genes)]
    labels = ["non-targeting", "GENE0", "GENE1", "GENE2", "GENE1+GENE0"]
    groups = [(line, label, batch) for line in ("K562", "RPE1") for label in labels for batch in ("b1", "b2")]
    rows = [group for group in groups for _ in range(cells_per_group)]
    rng.shuffle(rows)
    obs = pd.DataFrame(rows, columns=["cell_line", "target_gene", "gem_group"])
    obs.index = [f"cell{i}" for i in range(len(obs))]
    obs["perturbation_type"] = "CRISPRi"
    counts = rng.poisson(rng.gamma(1.0, 3.0, n_genes), (len(obs), n_genes))
    counts[:, 0] += 1
    obs["total_counts_all_genes"] = counts.sum(axis=1) + 100.0
    for column in ("cell_line", "target_gene", "gem_group", "perturbation_type"):
        obs[column] = pd.Categorical(obs[column])
    ids = [f"ENSG{i:011d}" for i in range(n_genes)]
    var = pd.DataFrame({"gene_id": ids, "gene_name": symbols}, index=ids)
    return anndata.AnnData(counts, obs=obs, var=var)


def write_foreign(
    adata,
    path: str | Path,
    *,
    matrix: str = "csr",
    dtype: str = "float32",
    layer: str = "X",
    var_index: str = "id",
    older: bool = False,
    untidy: bool = False,
) -> Path:
    """Write a foreign screen in one layout.

    Args:
        adata: As `make_foreign` gives it.
        path: Target `.h5ad`.
        matrix: `csr`, `csc` or `dense`.
        dtype: Of the stored counts.
        layer: Where the counts go: `X`, `raw`, or a layer's name; elsewhere X holds log1p values.
        var_index: `id`, `symbol` (ids in a column), `version` (ids with version) or `number`.
        older: Categoricals as files of 2019 to 2021 hold them, under `obs/__categories`.
        untidy: Reverse the stored values of every row and store zeros (CSR only).

    Returns:
        The path.
    """
    import anndata
    import scipy.sparse as sp

    counts = np.asarray(adata.X).astype(dtype)
    stored = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.asarray}[matrix](counts)
    if untidy:
        n_cells, n_genes = counts.shape
        columns = np.tile(np.arange(n_genes)[::-1], n_cells)
        starts = np.arange(n_cells + 1) * n_genes
        stored = sp.csr_matrix((counts[:, ::-1].ravel(), columns, starts), shape=counts.shape)
    var = adata.var.copy()
    if var_index == "version":
        var.index = [f"{name}.{i + 1}" for i, name in enumerate(var.index)]
        var = var.drop(columns="gene_id")
    elif var_index != "id":
        var.index = var["gene_name"].tolist() if var_index == "symbol" else [str(i) for i in range(len(var))]
    elsewhere = sp.csr_matrix(np.log1p(counts).astype(np.float32))
    written = anndata.AnnData(stored if layer == "X" else elsewhere, obs=adata.obs.copy(), var=var)
    if layer == "raw":
        written.raw = anndata.AnnData(stored, obs=cast("Any", written.obs), var=var)
    elif layer != "X":
        written.layers[layer] = stored
    path = Path(path)
    written.write_h5ad(path)
    if older:
        _make_older(path)
    return path


def _make_older(path: Path) -> None:
    """Turn each categorical group of obs into codes that point to `obs/__categories`."""
    import h5py

    with h5py.File(path, "r+") as file:
        obs = file["obs"]
        obs.attrs["encoding-version"] = "0.1.0"
        index = obs.attrs["_index"]
        if isinstance(obs[index], h5py.Group):
            names = obs[index]["values"].asstr()[:]
            del obs[index]
            obs.create_dataset(index, data=names.astype(object), dtype=h5py.string_dtype())
        levels = obs.create_group("__categories")
        for column in list(obs):
            group = obs[column]
            if not isinstance(group, h5py.Group) or "codes" not in group:
                continue
            codes, categories = group["codes"][:], group["categories"]
            names = categories["values"] if isinstance(categories, h5py.Group) else categories
            levels.create_dataset(column, data=names.asstr()[:].astype(object), dtype=h5py.string_dtype())
            del obs[column]
            obs.create_dataset(column, data=codes)
            obs[column].attrs["categories"] = levels[column].ref


def small_screen(folder: Path, **sizes: Any) -> Path:
    """A simulated screen of a size for tests, converted into `folder`.

    Args:
        folder: Where the simulation (`sim`) and the screen are written.
        sizes: Settings of `vc_data.simulate.SimulatorConfig` that differ from those here.

    Returns:
        The screen-v1 folder.
    """
    from vc_data.convert.run import convert
    from vc_data.options import ConvertOptions
    from vc_data.simulate import SimulatorConfig, write_simulation

    usual: dict[str, Any] = {"n_genes": 60, "n_pathways": 4, "n_batches": 1, "depth_median": 1000.0}
    write_simulation(SimulatorConfig(**usual | sizes), 0, folder / "sim")
    return convert(folder / "sim" / "screen.h5ad", folder / "screen.zarr", ConvertOptions()).path
