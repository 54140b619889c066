"""Hashes of a file's content, kept in its header: a flipped bit or a lost chunk is noticed by the next reader.

Of values, not of bytes: the same content as `.zarr` and as `.h5ad`, with other chunks or another compression, has the same
hashes. What a user adds to a file later is not hashed and does no harm.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vc_contracts.errors import ContractError, few
from vc_contracts.tables import blocks

KEY = "content"
"""In a header: place -> sha256."""
_HASH = re.compile("[0-9a-f]{64}")
SWITCH = "VC_TRUST_CONTENT"
"""Environment variable; set to 1, readers leave the hashes unchecked."""
REMEDY = (
    "The file is damaged or was changed after it was written: copy or make it again. If you changed it on purpose, take "
    f"the key {KEY!r} out of its header; {SWITCH}=1 reads it all the same."
)


class Digest:
    """The hash of an array that comes in pieces."""

    def __init__(self) -> None:
        self._total = hashlib.sha256()
        self._n = 0
        self._dtype = ""

    def add(self, values: np.ndarray) -> None:
        """Take the next piece."""
        values = np.ascontiguousarray(values)
        self._dtype = values.dtype.newbyteorder("<").str
        self._n += values.size
        if values.size:
            self._total.update(values.astype(self._dtype, copy=False).view(np.uint8).data)

    def hex(self) -> str:
        """Hash of all pieces, of their type and number."""
        whole = self._total.copy()
        whole.update(f"{self._dtype} {self._n}".encode())
        return whole.hexdigest()


def stamp(tables: Any, header: dict[str, Any]) -> dict[str, Any]:
    """A header with the hashes of what it stands over.

    Args:
        tables: An AnnData or `Tables`.
        header: From `make_header`.
    """
    bare = {key: value for key, value in header.items() if key != KEY}
    return {**bare, KEY: hash_content(tables) | {"header": hash_json(bare)}}


def hash_content(tables: Any) -> dict[str, str]:
    """Place -> hash, of every part of an AnnData but its header."""
    return dict(sorted(_hashes(tables)))


def verify(tables: Any, header: Mapping[str, Any], path: str | Path, known: Mapping[str, str] | None = None) -> None:
    """Compare content with the hashes in its header, where it has any.

    Args:
        tables: An AnnData or `Tables`.
        header: Its checked header.
        path: Where it lies.
        known: Hashes that were taken while it was read.

    Raises:
        ContractError: A place that the header lists is absent or has another hash.
    """
    if header.get(KEY) is None or trusting():
        _check_listed(header, path)
        return
    bare = {key: value for key, value in header.items() if key != KEY}
    verify_hashes(hash_content(tables) | dict(known or {}) | {"header": hash_json(bare)}, header, path)


def verify_hashes(found: Mapping[str, str], header: Mapping[str, Any], path: str | Path) -> None:
    """Compare hashes with those in a header, where it has any.

    Raises:
        ContractError: A place that the header lists is absent or has another hash.
    """
    _check_listed(header, path)
    listed = header.get(KEY)
    if listed is None or trusting():
        return
    if not isinstance(listed, dict):
        raise ContractError(path, f"contract[{KEY!r}]", "an object of hashes", type(listed).__name__, REMEDY)
    wrong = sorted(place for place, value in listed.items() if found.get(place) != value)
    if wrong:
        raise ContractError(
            path, wrong[0], "the content that the header's hashes state", f"other: {few(wrong)}", REMEDY
        )


def _check_listed(header: Mapping[str, Any], path: str | Path) -> None:
    """Refuse a header whose hashes stand under another name: one flipped bit of it would leave all the rest unchecked."""
    for key, value in () if trusting() else header.items():
        hashes = list(value.values()) if isinstance(value, dict) and key not in (KEY, "parents", "config") else []
        if hashes and all(isinstance(one, str) and _HASH.fullmatch(one) for one in hashes):
            raise ContractError(path, f"contract[{key!r}]", f"hashes under the name {KEY!r} alone", "hashes", REMEDY)


def trusting() -> bool:
    """Whether the user asked to leave hashes unchecked."""
    return os.environ.get(SWITCH) == "1"


def hash_json(value: Any) -> str:
    """Hash of a JSON value, whatever the order of its keys and its blanks."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def stamp_json(content: Mapping[str, Any]) -> dict[str, Any]:
    """The object of a JSON contract with the hash of the rest in its header."""
    header = {key: value for key, value in content["contract"].items() if key != KEY}
    return {**content, "contract": {**header, KEY: {"json": _hash_rest(content)}}}


def verify_json(content: Mapping[str, Any], path: str | Path) -> None:
    """Compare a JSON contract with the hash in its header, where it has one.

    Raises:
        ContractError: It changed since.
    """
    verify_hashes({"json": _hash_rest(content)}, content["contract"], path)


def _hash_rest(content: Mapping[str, Any]) -> str:
    header = {key: value for key, value in content["contract"].items() if key != KEY}
    return hash_json({**content, "contract": header})


def _hashes(tables: Any) -> Iterator[tuple[str, str]]:
    yield from _of_matrix("X", tables.X)
    for axis in ("obs", "var"):
        yield from _of_table(axis, getattr(tables, axis))
    for name in ("layers", "obsm", "varm"):
        for key, value in getattr(tables, name).items():
            if key is not None:  # newer releases of anndata list X among the layers, under None
                yield from _of_matrix(f"{name}/{key}", value)
    for key, value in tables.uns.items():
        if key != "contract":
            yield from _of_value(f"uns/{key}", value)


def _of_table(place: str, table: Any) -> Iterator[tuple[str, str]]:
    yield f"{place}/index", _of_labels(table.index)
    for column in table.columns:
        yield f"{place}/{column}", _of_column(table[column])


def _of_column(column: Any) -> str:
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
        return _of_array(column.to_numpy())
    return _of_labels(column)


def _of_labels(labels: Any) -> str:
    """Of strings, plain or categorical: the distinct ones by first appearance, and which stands where."""
    values = labels.array
    if hasattr(values, "codes"):
        codes, names = np.asarray(values.codes), [str(name) for name in values.categories]
        used, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
        order = np.argsort(first, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        codes, distinct = rank[inverse], ["" if used[k] < 0 else names[used[k]] for k in order]
    else:
        codes, uniques = labels.factorize(use_na_sentinel=False)
        distinct = [str(name) for name in uniques]
    total = hashlib.sha256(json.dumps(distinct).encode())
    total.update(np.ascontiguousarray(codes, "<i8").data if len(codes) else b"")
    return total.hexdigest()


def _of_matrix(place: str, matrix: Any) -> Iterator[tuple[str, str]]:
    if matrix is None:
        return
    if hasattr(matrix, "indptr"):
        if isinstance(matrix.data, np.ndarray):  # else it is still on disk, and hashed where it is read
            yield f"{place}/data", _of_array(matrix.data)
            yield f"{place}/indices", _of_array(matrix.indices.astype(np.int64, copy=False))
        yield f"{place}/indptr", _of_array(np.asarray(matrix.indptr).astype(np.int64, copy=False))
    elif hasattr(matrix, "columns"):
        yield from _of_table(place, matrix)
    else:
        yield place, _of_array(np.asarray(matrix))


def _of_array(array: np.ndarray) -> str:
    if array.dtype.kind not in "biuf":
        return hash_json([str(value) for value in array.ravel().tolist()])
    digest, flat = Digest(), np.ascontiguousarray(array).reshape(-1)
    for start, stop in blocks(flat.size):
        digest.add(flat[start:stop])
    return digest.hex()


def _of_value(place: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _of_value(f"{place}/{key}", part)
    elif hasattr(value, "columns"):
        yield from _of_table(place, value)
    elif isinstance(value, str | np.str_):
        yield place, hash_json(str(value))
    elif hasattr(value, "indptr"):
        yield from _of_matrix(place, value)
    else:
        yield place, _of_array(np.atleast_1d(np.asarray(value)))
