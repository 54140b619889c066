"""Lists of names and small tables as people save them: any encoding, separator, header, index, quotes, blank lines."""

import csv
import gzip
import io
import zlib
from pathlib import Path

from vc_contracts.errors import FieldRefusal
from vc_contracts.text.plain import clean, plain

MOST_BYTES = 1 << 30
"""Text that is read at most, unpacked."""


_HEADERS = frozenset(
    [
        "gene",
        "genes",
        "genename",
        "genenames",
        "genesymbol",
        "genesymbols",
        "symbol",
        "symbols",
        "geneid",
        "geneids",
        "ensembl",
        "ensemblid",
        "ensemblgeneid",
        "ensgene",
        "feature",
        "features",
        "featurename",
        "featureid",
        "name",
        "names",
        "id",
        "ids",
        "index",
        "x",
        "v1",
        "targetgene",
        "target",
        "targets",
        "perturbation",
        "perturbations",
        "condition",
        "conditions",
        "hgncsymbol",
        "varnames",
        "unnamed:0",
        "panel",
        "genepanel",
        "approvedsymbol",
        "compound",
        "compounds",
        "drug",
        "drugs",
    ]
)
_INDEX_HEADERS = frozenset(["", "index", "unnamed:0", "x", "row", "rownames", "no", "nr", "#"])


class ListError(FieldRefusal):
    """A list or table that cannot be read; save it as plain text."""


def read_text(path: str | Path) -> str:
    """Text of a file (also gzip) in UTF-8 or UTF-16, with or without byte-order mark, or else latin-1.

    Raises:
        ListError: No such file, or one that holds NUL characters and is no text.
    """
    path = Path(path)
    if not path.is_file():
        raise ListError(path, "file", "a text file", "nothing", "Check the path.")
    content = _read_bytes(path)
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    if b"\0" in content[:2]:
        return content.decode("utf-16-le" if content[1:2] == b"\0" else "utf-16-be", "replace")
    if b"\0" in content:
        raise ListError(path, "file", "text", "NUL characters", "Save it as plain text (UTF-8).")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _read_bytes(path: Path) -> bytes:
    """Bytes of a file, unpacked where they are gzip; no more than a text can have."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            content = (gzip.GzipFile(fileobj=file) if packed else file).read(MOST_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ListError(path, "file", "a gzip file", str(error), "Fetch it again.") from error
    if len(content) > MOST_BYTES:
        raise ListError(path, "file", f"at most {MOST_BYTES >> 20} MiB of text", "more", "Check the path.")
    return content


def read_rows(path: str | Path) -> list[list[str]]:
    """Rows of a table, split at the tab, comma or semicolon that its first line (no comment) holds most of; blank rows left out."""
    text = read_text(path).replace("\r\n", "\n").replace("\r", "\n")
    lines = [line for line in text.split("\n") if clean(line)]
    if not lines:
        return []
    first = next((line for line in lines if not line.startswith("#")), lines[0])
    delimiter = max("\t,;", key=first.count)
    try:
        rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise ListError(path, "file", "a table", str(error), "Save it as tab-separated text.") from error
    return [[clean(cell) for cell in row] for row in rows]


def read_names(path: str | Path) -> list[str]:
    """Names of a list: one a line, or the column of a table that a header names, else the first that is no running number.

    Header line (also the `0` of pandas), index column, quotes, blanks, blank lines and lines that begin with `#` are left out;
    order and repeats are kept. One line of several names is a list of them.

    Raises:
        ListError: No such file, no text, or JSON.
    """
    rows = [row for row in read_rows(path) if any(row) and not row[0].startswith("#")]
    if not rows:
        return []
    if rows[0][0][:1] in ("[", "{") and rows[-1][-1][-1:] in ("]", "}"):
        raise ListError(path, "file", "a list with one name a line, or a table", "JSON", "Save it as plain text.")
    width = max(map(len, rows))
    if len(rows) == 1:
        names = [cell for cell in rows[0] if cell and not cell.isdigit()]
        return names if len(names) > 1 else [cell for cell in names or rows[0] if cell]
    column, body = _name_column(rows, width)
    return [row[column] for row in body if len(row) > column and row[column]]


def _name_column(rows: list[list[str]], width: int) -> tuple[int, list[list[str]]]:
    """Where the names stand, and the rows below the header."""
    head = [plain(cell) for cell in rows[0]]
    column = next((i for i, cell in enumerate(head) if cell in _HEADERS and cell not in _INDEX_HEADERS), None)
    has_header = column is not None or head[0] in (_INDEX_HEADERS if width > 1 else _HEADERS)
    if width == 1 and head[0].isdigit():
        has_header = not any(row[0].isdigit() for row in rows[1:])
    body = rows[1:] if has_header else rows
    # R writes no header over the row names, so the header is one shorter than the rows.
    if column is not None and width > len(rows[0]) and all(len(row) == width for row in body):
        column += width - len(rows[0])
    if column is None:
        column = next((i for i in range(width) if not all(_is_number(row, i) for row in body)), 0)
    return column, body


def whole_number(text: str) -> int:
    """A whole number as programs write it: `30`, `30.0`.

    Raises:
        ValueError: It is none.
    """
    number = float(text)
    if not number.is_integer():
        raise ValueError(f"{text!r} is no whole number")
    return int(number)


def _is_number(row: list[str], column: int) -> bool:
    return len(row) <= column or row[column].isdigit()
