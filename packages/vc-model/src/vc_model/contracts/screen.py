"""screen-v1 and splits-v1: the cells of a screen and what is held out of it.

A `Screen` keeps its tables in memory and its counts on disk, unless they were read already; `rows` gives a slice of cells.
So a model that is fitted from a file never even reads a held-out condition.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from vc_contracts.bucket.address import is_address
from vc_contracts.errors import raised_as
from vc_contracts.parents import check_parent
from vc_contracts.rules import CONTROL, PARTS
from vc_contracts.rules import CONTROL_SETS as CONTROL_ROLES
from vc_contracts.store import open_store, open_unclosed
from vc_contracts.targets import TargetTable, read_targets
from vc_contracts.trouble import damage_as

from vc_model.errors import ContractError

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse as sp

__all__ = ["CONTROL", "PARTS", "Screen", "Splits", "read_screen", "read_splits"]
_MEND = "The file is damaged: copy or make it again."
VALUES_PER_BLOCK = 4_000_000  # stored counts checked or read at a time; bounds memory at about 50 MB


@dataclass(frozen=True)
class Screen:
    """An open screen-v1 file.

    Attributes:
        path: Where it lies.
        header: The contract header.
        obs: One row per cell, the contract's columns.
        var: One row per gene.
        groups: (cell_line, perturbation, batch, start, stop), tiling the rows.
        indptr_n: [n + 1] int64, where each cell's counts start.
        target_genes: `uns["target_genes"]`, which gene each target is; '' where the screen does not say.
        counts: [n, g] CSR, the counts themselves where the caller has read them; None: `rows` reads the file.
    """

    path: Path
    header: dict
    obs: "pd.DataFrame"
    var: "pd.DataFrame"
    groups: "pd.DataFrame"
    indptr_n: np.ndarray
    target_genes: str = field(default="", kw_only=True)
    counts: "sp.csr_matrix | None" = field(default=None, kw_only=True)

    @property
    def targets(self) -> TargetTable:
        """Targets and genes, and what else each of them goes by."""
        perturbed = self.obs["target"].astype(str)[~self.obs["is_control"].to_numpy()]
        return read_targets(perturbed.unique(), self.var, self.target_genes)

    def rows(self, start: int, stop: int) -> "sp.csr_matrix":
        """Raw counts of the cells `start:stop`, [stop - start, g] CSR float32."""
        import scipy.sparse as sp

        a, b = int(self.indptr_n[start]), int(self.indptr_n[stop])
        if self.counts is not None:
            data, indices = self.counts.data[a:b], self.counts.indices[a:b].copy()
        else:
            data, indices = self._stored(a, b)
        return sp.csr_matrix(
            (data.astype(np.float32), indices, self.indptr_n[start : stop + 1] - a), shape=(stop - start, len(self.var))
        )

    def _stored(self, a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
        """Counts `a:b` of the file and their columns.

        Raises:
            ContractError: The file has become one that cannot be read, or what describes its arrays was never whole.
        """
        with damage_as(lambda said: ContractError(self.path, "X", "counts that can be read", said, _MEND)):
            if self.path.is_dir() or is_address(self.path):
                data, indices = self._arrays
                return data[a:b], indices[a:b]
            with open_store(self.path, checked=True) as store:
                return store["X/data"][a:b], store["X/indices"][a:b]

    @cached_property
    def _arrays(self) -> tuple[Any, Any]:
        """The two arrays of a zarr folder, opened once: opening a folder parses the metadata of everything in it."""
        import zarr

        if is_address(self.path):
            counts = open_unclosed(self.path, checked=True)["X"]
            return counts["data"], counts["indices"]
        x_dpath = self.path / "X"
        return zarr.open_array(x_dpath / "data", mode="r"), zarr.open_array(x_dpath / "indices", mode="r")

    def blocks(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Cut `start:stop` into row ranges of at most about four million stored counts."""
        while start < stop:
            limit = self.indptr_n[start] + VALUES_PER_BLOCK
            end = int(np.clip(np.searchsorted(self.indptr_n, limit, side="right") - 1, start + 1, stop))
            yield start, end
            start = end


@dataclass(frozen=True)
class Splits:
    """A splits-v1 file: `parts` maps (cell_line, perturbation) to its part, `controls` a role to cell names."""

    path: Path
    header: dict
    recipe: str
    seed: int
    parts: dict[tuple[str, str], str]
    controls: dict[str, tuple[str, ...]]


def slices(rows: np.ndarray, gap: int = 16, most: int = 1024) -> list[np.ndarray]:
    """Ascending rows in groups that are each worth reading as one slice: small gaps, and at most so many rows in all."""
    cut = (np.diff(rows) > gap) | (np.diff(rows // most) > 0)
    return np.split(rows, np.flatnonzero(cut) + 1)


def read_screen(path: Path | str) -> Screen:
    """Open and check a screen.

    Args:
        path: A zarr folder or an `.h5ad` file.

    Returns:
        The screen; counts stay on disk.

    Raises:
        ContractError: For every refusal of docs/contracts/screen-v1.md.
    """
    from vc_contracts.reading import open_checked

    path = Path(path)
    with raised_as(ContractError), open_checked(path, "screen") as (tables, header):
        indptr_n = tables.X.indptr.astype(np.int64)
        link = str(tables.uns.get("target_genes", ""))
        return Screen(path, header, tables.obs, tables.var, tables.uns["groups"], indptr_n, target_genes=link)


def read_splits(path: Path | str, screen: Screen) -> Splits:
    """Read a split and check it against its screen.

    Args:
        path: The JSON file.
        screen: The screen it cuts.

    Raises:
        ContractError: For every refusal of docs/contracts/splits-v1.md, or it was made of another screen.
    """
    import vc_contracts

    path = Path(path)
    with raised_as(ContractError):
        content = vc_contracts.read(path, "splits", screen=screen)
        check_parent(content["contract"], path, screen.path, only=True, do="Split this screen, or pass the other one.")
    parts = {(row["cell_line"], row["perturbation"]): row["part"] for row in content["conditions"]}
    controls = {role: tuple(content["controls"][role]) for role in CONTROL_ROLES}
    return Splits(path, content["contract"], content["recipe"], content["seed"], parts, controls)
