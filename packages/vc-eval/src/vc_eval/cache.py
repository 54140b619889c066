"""The real side, kept by content: a prediction scored later needs one DE pass instead of two.

A key is the sha256 of everything that decides the result: the file's bytes (or the arrays), the labels, the genes, the
settings that matter and the version of this package. A damaged or foreign file is computed anew, never trusted.
"""

import hashlib
import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse

from vc_eval.cells import Scale, Side, read_side
from vc_eval.contracts import sha256_tree, write_whole
from vc_eval.inputs import source_path
from vc_eval.rules import Settings

if TYPE_CHECKING:
    import anndata

FORMAT = 1  # moves when the content of a cache file moves


def cached_side(
    adata: "anndata.AnnData",
    labels_n: np.ndarray,
    genes: np.ndarray,
    *,
    name: str,
    settings: Settings,
    context: str = "",
) -> Side:
    """`cells.read_side`, kept in the folder `settings.cache` if there is one.

    Args:
        adata: Cells, in memory or backed.
        labels_n: `[n]` labels; an empty one leaves the cell out.
        genes: `[g]` names in the order wanted.
        name: `real` or `pred`.
        settings: The folder, and what decides the numbers.
        context: Name of the context the labels belong to.
    """
    if settings.cache is None:
        return read_side(adata, labels_n, genes, name=name, settings=settings)
    key = _key(adata, labels_n, genes, settings, context)
    path = Path(settings.cache) / f"side-{key}.npz"
    side = _load(path, genes, name)
    if side is None:
        side = read_side(adata, labels_n, genes, name=name, settings=settings)
        _save(path, side)
    return side


def content_hash(adata: "anndata.AnnData") -> str:
    """sha256 of the cells: of the file that X is read from, else of X and the gene names."""
    path = source_path(adata)
    if path is not None:
        return sha256_tree(path)
    total = hashlib.sha256()
    x = adata.X
    arrays = (x.data, x.indices, x.indptr) if scipy.sparse.issparse(x) else (np.asarray(x),)
    total.update(json.dumps([type(x).__name__, x.shape, *(str(a.dtype) for a in arrays)]).encode())
    for array in arrays:
        total.update(np.ascontiguousarray(array).data)
    total.update("\0".join(adata.var_names.astype(str)).encode())
    return total.hexdigest()


def _key(adata: "anndata.AnnData", labels_n: np.ndarray, genes: np.ndarray, settings: Settings, context: str) -> str:
    total = hashlib.sha256(content_hash(adata).encode())
    total.update(json.dumps([FORMAT, version("vc-eval"), settings.control, settings.allow_counts, context]).encode())
    for names in (labels_n, genes):
        total.update("\0".join(names.tolist()).encode() + b"\1")
    return total.hexdigest()


def _save(path: Path, side: Side) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"twice_u": side.twice_u, "ties": side.ties, "mean_lg": side.mean_lg, "sizes": side.sizes}
    if side.mean_log_lg is not side.mean_lg:
        arrays["mean_log_lg"] = side.mean_log_lg
    header = {"format": FORMAT, "labels": side.labels, "scale": asdict(side.scale), "stored_bytes": side.stored_bytes}
    with write_whole(path) as temporary, temporary.open("wb") as file:
        np.savez(file, header=np.array(json.dumps(header)), **arrays)


def _load(path: Path, genes: np.ndarray, name: str) -> Side | None:
    """The side of a cache file; None if there is none or it cannot be read whole."""
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            header = json.loads(str(file["header"]))
            mean_lg = file["mean_lg"]
            side = Side(
                name=name, labels=header["labels"], genes=genes, sizes=file["sizes"], scale=Scale(**header["scale"]),
                stored_bytes=header["stored_bytes"], twice_u=file["twice_u"], ties=file["ties"], mean_lg=mean_lg,
                mean_log_lg=file.get("mean_log_lg", mean_lg),
            )  # fmt: skip
    except FileNotFoundError:
        return None
    except Exception:  # whatever a damaged zip raises: the result is computed anew
        return None
    return side if mean_lg.shape == (len(header["labels"]) + 1, len(genes)) else None
