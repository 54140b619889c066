"""Checks of matrices, by blocks, before any compiled code sees their indices."""

from typing import Any

import numpy as np

from vc_contracts.content import Digest
from vc_contracts.errors import Refusal
from vc_contracts.schema import Field, Refuse
from vc_contracts.tables import StoredCsr, blocks, layout_of


def check_matrix(matrix: Any, field: Field, refuse: Refuse, shape: tuple[int, int] | None = None) -> dict[str, str]:
    """Check layout, shape, type and values of a matrix.

    Args:
        matrix: A numpy array, a scipy matrix, or `StoredCsr`.
        field: What is allowed.
        refuse: Raises.
        shape: What the shape must be; None for any.

    Returns:
        Of a matrix on disk: the hashes of its data and indices, by place.
    """
    layout = layout_of(matrix)
    if layout not in field.layout:
        refuse(field.label, " or ".join(field.layout).upper().replace("DENSE", "dense"), layout)
    if shape is not None and tuple(matrix.shape) != shape:
        refuse(field.label, f"shape {shape}", f"shape {tuple(matrix.shape)}")
    dtype = matrix.dtype if layout == "dense" else matrix.data.dtype
    if dtype.kind not in "fiu" or (field.dtype and str(dtype) != field.dtype):
        refuse(field.label, f"{field.dtype or 'numbers'}", f"dtype {dtype}")
    if layout == "dense":
        if matrix.ndim != 2:
            refuse(field.label, "two dimensions", f"{matrix.ndim}")
        for start, stop in blocks(matrix.shape[0], max(1, (1 << 22) // max(matrix.shape[1], 1))):
            _check_values(matrix[start:stop], field, refuse)
        return {}
    indptr = check_indptr(matrix, field, refuse)
    data, indices = Digest(), Digest()
    for start, stop in blocks(int(indptr[-1])):
        values = _part(matrix.data, start, stop, field, refuse)
        _check_values(values, field, refuse)
        if isinstance(matrix, StoredCsr):
            data.add(values)
    _check_columns(matrix, indptr, field, refuse, indices)
    if not isinstance(matrix, StoredCsr) or not indptr[-1]:
        return {}
    return {f"{field.place}/data": data.hex(), f"{field.place}/indices": indices.hex()}


def check_indptr(matrix: Any, field: Field, refuse: Refuse) -> np.ndarray:
    """Row offsets that start at 0, never fall, and end at the number of stored values.

    Returns:
        [n + 1] int64.
    """
    indptr = np.asarray(matrix.indptr)
    n_rows = matrix.shape[0]
    if indptr.dtype.kind not in "iu" or matrix.indices.dtype.kind not in "iu":
        refuse(field.label, "whole numbers in indptr and indices", f"{indptr.dtype} and {matrix.indices.dtype}")
    indptr = indptr.astype(np.int64)
    n_stored = matrix.data.shape[0]
    if indptr.ndim != 1 or len(indptr) != n_rows + 1 or indptr[0] != 0 or (np.diff(indptr) < 0).any():
        refuse(f"{field.label} indptr", f"{n_rows + 1} offsets that rise from 0", "others")
    if indptr[-1] != n_stored or matrix.indices.shape[0] != n_stored:
        refuse(field.label, f"{indptr[-1]} stored values", f"{n_stored} and {matrix.indices.shape[0]} indices")
    return indptr


def _part(array: Any, start: int, stop: int, field: Field, refuse: Refuse) -> np.ndarray:
    """A slice of an array in memory or on disk; what cannot be read is damage."""
    try:
        return np.asarray(array[start:stop])
    except Refusal:  # a bucket that cannot be reached says so itself
        raise
    except (OSError, ValueError, RuntimeError, KeyError) as error:  # what zarr, its codecs and h5py raise
        refuse(field.label, "values that can be read", f"{type(error).__name__}: {str(error)[:200]}")
        raise


def _check_values(values: np.ndarray, field: Field, refuse: Refuse) -> None:
    real = values.dtype.kind == "f"
    if real and field.finite and not np.isfinite(values).all():
        refuse(field.label, "finite values", f"{int((~np.isfinite(values)).sum())} values that are not finite")
    if real and field.may_be_infinite and np.isnan(values).any():
        refuse(field.label, "no NaN", f"{int(np.isnan(values).sum())}")
    if field.low is not None and values.dtype.kind != "u" and (values < field.low).any():
        refuse(field.label, f"values of {field.low:g} or more", f"negative values ({int((values < field.low).sum())})")
    if real and field.whole and (values != np.trunc(values)).any():
        refuse(
            field.label, "whole numbers: raw counts", f"fractional values ({int((values != np.trunc(values)).sum())})"
        )
    if not field.stored_zeros and (values == 0).any():
        refuse(field.label, "no stored zeros", f"{int((values == 0).sum())} stored zeros")


def _check_columns(matrix: Any, indptr: np.ndarray, field: Field, refuse: Refuse, digest: Digest) -> None:
    """Column indices in range; for counts also sorted and distinct within every row."""
    n_columns, before = matrix.shape[1], -1
    for start, stop in blocks(int(indptr[-1])):
        indices = _part(matrix.indices, start, stop, field, refuse).astype(np.int64)
        if isinstance(matrix, StoredCsr):
            digest.add(indices)
        if indices.min() < 0 or indices.max() >= n_columns:
            refuse(f"{field.label} indices", f"columns in 0..{n_columns - 1}", f"{indices.min()}..{indices.max()}")
        if field.stored_zeros:
            continue
        falls = start + np.flatnonzero(np.diff(indices, prepend=before) <= 0)
        at = np.searchsorted(indptr, falls)
        if not (indptr[np.minimum(at, len(indptr) - 1)] == falls).all():
            refuse(f"{field.label} indices", "sorted, distinct columns in every row", "unsorted or repeated ones")
        before = int(indices[-1])
