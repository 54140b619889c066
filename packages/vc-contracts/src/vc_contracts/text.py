"""Names from files, made harmless before they become a part of a path, a table or a terminal's markup."""

import re
import unicodedata

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

    A sign in front stays, because numbers and gene names begin so.

    Examples:
        >>> table_cell("=HYPERLINK(1)"), table_cell("-1.5"), table_cell("BRCA1")
        ("'=HYPERLINK(1)", '-1.5', 'BRCA1')
    """
    return f"'{value}" if value.startswith(_FORMULA) else value
