"""Ensembl gene ids in text."""

import re

# A version is a dot and digits at the end; '_PAR_Y' is no version and stays.
_ENSEMBL = re.compile(r"(ENS[A-Z]*G\d{6,})(\.\d+)?(_PAR_Y)?", re.ASCII)


def strip_version(name: str) -> str:
    """Ensembl id without version; every other name unchanged.

    Examples:
        >>> strip_version("ENSG00000141510.18"), strip_version("ENSG00000002586.20_PAR_Y"), strip_version("AC01.2")
        ('ENSG00000141510', 'ENSG00000002586_PAR_Y', 'AC01.2')
    """
    match = _ENSEMBL.fullmatch(name)
    return name if match is None else match[1] + (match[3] or "")


def is_ensembl(name: str) -> bool:
    """Whether a name is an Ensembl gene id, with or without version."""
    return _ENSEMBL.fullmatch(name) is not None
