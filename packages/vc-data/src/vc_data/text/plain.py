"""Names compared without case and punctuation."""

import re


def plain(text: str) -> str:
    """Text without case, spaces, '-' and '_', for comparing names."""
    return re.sub(r"[\s_\-]+", "", text.casefold())
