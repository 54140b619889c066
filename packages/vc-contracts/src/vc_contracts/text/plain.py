"""Names compared without case, blanks and punctuation."""

import re
import unicodedata
from typing import Any

# Byte-order marks, zero-width and no-break blanks: str.strip leaves some of them in place.
BLANKS = "\ufeff\u200b\u200c\u200d\u2060\u00a0\u3000 \t\r\n\v\f\0"
_SAME = (
    dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"), "-")
    | dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))
    | {0x00B5: "\u03bc"}
)
"""Signs that look alike: dashes that word processors make of '-', marks without width, the micro sign for a Greek mu."""


def clean(value: Any) -> str:
    r"""A value as text without blanks around it; '' for missing values; bytes are decoded.

    Signs that look alike are one: dashes are '-', letters with accents are single signs, marks without width vanish.

    Examples:
        >>> clean(b" TP53 "), clean(float("nan")), clean(None), clean("\ufeffMYC"), clean("HLA\u2013A")
        ('TP53', '', '', 'MYC', 'HLA-A')
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return (value if value.isascii() else unicodedata.normalize("NFC", value.translate(_SAME))).strip(BLANKS)
    # pd.NA has no truth value and is unequal to itself in its own way; NaN and NaT differ from themselves.
    if value is None or type(value).__name__ == "NAType" or value != value:
        return ""
    return str(value).strip(BLANKS)


def plain(text: str) -> str:
    """Text without case, spaces, '-' and '_', for comparing names."""
    return re.sub(r"[\s_\-]+", "", text.casefold())


def is_unnamed(column: str) -> bool:
    """Whether a column is an index that had no name, as pandas calls it when a table is read again."""
    return bool(re.fullmatch(r"|Unnamed: \d+|level_\d+|index", column))


def plain_gene(name: str) -> str:
    """Name of a gene without case and punctuation: `HLA-A`, `HLA.A` and `hla_a` are one; a name of punctuation is itself."""
    return re.sub(r"[^0-9a-z]+", "", name.casefold()) or name


def compound_name(name: str) -> str:
    """A name as screen-v1 can hold it: without blanks around it, '+' as 'plus', because '+' joins targets there.

    Every table that is joined to a screen by name has to be read through this.

    Examples:
        >>> compound_name("(+)-JQ1 "), compound_name("NAD"), compound_name("NAD+")
        ('(plus)-JQ1', 'NAD', 'NADplus')
    """
    return clean(name).replace("+", "plus")
