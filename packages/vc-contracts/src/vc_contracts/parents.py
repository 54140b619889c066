"""What a file was made from, compared with what is at hand: `parents` of a header hold names and hashes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vc_contracts.content import SWITCH, trusting
from vc_contracts.errors import ContractError
from vc_contracts.hashing import sha256_tree
from vc_contracts.kinds import exists


def check_parent(
    header: Mapping[str, Any], path: str | Path, parent: str | Path, *, only: bool = False, do: str = ""
) -> None:
    """Refuse a file that was made from another version of a file that is at hand.

    A header without parents says nothing, and one that lists the file's hash, under whatever name, agrees. One that lists
    the file's name with another hash does not.

    Args:
        header: Of the file.
        path: Where it lies.
        parent: The file at hand, e.g. the screen of a split.
        only: It is made from nothing else, so another name with another hash does not agree either.
        do: What to do about it.

    Raises:
        ContractError: It was made from something else.
    """
    listed = header.get("parents") or {}
    parent = Path(parent)
    if not listed or trusting() or not exists(parent):
        return
    if not only and parent.name not in listed:
        return
    if sha256_tree(parent) not in listed.values():
        names = ", ".join(sorted(map(str, listed))[:5])
        remedy = do or "Make it again from this one."
        raise ContractError(
            path,
            "contract['parents']",
            f"the hash of {parent}",
            f"those of other content ({names})",
            f"{remedy} {SWITCH}=1 takes it all the same.",
        )


def lists(header: Mapping[str, Any], parent: str | Path) -> bool:
    """Whether a header lists the content of a file, under whatever name."""
    listed = header.get("parents") or {}
    return bool(listed) and exists(Path(parent)) and sha256_tree(parent) in listed.values()
