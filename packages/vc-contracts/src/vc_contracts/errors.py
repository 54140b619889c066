"""The errors of every package: one base class, and one shape of message."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vc_contracts.bucket.address import shown


class Refusal(ValueError):
    """Anything a package of this project refuses to do; its text says what to do. Command lines exit with 2."""


class FieldRefusal(Refusal):
    """A refusal that says where, expected what, found what, and what to do.

    Args:
        where: File (or function argument) at fault.
        field: Column, array or key inside it.
        expected: What should have been there.
        found: What was there.
        do: The remedy, one sentence.

    Examples:
        >>> print(FieldRefusal("a.h5ad", "obs", "a column 'gene'", "['guide']", "Pass --perturbation COLUMN."))
        a.h5ad: obs: expected a column 'gene', found ['guide']. Pass --perturbation COLUMN.
    """

    def __init__(self, where: str | Path, field: str, expected: str, found: Any, do: str) -> None:
        super().__init__(shown(f"{where}: {field}: expected {expected}, found {found}. {do}"))
        self.parts = (where, field, expected, found, do)


class ContractError(FieldRefusal):
    """A file that breaks its contract (docs/contracts); write it again with a correct writer."""


class OutputError(FieldRefusal):
    """An output that exists, or that cannot be written; choose another name or make room."""


def few(items: Iterable[Any], limit: int = 5) -> str:
    """List at most `limit` offenders and the total, quoted, for use inside a message."""
    items = list(items)
    head = ", ".join(repr(str(item))[:120] for item in items[:limit])
    return head if len(items) <= limit else f"{head} ... ({len(items)} in all)"


def short(value: Any, limit: int = 80) -> str:
    """`repr` of a value, cut; never longer than a message can bear."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # integers of thousands of digits, nested lists
        text = f"a {type(value).__name__}"
    return text if len(text) <= limit else f"{text[:limit]}..."


@contextlib.contextmanager
def raised_as(kind: type[FieldRefusal]) -> Iterator[None]:
    """Raise a `ContractError` of the block as a package's own kind of it."""
    try:
        yield
    except ContractError as error:
        raise kind(*error.parts) from error.__cause__
