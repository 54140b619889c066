"""The page with the table of truth."""

from pathlib import Path


def render(tables: Path) -> str:
    """Stub until the parts exist."""
    return ""
