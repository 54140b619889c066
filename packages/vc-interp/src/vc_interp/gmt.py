"""Gene sets in GMT files: what vc-interp accepts as one."""

from pathlib import Path

from vc_contracts.errors import Refusal
from vc_contracts.text import gmt

from vc_interp.errors import InputError


def read_gmt(path: str | Path) -> dict[str, frozenset[str]]:
    """Gene sets by name; see `vc_contracts.text.gmt.read_gmt`.

    Raises:
        InputError: If the file is no GMT, a set has no name or no genes, or a name occurs twice.
    """
    try:
        return {name: frozenset(genes) for name, genes in gmt.read_gmt(path).items()}
    except Refusal as error:
        raise InputError(str(error)) from error
