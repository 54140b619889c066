"""The header that every contract file carries. Defined in docs/contracts/README.md."""

import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vc_contracts.errors import ContractError, short

MAJOR = 1
"""The major version of every contract that this package knows."""
MAX_JSON = 1 << 30
"""Characters of JSON that are parsed at most."""


def make_header(
    name: str,
    *,
    writer: str,
    parents: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    version_of_contract: str = "1.0",
) -> dict[str, Any]:
    """Header of a contract file.

    Args:
        name: Contract, e.g. `"screen"`.
        writer: Distribution that writes it, e.g. `"vc-data"`.
        parents: File name -> sha256 of what the file was made from.
        config: What made it; must be JSON.
        version_of_contract: `MAJOR.MINOR`.

    Returns:
        The header; `created` is `SOURCE_DATE_EPOCH` where that is set, else now (UTC).
    """
    try:
        writer_version = version(writer)
    except PackageNotFoundError:
        writer_version = "unknown"
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    return {
        "name": name,
        "version": version_of_contract,
        "writer": writer,
        "writer_version": writer_version,
        "created": datetime.fromtimestamp(seconds, UTC).isoformat(),
        "parents": dict(parents or {}),
        "config": dict(config or {}),
    }


def check_header(header: Any, name: str, path: str | Path) -> dict[str, Any]:
    """Check a header (a dictionary, or the JSON text of one) against a contract's name and our major version.

    Raises:
        ContractError: Absent or unreadable header, another name, or a greater major version.
    """
    remake = f"Write the file again with a tool that follows docs/contracts/{name}-v1.md."
    if isinstance(header, str):
        header = parse_json(header, path, "contract")
    if not isinstance(header, dict):
        raise ContractError(path, "contract", "a JSON object", "nothing" if header is None else short(header), remake)
    for key in ("name", "version"):
        if not isinstance(header.get(key), str):
            raise ContractError(path, f"contract[{key!r}]", "a string", short(header.get(key)), remake)
    if header["name"] != name:
        raise ContractError(path, "contract['name']", repr(name), short(header["name"]), f"Pass a {name}-v1 file.")
    major = header["version"].split(".")[0]
    if not (major.isascii() and major.isdecimal() and len(major) < 9 and int(major) >= 1):
        raise ContractError(path, "contract['version']", "MAJOR.MINOR", short(header["version"]), remake)
    if int(major) > MAJOR:
        found = short(header["version"])
        raise ContractError(path, "contract['version']", f"major version {MAJOR} or older", found, "Update to read it.")
    for key in ("parents", "config"):
        if not isinstance(header.get(key, {}), dict):
            raise ContractError(path, f"contract[{key!r}]", "a JSON object", short(header[key]), remake)
    return header


def parse_json(text: str, path: str | Path, field: str) -> Any:
    """Parse JSON of a stranger: nested, endless or odd text is refused like any other broken text.

    Raises:
        ContractError: It is no JSON.
    """
    try:
        if len(text) > MAX_JSON:
            raise ValueError(f"{len(text)} characters of text")
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        found = f"text that is not JSON ({type(error).__name__}: {str(error)[:120]})"
        raise ContractError(path, field, "JSON", found, "Write the file again.") from None
