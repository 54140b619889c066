"""Text files that users bring, read as every command of the project reads them (`vc_contracts.text.lists`)."""

import hashlib
from collections import Counter
from pathlib import Path

from vc_contracts.errors import FieldRefusal
from vc_contracts.text import lists

from vc_featurize.errors import InputError


def read_lines(path: str | Path, what: str) -> list[str]:
    """Lines of a text file, without line ends; gzip is recognised by its content.

    Args:
        path: The file; UTF-8, UTF-16 or latin-1.
        what: What it should hold, for the message, e.g. `"a GMT file"`.

    Raises:
        InputError: If the file does not exist, is empty or is no text.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected {what}. Check the path.")
    try:
        text = lists.read_text(path)
    except FieldRefusal as error:
        raise InputError(f"{path}: expected {what}: {error}") from error
    if not text.strip():
        raise InputError(f"{path}: expected {what}, found an empty file.")
    return text.splitlines()


def read_names(path: str | Path) -> list[str]:
    """Entity names of a list as people save it; see `vc_contracts.text.lists.read_names`.

    Raises:
        InputError: If a name occurs twice, or the file cannot be read.
    """
    read_lines(path, "one name per line")
    names = lists.read_names(path)
    repeated = sorted(name for name, n in Counter(names).items() if n > 1)
    if repeated:
        raise InputError(f"{path}: {len(repeated)} names occur more than once: {repeated[:5]}. Keep one line of each.")
    return names


def sha256_file(path: str | Path) -> str:
    """Sha256 of a file's bytes, as the contract headers record it."""
    with Path(path).open("rb") as fd:
        return hashlib.file_digest(fd, "sha256").hexdigest()
