"""What all contracts share, as vc-model writes it; all of it is `vc_contracts`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import vc_contracts.header
from vc_contracts.errors import raised_as
from vc_contracts.hashing import sha256_tree as hash_path
from vc_contracts.whole import write_whole

from vc_model.errors import ContractError

if TYPE_CHECKING:
    import anndata

__all__ = ["Config", "Parents", "check_header", "hash_path", "make_header", "refusal", "whole", "write_adata"]

type Parents = Mapping[str, str] | None
"""Name -> sha256 of what a file was made from; its header holds it."""
type Config = Mapping[str, Any] | None
"""How a file was made; its header holds it."""


def make_header(name: str, *, parents: Parents = None, config: Config = None) -> dict[str, Any]:
    """The header of a contract file that vc-model writes; see `vc_contracts.make_header`."""
    return vc_contracts.header.make_header(name, writer="vc-model", parents=parents, config=config)


def check_header(path: Path, header: object, name: str) -> dict[str, Any]:
    """Return the header when this package may read the file.

    Raises:
        ContractError: If the header is no JSON object, lacks `name` or `version`, carries another name, or a greater
            major version than 1.
    """
    with raised_as(ContractError):
        return vc_contracts.header.check_header(header, name, path)


def refusal(
    path: Path, field: str, expected: str, found: str, remedy: str = "Write the file again from its source."
) -> ContractError:
    """The one shape of a contract refusal: file, field, expected, found, what to do."""
    return ContractError(path, field, expected, found, remedy)


@contextmanager
def whole(path: Path, *, kind: str = "file", overwrite: bool = True) -> Iterator[Path]:
    """Give a temporary name beside `path`; it becomes `path` only when the block ends without an error.

    What is there already is replaced only if it is an output of the same kind; see `vc_contracts.write_whole`.
    """
    with write_whole(path, kind=kind, overwrite=overwrite, make_parent=True) as temporary:
        yield temporary


def write_adata(path: Path, adata: "anndata.AnnData", *, kind: str, overwrite: bool = True) -> None:
    """Write an AnnData as zarr, or `.h5ad` by its suffix, whole or not at all."""
    import vc_contracts

    with raised_as(ContractError):
        vc_contracts.write(path, adata, kind, overwrite=overwrite)
