"""Rules that records name: how labels and doses of one data set are read."""

import ast
from collections.abc import Callable, Sequence

_SENTINEL = (1, -2)
"""Token and value of the first element of every row of Tahoe-100M, which is no gene."""


def control_of_copy(label: str) -> str:
    """Both names that releases of scPerturb give to control cells become one."""
    return "control" if label == "non-targeting" else label


def target_of_guide(label: str) -> str | None:
    """Target of a label such as `SPI1_pDS255`; control for the `(mod)` guides; None for unassigned cells (`*`).

    Source: Adamson et al., Cell 167, 1867-1882 (2016).
    """
    if label == "*":
        return None
    if "(mod)" in label or label in ("control", "non-targeting"):
        return "control"
    return label.rpartition("_p")[0] or label


def target_of_identity(identity: str) -> str | None:
    """Targets of a GEO guide identity: `A_B__A_B` is `A_B`, `A_NegCtrl0__A_NegCtrl0` is `A`; None where not to be used.

    The authors advise against one of the control pairs. Source: Norman et al., Science 365, 786-793 (2019).
    """
    if identity == "NegCtrl1_NegCtrl0__NegCtrl1_NegCtrl0":
        return None
    genes = [part for part in identity.split("__")[0].split("_") if not part.startswith("NegCtrl")]
    return "_".join(genes) or "control"


def name_of_compound(label: str) -> str:
    """A product name without the trailing space some have; vehicle cells are 'control'."""
    return control_of_copy(label.strip())


def read_conc(text: str | float) -> float | None:
    """Dose in uM of a literal such as `[('Bortezomib', 0.05, 'uM')]`; None for several compounds or another unit.

    Raises:
        ValueError: The text is no such literal. It is parsed, never evaluated.
    """
    try:
        entries = [(str(drug), float(dose), str(unit)) for drug, dose, unit in ast.literal_eval(str(text))]
    except (SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f"drugname_drugconc: expected [(name, number, unit)], found {text!r}") from error
    return entries[0][1] if len(entries) == 1 and entries[0][2] == "uM" else None


def drop_sentinel(genes: Sequence[int], values: Sequence[float]) -> tuple[Sequence[int], Sequence[float]]:
    """One row of Tahoe-100M without the leading element that is no gene; rows without it stay as they are."""
    if len(genes) and (int(genes[0]), float(values[0])) == _SENTINEL:
        return genes[1:], values[1:]
    return genes, values


LABELS: dict[str, Callable[[str], str | None]] = {
    "control_of_copy": control_of_copy,
    "name_of_compound": name_of_compound,
    "strip": str.strip,
    "target_of_guide": target_of_guide,
    "target_of_identity": target_of_identity,
}
"""What a record may give as `fix_label`."""

DOSES: dict[str, Callable] = {"read_conc": read_conc}
"""What a record may give as `fix_dose`."""
