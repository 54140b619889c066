"""Writing an AnnData contract: checked, with the hashes of its content, whole or not at all."""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vc_contracts.checking import check
from vc_contracts.content import stamp
from vc_contracts.header import check_header
from vc_contracts.whole import write_whole

IN_MEMORY = 1 << 31
"""Bytes up to which an HDF5 file is put together in memory: HDF5 does not survive a disk that fills up."""


def write(
    path: str | Path, adata: Any, name: str, *, overwrite: bool = False, inputs: Iterable[str | Path] = ()
) -> Path:
    """Write an AnnData as `PATH.zarr`, or as `.h5ad` where the name ends so.

    Args:
        path: Target; its folder is made.
        adata: Keeps the contract, with its header under `uns["contract"]`; the hashes of its content are added there.
        name: The contract.
        overwrite: Replace an earlier output of the same contract.
        inputs: What it was made from; none may be the target.

    Returns:
        The path.

    Raises:
        ContractError: It breaks the contract; nothing is written.
        OutputError: The target may not be written.
    """
    path = Path(path)
    header = check(adata, name, path)
    adata.uns["contract"] = json.dumps(stamp(adata, check_header(header, name, path)), sort_keys=True)
    with write_whole(path, kind=name, overwrite=overwrite, inputs=inputs, make_parent=True) as temporary:
        if path.suffix != ".h5ad":
            adata.write_zarr(temporary)
        elif _size(adata) < IN_MEMORY:
            temporary.write_bytes(_h5ad(adata))
        else:
            adata.write_h5ad(temporary)
    return path


def _h5ad(adata: Any) -> memoryview:
    """The bytes of the `.h5ad` file."""
    import h5py
    from anndata.io import write_elem

    buffer = io.BytesIO()
    adata.strings_to_categoricals()
    with h5py.File(buffer, "w") as file:
        write_elem(file, "/", adata)
    return buffer.getbuffer()


def _size(adata: Any) -> int:
    matrices = [adata.X, *adata.layers.values()]
    return sum(getattr(getattr(m, "data", m), "nbytes", 0) for m in matrices)
