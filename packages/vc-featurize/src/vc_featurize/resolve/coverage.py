"""What was found for each entity, and a report of what was not."""

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Found:
    """The text behind one entity.

    Attributes:
        text: Sequence or SMILES; None where nothing was found.
        source: Id of the record.
        how: `exact`, `alias`, `id`, ... or why nothing was found.
    """

    text: str | None
    source: str
    how: str


def coverage(found: dict[str, Found], show: int = 5) -> str:
    """How many entities were found and how; the first that were not."""
    ways = Counter(item.how for item in found.values() if item.text is not None)
    gone = [name for name, item in found.items() if item.text is None]
    how = ", ".join(f"{n} by {way}" for way, n in ways.most_common())
    lost = f"; {len(gone)} not found: {', '.join(gone[:show])}{', ...' if len(gone) > show else ''}" if gone else ""
    return f"{len(found) - len(gone)} of {len(found)} found ({how or 'none'}){lost}"
