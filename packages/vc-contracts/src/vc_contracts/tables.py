"""The parts of an AnnData that a check looks at, in memory or still on disk."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

VALUES_PER_BLOCK = 4_000_000
"""Stored numbers that are looked at together; bounds memory at about 50 MB."""


@dataclass(frozen=True)
class StoredCsr:
    """A CSR matrix whose arrays are still on disk; they are read by slices."""

    data: Any
    indices: Any
    indptr: np.ndarray
    shape: tuple[int, int]
    format: str = "csr"


@dataclass(frozen=True)
class Tables:
    """What `check` needs of an AnnData; an AnnData itself has the same names."""

    obs: Any
    var: Any
    uns: Mapping[str, Any]
    X: Any
    layers: Mapping[str, Any] = field(default_factory=dict)
    obsm: Mapping[str, Any] = field(default_factory=dict)
    varm: Mapping[str, Any] = field(default_factory=dict)


def blocks(n: int, size: int | None = None) -> Iterator[tuple[int, int]]:
    """Cut `0..n` into ranges of at most `size`."""
    size = size or VALUES_PER_BLOCK
    for start in range(0, n, size):
        yield start, min(start + size, n)


def layout_of(matrix: Any) -> str:
    """`dense`, the format of a sparse matrix, or the name of a type that is neither."""
    if isinstance(matrix, np.ndarray):
        return "dense"
    return str(getattr(matrix, "format", type(matrix).__name__))
