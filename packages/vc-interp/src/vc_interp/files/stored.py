"""latents-v1 left on disk: checked in one pass, then read by blocks, so that memory does not grow with the rows."""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from vc_contracts.errors import raised_as

from vc_interp.errors import ContractError, InputError

if TYPE_CHECKING:
    import pandas as pd
    from vc_contracts.content import Digest

BLOCK_BYTES = 1 << 24
"""Activations that are looked at together."""
MIN_ROWS = 32


@dataclass(frozen=True, eq=False)
class StoredLatents:
    """Activations on disk with their identities in memory.

    Attributes:
        path: The file.
        rows: [n] row names.
        kinds: [n] `cell`, `condition`, `gene` or `action`.
        lines: [n] cell lines; empty strings where the file states none.
        labels: [n] perturbations, `control` for nothing done; empty strings where the file states none.
        batches: [n] batch of the cell that a row was made of; empty strings where the file states none.
        dims: Names of the d dimensions.
        site: Where in the model.
        model: Its name.
        header: The contract header.
        mean_d: [d] float64 mean activation.
        var_d: [d] float64 variance.
        mean_norm: Mean Euclidean norm of a row.
    """

    path: Path
    rows: np.ndarray
    kinds: np.ndarray
    lines: np.ndarray
    labels: np.ndarray
    batches: np.ndarray
    dims: tuple[str, ...]
    site: str
    model: str
    header: dict[str, Any]
    mean_d: np.ndarray
    var_d: np.ndarray
    mean_norm: float

    @property
    def width(self) -> int:
        """D."""
        return len(self.dims)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def block_rows(self) -> int:
        """Rows that are read together."""
        return max(1, BLOCK_BYTES // (4 * self.width))

    def read(self, start: int, stop: int) -> np.ndarray:
        """[stop - start, d] float32 activations."""
        with _activations(self.path) as x:
            return np.asarray(x[start:stop], np.float32)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """[n, d] float32 of some rows, in the given order; reads the blocks that hold them."""
        out_nd = np.empty((len(rows), self.width), np.float32)
        block_n = np.asarray(rows) // self.block_rows
        with _activations(self.path) as x:
            for block in np.unique(block_n):
                here, start = np.flatnonzero(block_n == block), int(block) * self.block_rows
                values = np.asarray(x[start : start + self.block_rows], np.float32)
                out_nd[here] = values[np.asarray(rows)[here] - start]
        return out_nd

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """First row and [n, d] activations of every block, in order."""
        with _activations(self.path) as x:
            for start in range(0, len(self), self.block_rows):
                yield start, np.asarray(x[start : start + self.block_rows], np.float32)

    @property
    def content(self) -> str:
        """Hash of the activations, or an empty string where the header carries none."""
        return str((self.header.get("content") or {}).get("X", ""))

    @property
    def checkpoint(self) -> str:
        """Hash of the checkpoint that wrote them, or an empty string where the header carries none."""
        return str((self.header.get("config") or {}).get("checkpoint", ""))


def open_latents(path: str | Path) -> StoredLatents:
    """Open latents-v1 and check them in one pass: the contract, the hash, that all is finite; mean and variance on the way.

    Raises:
        ContractError: If the file is absent, damaged or breaks the contract.
    """
    from vc_contracts.checking import check
    from vc_contracts.content import Digest, verify
    from vc_contracts.tables import Tables

    path = Path(path)
    with raised_as(ContractError):
        obs, var, uns = _tables(path)
        tables = Tables(obs, var, uns, None)
        header = check(tables, "latents", path, counts=False)
        digest = Digest()
        with _activations(path) as x:
            moments = _scan(path, x, (len(obs), len(var)), digest)
        verify(tables, header, path, {"X": digest.hex()})
    return StoredLatents(
        path,
        obs.index.to_numpy().astype(str),
        _column(obs, "kind"),
        _column(obs, "cell_line"),
        _column(obs, "perturbation"),
        _column(obs, "batch"),
        tuple(var.index.astype(str)),
        str(uns["site"]),
        str(uns["model"]),
        header,
        *moments,
    )


def _column(obs: "pd.DataFrame", name: str) -> np.ndarray:
    """[n] strings of a column; empty ones where there is none. Equal values are one object, so a row costs 8 bytes."""
    if name not in obs:
        return np.full(len(obs), "", dtype=object)
    codes, values = obs[name].astype(str).factorize()
    return np.asarray(values, dtype=object)[codes]


def check_enough(stored: StoredLatents, n_features: int) -> None:
    """Refuse activations that no dictionary can be learnt from; a trainer would go on silently.

    Raises:
        InputError: If all dimensions are constant, or there are fewer than four rows per feature.
    """
    least = max(MIN_ROWS, 4 * n_features)
    if not (stored.var_d > 1e-12).any():
        raise InputError(
            f"{stored.path}: expected activations that differ between rows, found every one of the {stored.width} dimensions "
            f"constant over {len(stored)} rows. Was the model trained, and are these the rows that you meant?"
        )
    if len(stored) < least:
        raise InputError(
            f"{stored.path}: expected at least {least} rows for {n_features} features (four each), found {len(stored)}. "
            "Ask for fewer features, or write more rows (more cells, more conditions)."
        )


def _tables(path: Path) -> tuple[Any, Any, dict[str, Any]]:
    """obs, var and uns."""
    from anndata.io import read_elem
    from vc_contracts.store import open_store

    with open_store(path) as store:
        missing = [key for key in ("X", "obs", "var", "uns") if key not in store]
        if missing:
            raise ContractError(path, missing[0], "a part of an AnnData", "nothing", "Write the latents again.")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return read_elem(store["obs"]), read_elem(store["var"]), cast("dict[str, Any]", read_elem(store["uns"]))
        except MemoryError:
            raise
        except Exception as error:  # anndata, zarr and h5py raise nearly every type for damaged files
            raise ContractError(path, "file", "an AnnData", str(error)[:200], "Write the latents again.") from error


@contextlib.contextmanager
def _activations(path: Path) -> Iterator[Any]:
    """X of the file, to be sliced."""
    if path.is_dir():
        import zarr

        yield zarr.open_group(path, mode="r")["X"]
        return
    import h5py

    with h5py.File(path, "r") as file:
        yield file["X"]


def _scan(path: Path, x: Any, shape: tuple[int, int], digest: "Digest") -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and variance of every dimension, and the mean norm of a row; refuses what is no finite float32 matrix."""
    found = tuple(getattr(x, "shape", ()))
    if found != shape or str(getattr(x, "dtype", "")) != "float32":
        raise ContractError(
            path, "X", f"float32, dense, shape {shape}", f"{getattr(x, 'dtype', 'no array')}, shape {found}",
            "Write the latents again.",
        )  # fmt: skip
    n, mean_d, square_d, norm = 0, np.zeros(shape[1]), np.zeros(shape[1]), 0.0
    rows = max(1, BLOCK_BYTES // (4 * max(shape[1], 1)))
    for start in range(0, shape[0], rows):
        try:
            block = np.asarray(x[start : start + rows])
        except (OSError, ValueError, RuntimeError, KeyError) as error:  # what zarr, its codecs and h5py raise
            raise ContractError(
                path, "X", "values that can be read", str(error)[:200], "Copy the file again."
            ) from error
        if not np.isfinite(block).all():
            bad = int((~np.isfinite(block)).sum())
            raise ContractError(
                path, "X", "finite activations", f"{bad} that are not, in rows {start} to {start + len(block) - 1}",
                "Look where the model that wrote them diverged, and write them again.",
            )  # fmt: skip
        digest.add(block)
        values = block.astype(np.float64)
        own_d, m = values.mean(axis=0), len(values)
        gap_d = own_d - mean_d
        square_d += ((values - own_d) ** 2).sum(axis=0) + gap_d**2 * n * m / (n + m)
        mean_d, n = mean_d + gap_d * m / (n + m), n + m
        norm += float(np.linalg.norm(values, axis=1).sum())
    return mean_d, square_d / max(n, 1), norm / max(n, 1)
