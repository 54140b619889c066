"""Names that a package offers at its top and imports when they are first used (PEP 562), so that importing it costs nothing."""

import importlib
from collections.abc import Mapping
from typing import Any


def fetch(package: str, places: Mapping[str, str], name: str) -> Any:
    """One of the names, for a package's `__getattr__`.

    Args:
        package: The package.
        places: Name -> its module below the package, or `module:name there` where that differs.
        name: What is asked for.

    Raises:
        AttributeError: The package offers no such name.
    """
    if name not in places:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    module, _, there = places[name].partition(":")
    return getattr(importlib.import_module(f"{package}.{module}"), there or name)
