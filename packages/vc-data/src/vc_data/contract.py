"""What every contract file shares: the header, hashes of parents, and writing whole or not at all.

Decides nothing about a single contract; see `screen.py` and `split.py`. Defined in docs/contracts/README.md.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from vc_data.errors import ContractError, OutputError

VERSION = "1.0"


def make_header(
    name: str, *, parents: dict[str, str] | None = None, config: dict | None = None, version: str = VERSION
) -> dict:
    """Header of a contract file.

    Args:
        name: Contract, e.g. `"screen"`.
        parents: File name -> sha256 of what the file was made from.
        config: What made it; must be JSON.
        version: Of the contract.

    Returns:
        The header; `created` is `SOURCE_DATE_EPOCH` where that is set, else now (UTC).
    """
    from vc_data import __version__

    seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    return {
        "name": name,
        "version": version,
        "writer": "vc-data",
        "writer_version": __version__,
        "created": datetime.fromtimestamp(seconds, UTC).isoformat(),
        "parents": parents or {},
        "config": config or {},
    }


def check_header(header: object, name: str, path: object) -> dict:
    """Check a header (a dictionary, or the JSON text of one) against a contract's name and our major version.

    Raises:
        ContractError: Absent or unreadable header, another name, or a greater major version.
    """
    remake = f"Write the file again with a tool that follows docs/contracts/{name}-v1.md."
    if isinstance(header, str):
        try:
            header = json.loads(header)
        except json.JSONDecodeError as error:
            raise ContractError(path, "contract", "a JSON object", f"text that is not JSON ({error})", remake) from None
    if not isinstance(header, dict):
        raise ContractError(path, "contract", "a JSON object", f"{header!r}", remake)
    for key in ("name", "version"):
        if not isinstance(header.get(key), str):
            raise ContractError(path, f"contract[{key!r}]", "a string", repr(header.get(key)), remake)
    if header["name"] != name:
        raise ContractError(path, "contract['name']", repr(name), repr(header["name"]), f"Pass a {name}-v1 file.")
    major = header["version"].split(".")[0]
    if not major.isdigit():
        raise ContractError(path, "contract['version']", "MAJOR.MINOR", repr(header["version"]), remake)
    if int(major) > int(VERSION.split(".")[0]):
        raise ContractError(
            path, "contract['version']", f"at most {VERSION}", repr(header["version"]), "Update vc-data to read it."
        )
    return header


def sha256_tree(path: str | Path) -> str:
    r"""Hash of a file (its sha256) or of a folder.

    Of a folder: sha256 over the lines `<relative path>\0<sha256 of the file>\n`, sorted by path.
    """
    path = Path(path)
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    total = hashlib.sha256()
    for name in sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()):
        total.update(f"{name}\0{sha256_tree(path / name)}\n".encode())
    return total.hexdigest()


def check_target(path: str | Path, *, overwrite: bool = False) -> Path:
    """Absolute path of an output, checked before any work is done.

    Raises:
        OutputError: The target exists and `overwrite` is false, or its folder does not exist.
    """
    path = Path(path).absolute()
    if path.exists() and not overwrite:
        raise OutputError(path, "output", "a free name", "something there already", "Pass --overwrite or another name.")
    if not path.parent.is_dir():
        raise OutputError(path, "output", "an existing folder to write into", f"no {path.parent}", "Make the folder.")
    return path


@contextlib.contextmanager
def write_whole(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` on success, remove it on any failure or Ctrl-C.

    Args:
        path: Target file or folder.
        overwrite: Replace an existing target; it stays in place until the replacement is whole.

    Raises:
        OutputError: The target exists and `overwrite` is false, or its folder does not exist.
    """
    path = check_target(path, overwrite=overwrite)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    _remove(temporary)
    try:
        yield temporary
        _replace(temporary, path)
    finally:
        _remove(temporary)


def _replace(temporary: Path, path: Path) -> None:
    """Rename; a folder that is in the way steps aside first, because a folder with content cannot be replaced."""
    if not path.is_dir() or path.is_symlink():
        temporary.replace(path)
        return
    aside = path.with_name(f".{path.name}.old-{os.getpid()}")
    path.rename(aside)
    temporary.rename(path)
    _remove(aside)


def _remove(path: Path) -> None:
    """Remove a file or folder if it is there; zarr's writer threads may still be adding files right after Ctrl-C."""
    for attempt in range(20):
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            return
        except OSError:
            if attempt == 19:
                raise
            time.sleep(0.05)
