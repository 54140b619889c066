"""What all contracts share: the header, hashes, and outputs that are either whole or absent."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vc_model.errors import ContractError

if TYPE_CHECKING:
    import anndata

MAJOR = 1  # the major version of every contract this package knows


def make_header(
    name: str, *, parents: Mapping[str, str] | None = None, config: Mapping[str, object] | None = None
) -> dict:
    """The header object of a contract file.

    Args:
        name: Name of the contract, e.g. `predictions`.
        parents: File name -> sha256 of what the file was made from.
        config: What the writer was asked for.

    Returns:
        A JSON-ready object; `created` comes from `SOURCE_DATE_EPOCH` when that is set.
    """
    from importlib.metadata import version

    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    created = datetime.now(UTC) if epoch is None else datetime.fromtimestamp(int(epoch), UTC)
    return {
        "name": name,
        "version": f"{MAJOR}.0",
        "writer": "vc-model",
        "writer_version": version("vc-model"),
        "created": created.isoformat(timespec="seconds"),
        "parents": dict(parents or {}),
        "config": dict(config or {}),
    }


def check_header(path: Path, header: object, name: str) -> dict:
    """Return the header when this package may read the file.

    Args:
        path: The file, for the message.
        header: The header as a JSON string or an object.
        name: The contract expected.

    Raises:
        ContractError: If the header is no JSON object, lacks `name` or `version`, carries another name, or a greater
            major version than 1.
    """
    if isinstance(header, str):
        try:
            header = json.loads(header)
        except json.JSONDecodeError as error:
            raise refusal(path, "contract", "a JSON object", f"text that is no JSON ({error.msg})") from error
    if not isinstance(header, dict):
        raise refusal(path, "contract", "a JSON object with name and version", type(header).__name__)
    for key in ("name", "version"):
        if not isinstance(header.get(key), str):
            raise refusal(path, f"contract.{key}", "a string", repr(header.get(key)))
    if header["name"] != name:
        raise refusal(path, "contract.name", repr(name), repr(header["name"]), "Give the right file.")
    major = header["version"].split(".")[0]
    if not major.isdigit() or int(major) > MAJOR:
        raise refusal(
            path,
            "contract.version",
            f"{MAJOR}.x or older",
            repr(header["version"]),
            "Update vc-model to read this file.",
        )
    return header


def refusal(
    path: Path, field: str, expected: str, found: str, remedy: str = "Write the file again from its source."
) -> ContractError:
    """The one shape of a contract refusal: file, field, expected, found, what to do."""
    return ContractError(f"{path}: {field}: expected {expected}, found {found}. {remedy}")


def hash_path(path: Path) -> str:
    """The sha256 of a file, or of a folder as docs/contracts/README.md defines it."""
    path = Path(path)
    if path.is_dir():
        names = sorted(part.relative_to(path).as_posix() for part in path.rglob("*") if part.is_file())
        lines = "".join(f"{name}\0{_hash_file(path / name)}\n" for name in names)
        return hashlib.sha256(lines.encode()).hexdigest()
    return _hash_file(path)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; it becomes `path` only when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.tmp-{os.getpid()}"
    previous = path.parent / f".{path.name}.old-{os.getpid()}"
    try:
        yield temporary
        if path.is_dir():
            # A folder with content cannot be renamed over, so the older one steps aside until the new one stands.
            path.rename(previous)
        temporary.rename(path)
    finally:
        if previous.exists() and not path.exists():
            previous.rename(path)
        for leftover in (temporary, previous):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)


def write_adata(path: Path, adata: "anndata.AnnData") -> None:
    """Write an AnnData as zarr, or `.h5ad` by its suffix, whole or not at all; an older file there is replaced."""
    with whole(path) as temporary:
        if path.suffix == ".h5ad":
            adata.write_h5ad(temporary)
        else:
            adata.write_zarr(temporary)


def _hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
