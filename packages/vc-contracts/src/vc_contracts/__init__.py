"""The file formats of virtual-cell: read and check them, write them whole.

The packages of this project meet in files. This one holds what they share: each format's schema as data, one check, the
header, the hash of a folder, and the writer that leaves nothing half done. It imports none of the others.
"""

from typing import TYPE_CHECKING, Any

from vc_contracts.errors import ContractError, OutputError, Refusal
from vc_contracts.lazy import fetch

if TYPE_CHECKING:
    from vc_contracts.checking import check as check
    from vc_contracts.formats import SCHEMAS as SCHEMAS
    from vc_contracts.hashing import sha256_tree as sha256_tree
    from vc_contracts.header import make_header as make_header
    from vc_contracts.reading import read as read
    from vc_contracts.whole import check_target as check_target
    from vc_contracts.whole import write_whole as write_whole
    from vc_contracts.writing import write as write

__version__ = "1.0.0"

_PLACES = {
    "SCHEMAS": "formats",
    "check": "checking",
    "check_target": "whole",
    "make_header": "header",
    "read": "reading",
    "sha256_tree": "hashing",
    "write": "writing",
    "write_whole": "whole",
}

__all__ = ["ContractError", "OutputError", "Refusal", *sorted(_PLACES)]


def __getattr__(name: str) -> Any:
    """Import on first use, so that a command's help needs none of it."""
    value = fetch(__name__, _PLACES, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
