"""What counts as a protein sequence, and how it is cleaned before any encoder sees it."""

from pathlib import Path

from vc_featurize.errors import InputError
from vc_featurize.text import read_lines

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
KNOWN = frozenset(RESIDUES + "XBUZO")
MAX_UNKNOWN = 0.5


def clean_protein(text: str) -> tuple[str | None, str]:
    """A sequence in upper case with what was changed, or None and the reason.

    White space and one stop at the end are taken off; a stop inside is refused; J (leucine or isoleucine) and letters
    that stand for no residue become X; a sequence with more than half X is refused.
    """
    sequence = "".join(text.split()).upper()
    notes = []
    if sequence.endswith("*"):
        sequence = sequence[:-1]
        notes.append("stop at the end removed")
    if not sequence:
        return None, "empty sequence"
    if "*" in sequence:
        return None, "stop codon inside the sequence"
    foreign = sorted(set(sequence) - KNOWN)
    if foreign:
        sequence = "".join(letter if letter in KNOWN else "X" for letter in sequence)
        notes.append(f"{''.join(foreign)} read as X")
    if sequence.count("X") > MAX_UNKNOWN * len(sequence):
        return None, "more than half of the residues are unknown"
    return sequence, "; ".join(notes)


def windows(sequence: str, size: int, overlap: int) -> list[tuple[int, str]]:
    """Start and text of the windows that cover a sequence; one window where it fits.

    Raises:
        InputError: If the overlap is not smaller than the window.
    """
    if not 0 <= overlap < size:
        raise InputError(f"windows: expected 0 <= overlap < size, found {overlap} and {size}.")
    if len(sequence) <= size:
        return [(0, sequence)]
    starts = [*range(0, len(sequence) - size, size - overlap), len(sequence) - size]
    return [(start, sequence[start : start + size]) for start in starts]


def read_fasta(path: str | Path) -> dict[str, str]:
    """Header line (without `>`) -> sequence, of a plain or gzip FASTA file.

    Raises:
        InputError: If the file is no FASTA, a header is empty or occurs twice.
    """
    records: dict[str, list[str]] = {}
    header = None
    for number, line in enumerate(read_lines(path, "a FASTA file"), start=1):
        if line.startswith(">"):
            header = line[1:].strip()
            if not header or header in records:
                found = "an empty header" if not header else f"the header {header[:60]!r} again"
                raise InputError(f"{path}: line {number}: expected a header that is unique, found {found}.")
            records[header] = []
        elif line.strip():
            if header is None:
                raise InputError(f"{path}: line {number}: expected '>' first, found {line[:40]!r}. Is this FASTA?")
            records[header].append(line.strip())
    return {name: "".join(parts) for name, parts in records.items()}
