"""Names compared without case and punctuation."""

import re


def plain(text: str) -> str:
    """Text without case, spaces, '-' and '_', for comparing names."""
    return re.sub(r"[\s_\-]+", "", text.casefold())


def plain_gene(name: str) -> str:
    """Name of a gene without case and punctuation: `HLA-A`, `HLA.A` and `hla_a` are one; a name of punctuation is itself."""
    return re.sub(r"[^0-9a-z]+", "", name.casefold()) or name
