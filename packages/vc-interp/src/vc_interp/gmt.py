"""Gene sets in GMT files: what vc-interp accepts as one."""

from pathlib import Path

from vc_interp.errors import InputError


def read_gmt(path: str | Path) -> dict[str, frozenset[str]]:
    """Gene sets by name: name, description and genes, separated by tabs, one set per line.

    A weight after a comma (`GENE,1.0`, as Enrichr writes) is dropped.

    Raises:
        InputError: If the file is no GMT, a set has no name or no genes, or a name occurs twice.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected gene sets in GMT form. Check the path.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: expected a GMT text file, found binary content. Unpack it first if it is zipped."
        ) from error
    sets: dict[str, frozenset[str]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, *rest = (part.strip() for part in line.split("\t"))
        genes = frozenset(gene.split(",")[0] for gene in rest[1:] if gene)
        if not name or not genes:
            raise InputError(
                f"{path}: line {number}: expected a set name, a description and at least one gene, separated by tabs; "
                f"found {line[:60]!r}. Is this a GMT file?"
            )
        if name in sets:
            raise InputError(f"{path}: line {number}: the set name {name!r} occurs twice. Rename or drop one.")
        sets[name] = genes
    if not sets:
        raise InputError(f"{path}: expected gene sets in GMT form, found an empty file.")
    return sets
