"""Names from files, made harmless before they become a part of a path or a table."""

import re
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = ("=", "@", "\t", "\r", "|")


def file_name(name: str, limit: int = 80) -> str:
    """A label as a part of a file name: no separator, no dots in front, no control characters, not endless.

    Examples:
        >>> file_name("../../etc/passwd"), file_name("HepG2 (day 3)"), file_name("")
        ('etc-passwd', 'HepG2 (day 3)', 'unnamed')
    """
    plain = "".join("-" if unicodedata.category(letter)[0] in "CZ" and letter != " " else letter for letter in name)
    plain = re.sub(r'[\\/:*?"<>|]+', "-", plain).strip(" .-")
    plain = re.sub(r"^(\.\.?-)+", "", plain)
    return plain.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore") or "unnamed"


def table_cell(value: str) -> str:
    """A label as a cell of a csv file: a text that a spreadsheet would run as a formula gets an apostrophe in front.

    A sign in front stays where no call follows it, because numbers and names begin so.

    Examples:
        >>> table_cell("=HYPERLINK(1)"), table_cell("+cmd|' /C calc'!A0"), table_cell("-1.5"), table_cell("BRCA1")
        ("'=HYPERLINK(1)", "'+cmd|' /C calc'!A0", '-1.5', 'BRCA1')
    """
    calls = value[:1] in ("+", "-") and any(mark in value for mark in "=|!(@")
    return f"'{value}" if calls or value.startswith(_FORMULA) else value


def file_names(names: Iterable[str]) -> dict[str, str]:
    """As `file_name`, a part of a path for each name, all of them different, whatever the case.

    Examples:
        >>> file_names(["a/b", "a-b", "A-B"])
        {'a/b': 'a-b', 'a-b': 'a-b-2', 'A-B': 'A-B-3'}
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        first = part = file_name(name)
        number = 1
        while part.casefold() in taken:
            number += 1
            part = f"{first}-{number}"
        taken.add(part.casefold())
        found[name] = part
    return found


def safe_table(table: "pd.DataFrame") -> "pd.DataFrame":
    """A table whose labels and headers are cells as `table_cell` makes them; numbers are left as they are."""
    safe = table.rename(columns=lambda name: table_cell(name) if isinstance(name, str) else name)
    for at, column in enumerate(safe.columns):
        values = safe.iloc[:, at]
        if values.dtype.kind not in "biufcmM":
            cells = [table_cell(value) if isinstance(value, str) else value for value in values.tolist()]
            if any(cell is not value for cell, value in zip(cells, values.tolist(), strict=True)):
                safe = safe.assign(**{column: cells}) if safe.columns.is_unique else safe
    return safe
