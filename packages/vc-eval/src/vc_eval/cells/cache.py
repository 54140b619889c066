"""The real side, kept by content: a prediction scored later needs one DE pass instead of two.

A key is the sha256 of everything that decides the result: the file's bytes (or the arrays), the labels, the genes, the
settings that matter and the version of this package. A damaged or foreign file is computed anew, never trusted.
"""

import hashlib
import json
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse

from vc_eval.cells.inputs import source_path
from vc_eval.cells.ranked import RankedSide, read_side
from vc_eval.cells.scale import Scale
from vc_eval.cells.settings import Settings
from vc_eval.contracts import write_whole
from vc_eval.hashing import sha256_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    import anndata
    import pandas as pd

FORMAT = 4  # moves when the content of a cache file moves


def cached_side(
    adata: "anndata.AnnData",
    labels_n: np.ndarray,
    genes: np.ndarray,
    *,
    name: str,
    settings: Settings,
    context: str = "",
    half_n: np.ndarray | None = None,
) -> RankedSide:
    """`cells.read_side`, kept in the folder `settings.cache` if there is one.

    Args:
        adata: Cells, in memory or backed.
        labels_n: `[n]` labels; an empty one leaves the cell out.
        genes: `[g]` names in the order wanted.
        name: `real` or `pred`.
        settings: The folder, and what decides the numbers.
        context: Name of the context the labels belong to.
        half_n: `[n]` halves to rank as well, see `cells.read_side`.
    """
    if settings.cache is None:
        return read_side(adata, labels_n, genes, name=name, settings=settings, half_n=half_n)
    key = _key(adata, labels_n, genes, settings, context, half_n)
    path = Path(settings.cache) / f"side-{key}.npz"
    side = _load(path, genes, name, key)
    if side is None:
        side = read_side(adata, labels_n, genes, name=name, settings=settings, half_n=half_n)
        _save(path, side, key)
    return side


def cached_frame(side_of: tuple, settings: Settings, kind: str, make: "Callable[[], pd.DataFrame]") -> "pd.DataFrame":
    """A table that follows from the real side alone, kept beside it.

    Args:
        side_of: Cells, labels, genes, context and halves, as `cached_side` takes them.
        settings: The folder, and what decides the numbers.
        kind: What the table is.
        make: Computes it.
    """
    import pandas as pd

    if settings.cache is None:
        return make()
    adata, labels_n, genes, context, half_n = side_of
    key = hashlib.sha256(f"{_key(adata, labels_n, genes, settings, context, half_n)} {kind} {settings.seed}".encode())
    path = Path(settings.cache) / f"table-{key.hexdigest()}.parquet"
    try:
        frame = pd.read_parquet(path)
        known, frame.attrs = frame.attrs, {}
        if known == {"key": key.hexdigest(), "content": _table_digest(frame)}:
            return frame
    except FileNotFoundError:
        pass
    except Exception:  # whatever a damaged file raises: the table is computed anew
        path.unlink(missing_ok=True)
    frame = make()
    path.unlink(missing_ok=True)  # what another put there is no entry
    with write_whole(path) as temporary:
        keyed = frame.copy(deep=False)
        keyed.attrs = {"key": key.hexdigest(), "content": _table_digest(frame)}
        keyed.to_parquet(temporary)
    return frame


def content_hash(adata: "anndata.AnnData") -> str:
    """sha256 of the cells: of the file that X is read from, else of X and the gene names."""
    path = source_path(adata)
    if path is not None:
        return sha256_tree(path)
    total = hashlib.sha256()
    x: Any = adata.X
    arrays = (x.data, x.indices, x.indptr) if scipy.sparse.issparse(x) else (np.asarray(x),)
    total.update(json.dumps([type(x).__name__, x.shape, *(str(a.dtype) for a in arrays)]).encode())
    for array in arrays:
        total.update(np.ascontiguousarray(array).data)
    total.update("\0".join(adata.var_names.astype(str)).encode())
    return total.hexdigest()


def _key(
    adata: "anndata.AnnData", labels_n: np.ndarray, genes: np.ndarray, settings: Settings, context: str,
    half_n: np.ndarray | None,
) -> str:  # fmt: skip
    total = hashlib.sha256(content_hash(adata).encode())
    total.update(json.dumps([FORMAT, version("vc-eval"), settings.control, settings.allow_counts, context]).encode())
    for names in (labels_n, genes):
        total.update("\0".join(names.tolist()).encode() + b"\1")
    if half_n is not None:
        total.update(np.ascontiguousarray(half_n, np.int8).data)
    return total.hexdigest()


def _save(path: Path, side: RankedSide, key: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays, labels = {}, []
    for k, part in enumerate((side, *(side.halves or ()))):
        labels.append(part.labels)
        arrays |= {f"{name}_{k}": getattr(part, name) for name in ("twice_u", "ties", "mean_lg", "sizes", "placed")}
        if part.mean_log_lg is not part.mean_lg:
            arrays[f"mean_log_lg_{k}"] = part.mean_log_lg
    header = {
        "format": FORMAT,
        "key": key,
        "content": _digest(arrays),
        "labels": labels,
        "scale": asdict(side.scale),
        "stored_bytes": side.stored_bytes,
    }
    path.unlink(missing_ok=True)
    with write_whole(path) as temporary, temporary.open("wb") as file:
        np.savez(file, header=np.array(json.dumps(header)), **arrays)


def _digest(arrays: dict[str, np.ndarray]) -> str:
    """Hash of arrays by name, type, shape and content."""
    total = hashlib.sha256()
    for field in sorted(arrays):
        array = np.ascontiguousarray(arrays[field])
        total.update(f"{field} {array.dtype} {array.shape}".encode())
        total.update(array.data if array.size else b"")
    return total.hexdigest()


def _table_digest(frame: "pd.DataFrame") -> str:
    import pandas as pd

    rows = pd.util.hash_pandas_object(frame).to_numpy()
    return hashlib.sha256(json.dumps([str(name) for name in frame.columns]).encode() + rows.tobytes()).hexdigest()


def _load(path: Path, genes: np.ndarray, name: str, key: str) -> RankedSide | None:
    """The side of a cache file, with the halves kept there; None if there is none or it cannot be read whole."""
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            header = json.loads(str(file["header"]))
            arrays = {field: file[field] for field in file.files if field != "header"}
            if header.get("key") != key or header.get("content") != _digest(arrays):
                return None  # a file of other cells, or one that changed since
            parts = []
            for k, labels in enumerate(header["labels"]):
                mean_lg = arrays[f"mean_lg_{k}"]
                part = RankedSide(
                    name=name, labels=labels, genes=genes, scale=Scale(**header["scale"]), mean_lg=mean_lg,
                    stored_bytes=header["stored_bytes"], mean_log_lg=arrays.get(f"mean_log_lg_{k}", mean_lg),
                    **{field: arrays[f"{field}_{k}"] for field in ("twice_u", "ties", "sizes", "placed")},
                )  # fmt: skip
                parts.append(part)
    except FileNotFoundError:
        return None
    except Exception:  # whatever a damaged zip raises: the result is computed anew
        return None
    side = replace(parts[0], halves=(parts[1], parts[2])) if len(parts) == 3 else parts[0]
    return side if side.mean_lg.shape == (len(side.labels) + 1, len(genes)) else None
