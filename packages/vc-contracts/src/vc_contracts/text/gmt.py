"""Gene sets in GMT files: one set a line, its name, a description and its genes, separated by tabs."""

from pathlib import Path

from vc_contracts.errors import Refusal
from vc_contracts.text.lists import read_text


def read_gmt(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Gene sets of a GMT file, plain or gzip.

    A weight after a comma (`GENE,1.0`, as Enrichr writes) is dropped, repeated genes of one set count once.

    Returns:
        Set name -> its genes, both in file order.

    Raises:
        Refusal: If the file is no GMT, a set has no name or no genes, or a name occurs twice.
    """
    path = Path(path)
    what = "a GMT file (name, description, genes; tab-separated)"
    if not path.is_file():
        raise Refusal(f"{path}: no such file; expected {what}. Check the path.")
    sets: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        name, *rest = (part.strip() for part in line.split("\t"))
        genes = tuple(dict.fromkeys(gene.split(",")[0].strip() for gene in rest[1:] if gene))
        if not name or not genes:
            raise Refusal(
                f"{path}: line {number}: expected a set name, a description and at least one gene, separated by tabs; "
                f"found {line[:60]!r}. Is this a GMT file?"
            )
        if name in sets:
            raise Refusal(f"{path}: line {number}: the set name {name!r} occurs twice. Rename or drop one.")
        sets[name] = genes
    if not sets:
        raise Refusal(f"{path}: expected {what}, found an empty file.")
    return sets
