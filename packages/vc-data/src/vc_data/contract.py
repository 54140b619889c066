"""The contracts as vc-data writes them: header, hashes, and outputs that appear whole. All of it is `vc_contracts`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import vc_contracts.header
from vc_contracts.errors import raised_as
from vc_contracts.hashing import sha256_tree
from vc_contracts.whole import check_target, write_whole

from vc_data.errors import ContractError

VERSION = "1.0"

__all__ = ["VERSION", "check_header", "check_target", "make_header", "sha256_tree", "write_whole"]


def make_header(
    name: str,
    *,
    parents: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    version: str = VERSION,
) -> dict[str, Any]:
    """Header of a contract file that vc-data writes; see `vc_contracts.make_header`."""
    return vc_contracts.header.make_header(
        name, writer="vc-data", parents=parents, config=config, version_of_contract=version
    )


def check_header(header: Any, name: str, path: str | Path) -> dict[str, Any]:
    """Check a header (a dictionary, or the JSON text of one) against a contract's name and our major version.

    Raises:
        ContractError: Absent or unreadable header, another name, or a greater major version.
    """
    with raised_as(ContractError):
        return vc_contracts.header.check_header(header, name, path)
