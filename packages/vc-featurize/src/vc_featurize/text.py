"""Text files that users bring: UTF-8, plain or gzip. Decides what counts as readable, nothing about their content."""

import gzip
import hashlib
from collections import Counter
from pathlib import Path

from vc_featurize.errors import InputError


def read_lines(path: str | Path, what: str) -> list[str]:
    """Lines of a text file, without line ends; gzip is recognised by its content.

    Args:
        path: The file.
        what: What it should hold, for the message, e.g. `"a GMT file"`.

    Raises:
        InputError: If the file does not exist, is empty or is not UTF-8 text.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected {what}. Check the path.")
    blob = path.read_bytes()
    if blob[:2] == b"\x1f\x8b":
        try:
            blob = gzip.decompress(blob)
        except (OSError, EOFError) as error:
            raise InputError(
                f"{path}: starts like gzip but cannot be unpacked ({error}). Download it again."
            ) from error
    try:
        text = blob.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected {what} as UTF-8 text, found other bytes at {error.start}.") from error
    if "\0" in text:
        raise InputError(f"{path}: expected {what} as text, found zero bytes: this is a binary file.")
    if not text.strip():
        raise InputError(f"{path}: expected {what}, found an empty file.")
    return text.splitlines()


def read_names(path: str | Path) -> list[str]:
    """Entity names, one per line; blank lines are skipped.

    Raises:
        InputError: If a name occurs twice, or the file cannot be read.
    """
    names = [line.strip() for line in read_lines(path, "one name per line") if line.strip()]
    repeated = sorted(name for name, n in Counter(names).items() if n > 1)
    if repeated:
        raise InputError(f"{path}: {len(repeated)} names occur more than once: {repeated[:5]}. Keep one line of each.")
    return names


def sha256_file(path: str | Path) -> str:
    """Sha256 of a file's bytes, as the contract headers record it."""
    with Path(path).open("rb") as fd:
        return hashlib.file_digest(fd, "sha256").hexdigest()
