"""What counts as a DNA sequence of a guide."""

MAX_UNKNOWN = 0.2


def clean_dna(text: str) -> tuple[str | None, str]:
    """Upper-case DNA 5' to 3' with what was changed, or None and the reason; U is read as T, N may be a fifth of it."""
    sequence = "".join(text.split()).upper()
    note = "U read as T" if "U" in sequence else ""
    sequence = sequence.replace("U", "T")
    if not sequence:
        return None, "empty sequence"
    foreign = sorted(set(sequence) - set("ACGTN"))
    if foreign:
        return None, f"letters that are no bases: {''.join(foreign)[:10]}"
    if sequence.count("N") > MAX_UNKNOWN * len(sequence):
        return None, "more than a fifth of the bases are N"
    return sequence, note
