"""Combinations: which separator joins which names."""

import re
from collections.abc import Callable, Container

SEPARATORS = ("|", ",", ";", "&", "/", ":", "__", "_", " ", "-")
"""Beside '+', which always joins names; the others only between names that are known."""
STRONG = SEPARATORS[:8]
"""Separators that names of genes do not hold."""
_NAME = re.compile(r"[A-Za-z0-9][\w.\-@:/*]*", re.ASCII)
_TAIL = re.compile(r"[a-z]{1,5}\d{0,3}")
_SYMBOL = re.compile(r"[A-Za-z][A-Za-z0-9.\-]{1,14}", re.ASCII)


def split_at_plus(label: str, known: Callable[[str], bool]) -> list[str] | None:
    """Parts of `A+B` and `A + B`; None where the '+' belongs to a name (`(+)-JQ1`, `NAD+`, `Ca2+ ionophore`)."""
    if "+" not in label:
        return None
    parts = [part.strip() for part in label.split("+")]
    if not all(parts):
        return None
    if all(map(known, parts)):
        return parts
    if any(not _NAME.fullmatch(part) for part in parts):
        return None
    even = all(bool(left) == bool(right) for left, right in re.findall(r"(\s*)\+(\s*)", label))
    return parts if even else None


def split_at(label: str, separator: str, known: Callable[[str], bool]) -> list[str] | None:
    """Two or more known names that a separator joins, the fewest there can be; None where there are no such.

    A name may hold the separator itself: `HLA-A-HLA-B` is `HLA-A` and `HLA-B`.
    """
    pieces = [piece.strip() for piece in label.split(separator)]
    if len(pieces) < 2 or len(pieces) > 12 or not all(pieces):
        return None
    best: list[list[str] | None] = [None] * (len(pieces) + 1)
    best[0] = []
    for stop in range(1, len(pieces) + 1):
        for start in range(stop):
            before, name = best[start], separator.join(pieces[start:stop])
            if before is None or (start == 0 and stop == len(pieces)) or not known(name):
                continue
            if best[stop] is None or len(before) + 1 < len(best[stop] or ()):
                best[stop] = [*before, name]
    return best[-1]


def half_known(label: str, separator: str, known: Callable[[str], bool]) -> bool:
    """Whether a label looks like several names of which some are known and others are not."""
    pieces = [piece.strip() for piece in label.split(separator)]
    if len(pieces) < 2 or not all(_SYMBOL.fullmatch(piece) for piece in pieces):
        return False
    n_known = sum(map(known, pieces))
    return 0 < n_known < len(pieces)


def looks_joined(label: str, separator: str) -> bool:
    """Whether a label has the form of two names of genes, known or not."""
    pieces = [piece.strip() for piece in label.split(separator)]
    return len(pieces) == 2 and all(_SYMBOL.fullmatch(piece) for piece in pieces)


def glued(label: str, known: Callable[[str], bool]) -> bool:
    """Whether a label is a known name with letters that no symbol holds glued to it: `TP53xMDM2`, `TP53a`, `koTP53`."""
    for cut in range(2, len(label)):
        head, tail = label[:cut], label[cut:]
        if (
            cut >= 3
            and known(head)
            and (_TAIL.fullmatch(tail) or (tail[0] in "xX" and known(tail[1:]) and len(tail) > 3))
        ):
            return True
        if cut <= 4 and head.islower() and len(tail) >= 3 and known(tail):
            return True
    return False


def half_joined(label: str, own: Container[str]) -> bool:
    """Whether ' + ' stands in a label between a known compound and another."""
    parts = [part.strip() for part in label.split(" + ")]
    return len(parts) > 1 and any(part in own for part in parts)
