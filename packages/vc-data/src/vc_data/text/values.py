"""Single values in foreign files: blanks, booleans, numbers with units."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vc_contracts.text.plain import BLANKS, clean

NOTHING = frozenset(
    [
        *("", "nan", "none", "na", "n/a", "n.a.", "<na>", "null", "nil", "nat", "#n/a", ".", "?", "+", "*", "missing"),
        *("notavailable", "notapplicable", "blank", "void", "undefined", "novalue", "nodata"),
    ]
)
"""Words for no value, without case, blanks, '-' and '_'."""
NO_CALL = frozenset(
    [
        *(
            "unassigned",
            "notassigned",
            "unassignable",
            "negative",
            "doublet",
            "doublets",
            "multiplet",
            "multiplets",
            "multi",
        ),
        *(
            "multiple",
            "multipleguides",
            "multiguide",
            "notdetected",
            "undetected",
            "lowquality",
            "debris",
            "mixed",
            "unidentified",
            "noidentity",
        ),
        *("ambiguous", "undetermined", "unknown", "unlabeled", "unlabelled", "unmapped", "unclassified", "nocall"),
        *("noguide", "noguides", "nosgrna", "nogrna", "nosgrnadetected", "nonedetected", "noassignment", "nolabel"),
        *(
            "noperturbation",
            "noguidedetected",
            "nosgrnacall",
            "nofeature",
            "nofeaturecall",
            "multiplesgrna",
            "multiplesgrnas",
        ),
        *(
            "multiplegrnas",
            "multiplefeatures",
            "morethanone",
            "morethanoneguide",
            "twosgrnas",
            "toomanyguides",
            "collision",
        ),
        *("lowconf", "lowconfidence", "ambig", "n.d.", "notdetermined", "failed", "fail", "filtered"),
        *(
            "filteredout",
            "excluded",
            "removed",
            "discarded",
            "discard",
            "uncalled",
            "notcalled",
            "multiplesgrnadetected",
        ),
    ]
)
"""Words for a cell whose perturbation was not called, without case, blanks, '-' and '_'."""
_GUIDE_COUNT = re.compile(
    r"[<>]=?\s*\d+|(?:[<>]=?\s*)?\d+\+?[\s_\-]*(?:sgrna|grna|guide|feature|perturbation|target)s?"
)
"""How many guides a cell had, in place of which."""
_TRUE, _FALSE = frozenset(["true", "t", "yes", "y", "1", "1.0"]), frozenset(["false", "f", "no", "n", "0", "0.0"])
# Factor to micromolar.
_MOLAR = {"fm": 1e-9, "pm": 1e-6, "nm": 1e-3, "um": 1.0, "mm": 1e3, "m": 1e6}
# Factor to micrograms per millilitre.
_MASS = {"pg/ml": 1e-6, "ng/ml": 1e-3, "ug/l": 1e-3, "ug/ml": 1.0, "mg/l": 1.0, "mg/ml": 1e3, "g/l": 1e3}
_OTHER_UNITS = (*_MASS, "u/ml", "iu/ml", "%", "x", "gy", "mg/kg", "moi")
_NUMBER = re.compile(r"([<>~=]?\s*[-+]?(?:\d+(?:[.,]\d+)*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\d\s].*)?")
_TUPLE = re.compile(r"\[?\(?['\"].*['\"], *([\d.eE+-]+), *['\"](\S+)['\"]\)?\]?")
"""A compound with its dose as Tahoe-100M writes it: `[('Aspirin', 0.05, 'uM')]`."""


def is_nothing(text: str) -> bool:
    """Whether a text stands for no value (blank, nan, None, NA ...), or has no letter and no digit."""
    return re.sub(r"[\s_\-]+", "", text.casefold()) in NOTHING or not any(map(str.isalnum, text))


def is_no_call(text: str) -> bool:
    """Whether a text says that no perturbation was called (unassigned, Doublet, Negative ...), alone or numbered."""
    return re.sub(r"[\s_\-()\d]+", "", text.casefold()) in NO_CALL or bool(_GUIDE_COUNT.fullmatch(text.casefold()))


def is_no_label(text: str) -> bool:
    """Whether a label names no perturbation: such a word, or only such words joined by a separator."""
    parts = [text, *re.split(r"[+,;|&/:]|_+", text)]
    words = [is_nothing(part) or is_no_call(part) for part in parts]
    return words[0] or (len(words) > 2 and all(words[1:]))


def read_booleans(values: Iterable[Any]) -> dict[object, bool | None] | None:
    """Meaning of every distinct value of a column of true and false; None where one of them is not understood.

    Missing values (also as text) mean None. Spellings may be mixed.

    Examples:
        >>> read_booleans(["TRUE", "f", 1.0, ""])
        {'TRUE': True, 'f': False, 1.0: True, '': None}
        >>> read_booleans(["TRUE", "maybe"]) is None
        True
    """
    meaning: dict[object, bool | None] = {}
    for value in values:
        text = clean(value).casefold()
        if is_nothing(text):
            meaning[value] = None
        elif text in _TRUE or text in _FALSE:
            meaning[value] = text in _TRUE
        else:
            return None
    return meaning


@dataclass(frozen=True)
class Amounts:
    """Doses as numbers in one unit."""

    values: Mapping[str, float]
    """Text -> number; texts for no value are left out."""
    unit: str
    """'' where none is stated."""
    unread: tuple[str, ...] = ()
    """Texts that are no amounts."""
    problem: str = ""
    """Why they have no one meaning, e.g. units that cannot be converted."""


def read_amounts(texts: Iterable[str], units: Mapping[str, str] | None = None) -> Amounts:
    """Read doses such as `0.1uM`, `5 µM`, `0,05` and `1e-3`.

    A comma is a decimal comma, unless every comma of all texts can stand for thousands: then nobody can say. Molar units
    that differ are converted to micromolar, masses in a volume to ug/ml, others must be one.

    Args:
        texts: Distinct texts.
        units: Text -> unit from a column of its own, for texts without unit.
    """
    found: dict[str, tuple[str, str]] = {}
    unread: list[str] = []
    for text in texts:
        inside = _TUPLE.fullmatch(text.strip(BLANKS))
        match = _NUMBER.fullmatch(f"{inside[1]} {inside[2]}" if inside else text.strip(BLANKS))
        unit = "" if match is None else tidy_unit(match[2] or (units or {}).get(text, ""))
        if match is None or (match[2] and unit not in _MOLAR and unit not in _OTHER_UNITS):
            if not is_nothing(text):
                unread.append(text)
            continue
        found[text] = (match[1].lstrip("<>~= "), unit)
    numbers, problem = _read_decimals({text: number for text, (number, _) in found.items()})
    kinds = {unit for _, unit in found.values()}
    for common, factors in (("um", _MOLAR), ("ug/ml", _MASS)):
        if len(kinds) > 1 and kinds <= set(factors):
            values = {text: numbers[text] * factors[unit] for text, (_, unit) in found.items() if text in numbers}
            # Products such as 100 x 0.001 carry a rounding error that would make two doses of one.
            return Amounts(
                {text: float(f"{value:.10g}") for text, value in values.items()}, common, tuple(unread), problem
            )
    if len(kinds - {""}) > 1 or (
        "" in kinds and len(kinds) > 1 and any(numbers.get(t) for t, (_, u) in found.items() if not u)
    ):
        problem = problem or f"units {', '.join(sorted(kind or 'none' for kind in kinds))}"
    return Amounts(numbers, next(iter(sorted(kinds - {""})), ""), tuple(unread), problem)


def tidy_unit(text: str) -> str:
    """A unit without case and blanks, micro as 'u': 'µM' and 'uM' are 'um'."""
    unit = text.replace("\u00b5", "u").replace("\u03bc", "u").casefold().replace(" ", "")
    unit = re.sub(r"(?<=.)[(\[].*[)\]]$", "", unit).strip("()[]")
    words = {"micromolar": "um", "nanomolar": "nm", "millimolar": "mm", "picomolar": "pm", "molar": "m", "microm": "um"}
    if unit.endswith("mol/l"):
        return unit.removesuffix("ol/l") if unit != "mol/l" else "m"
    return words.get(unit, unit)


def _read_decimals(texts: Mapping[str, str]) -> tuple[dict[str, float], str]:
    commas = [number for number in texts.values() if "," in number]
    thousands = [number for number in commas if re.fullmatch(r"[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?", number)]
    if commas and len(thousands) == len(commas):
        return {}, f"commas that may mark thousands or decimals ({', '.join(sorted(set(commas))[:3])})"
    numbers = {}
    for text, number in texts.items():
        try:
            numbers[text] = float(number.replace(",", "."))
        except ValueError:
            return {}, f"a number written as {number!r}"
    return numbers, ""
