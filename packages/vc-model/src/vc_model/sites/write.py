"""Rows of a site to latents-v1, block by block: memory of one block and of the row names, however many rows there are."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm
from vc_contracts.content import Digest, stamp
from vc_contracts.tables import Tables

from vc_model.contracts.header import Config, Parents, make_header, refusal, whole, write_adata
from vc_model.sites.site import Block, Site

CHUNK_BYTES = 1 << 21  # of one chunk of the stored activations


def write_site(
    path: Path | str,
    site: Site,
    *,
    parents: Parents = None,
    config: Config = None,
    total: int | None = None,
    batches: Mapping[str, Sequence[str]] | None = None,
) -> int:
    """Write every row of a site.

    Args:
        path: The latents-v1 zarr folder; an earlier one there is replaced.
        site: What to write.
        parents: File name -> sha256 of what the model was made from.
        config: How.
        total: Number of blocks, for the progress bar.
        batches: Cell line -> batch of each control cell that rows of kind `cell` are made of (`control_batches`).

    Returns:
        Rows written.

    Raises:
        ContractError: If an activation is not finite, or the name ends in `.h5ad`.
    """
    blocks = tqdm(site.blocks(), desc=site.name, total=total, leave=False, disable=None)
    return stream_latents(
        path, blocks, site.width, site.kind, site.name, site.model, parents=parents, config=config,
        batches=batches if site.kind == "cell" else None,
    )  # fmt: skip


def stream_latents(
    path: Path | str,
    blocks: Iterable[Block],
    width: int,
    kind: str,
    site: str,
    model: str,
    *,
    parents: Parents = None,
    config: Config = None,
    batches: Mapping[str, Sequence[str]] | None = None,
) -> int:
    """Write blocks of activations as one latents-v1 folder, whole or not at all; arguments as in `write_site`.

    Returns:
        Rows written.

    Raises:
        ContractError: If an activation is not finite, or the name ends in `.h5ad`.
    """
    import zarr

    path = Path(path)
    if path.suffix == ".h5ad":
        raise refusal(path, "file", "a name that does not end in .h5ad", path.name, "Activations are streamed to zarr.")
    digest, at = Digest(), 0
    names: list[str] = []
    lines: list[str] = []
    labels: list[str] = []
    rows = max(1, CHUNK_BYTES // (4 * width))
    with whole(path, kind="latents") as temporary:
        root = zarr.open_group(temporary, mode="w")
        store = root.create_array("X", shape=(0, width), chunks=(rows, width), dtype="float32", compressors=None)
        store.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        for block in _chunks(blocks, rows):
            if not np.isfinite(block.values_nd).all():
                raise refusal(path, "X", "finite activations", "NaN or infinity", "Train the model again.")
            store.resize((at + len(block.values_nd), width))
            store[at:] = block.values_nd
            digest.add(block.values_nd)
            at += len(block.values_nd)
            names += block.names
            lines += block.cell_line
            labels += block.perturbation
        header = make_header("latents", parents=parents, config=config)
        tables = _tables(names, lines, labels, width, kind, site, model, batches)
        _write_tables(root, tables, header, digest.hex())
    return at


def write_gradient(path: Path | str, site: Site, *, parents: Parents = None, config: Config = None) -> None:
    """Write the mean gradient of every gene's expression as latents-v1 with a row of kind `gene` per gene.

    Args:
        path: Target; an earlier one there is replaced.
        site: Whose.
        parents: File name -> sha256 of what the model was made from.
        config: How.
    """
    import anndata
    import pandas as pd

    gradient_gd = site.gradient().astype(np.float32)
    obs = pd.DataFrame({"kind": pd.Categorical(["gene"] * len(gradient_gd))}, index=pd.Index(list(site.genes)))
    var = pd.DataFrame(index=pd.Index([f"d{at}" for at in range(site.width)]))
    adata = anndata.AnnData(X=gradient_gd, obs=obs, var=var)
    adata.uns["contract"] = json.dumps(make_header("latents", parents=parents, config=config))
    adata.uns["site"], adata.uns["model"] = f"gradient/{site.name}", site.model
    write_adata(Path(path), adata, kind="latents")


def _chunks(blocks: Iterable[Block], rows: int) -> Iterable[Block]:
    """The same rows in blocks of whole chunks, so that no chunk is written twice; the last one is shorter."""
    held: list[Block] = []
    n_held = 0
    for block in blocks:
        held.append(block)
        n_held += len(block.values_nd)
        if n_held >= rows:
            joined = _join(held)
            whole_rows = n_held // rows * rows
            yield _cut(joined, slice(0, whole_rows))
            held, n_held = [_cut(joined, slice(whole_rows, None))], n_held - whole_rows
    if n_held:
        yield _join(held)


def _join(blocks: list[Block]) -> Block:
    return Block(
        np.concatenate([np.asarray(block.values_nd, np.float32) for block in blocks]),
        tuple(name for block in blocks for name in block.names),
        tuple(line for block in blocks for line in block.cell_line),
        tuple(label for block in blocks for label in block.perturbation),
    )


def _cut(block: Block, rows: slice) -> Block:
    return Block(block.values_nd[rows], block.names[rows], block.cell_line[rows], block.perturbation[rows])


def _tables(
    names: list[str],
    lines: list[str],
    labels: list[str],
    width: int,
    kind: str,
    site: str,
    model: str,
    batches: Mapping[str, Sequence[str]] | None,
) -> Tables:
    import pandas as pd

    obs = pd.DataFrame({"kind": pd.Categorical([kind] * len(names))}, index=pd.Index(names, dtype=object))
    if any(lines):
        obs["cell_line"], obs["perturbation"] = pd.Categorical(lines), pd.Categorical(labels)
    if batches is not None:  # a name ends with the place of the cell among those of its line
        cells = zip(lines, names, strict=True)
        obs["batch"] = pd.Categorical([batches[line][int(name.rsplit("|", 1)[1])] for line, name in cells])
    var = pd.DataFrame(index=pd.Index([f"d{at}" for at in range(width)], dtype=object))
    return Tables(obs, var, {"site": site, "model": model}, None)


def _write_tables(root: Any, tables: Tables, header: dict[str, Any], activations: str) -> None:
    """The rest of the AnnData, with the hash of the streamed activations in its header."""
    import anndata

    stamped = stamp(tables, header)
    stamped["content"]["X"] = activations
    root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    uns = {**tables.uns, "contract": json.dumps(stamped, sort_keys=True)}
    for key, value in (("obs", tables.obs), ("var", tables.var), ("uns", uns)):
        anndata.io.write_elem(root, key, value)
    for key in ("layers", "obsm", "varm", "obsp", "varp"):
        anndata.io.write_elem(root, key, {})
