"""Names of control cells: the usual ones, which count as controls where nobody says otherwise, and those to ask about.

A name is a control's where it is made of nothing but words for controls, words that say no more (`sgRNA`, `human`, `cells`),
amounts and numbers: `DMSO (0.1%)`, `non-targeting_00012`, `Vehicle control`, `NTC_1|NTC_4`. Short and everyday words with a
number, which may be names of something else (`CTRL_1`, `NT-3`, `sgNT2`, `Media`), count where a file has no plainer ones.
"""

import re

from vc_contracts.text.plain import plain

CONTROL = "control"
"""What screen-v1 calls a control."""
_USUAL = (
    r"negative(?:control|ctrl)s?|neg(?:control|ctrl)s?|controls?|ctrl|ctl|nontarget(?:ing|ed)?|safetargeting|ntc|nt"
    r"|scrambled?|vehicle|dmso|dimethylsulfoxide|mock|pbs|untreated|unperturbed|unstimulated"
)
_NUMBERED = r"negative(?:control|ctrl)|neg(?:control|ctrl)|nontarget(?:ing|ed)?|ntc|scrambled?|dmso"
"""Those that stay what they are with a number behind them."""
_EVERYDAY = r"notarget(?:ing)?|notreatment|nontreated|unstim|nostim(?:ulation)?|veh|media|medium|saline|solvent|scr"
_BEFORE = r"(?:sgrna|grna|crrna|sirna|shrna|guide|sg|si|sh|cr|g)?"
_MORE = r"(?:sgrna|grna|crrna|sirna|shrna|guide|oligo|rna|sg|g|human|mouse|hs|mm|cells?|treated|only|alone|tf){0,4}"
_PERCENT, _HOURS = r"(?:\d+%)?", r"(?:\d+(?:%|hr?s?|hours?))?"
_STRONG = re.compile(
    rf"{_PERCENT}(?:(?:{_USUAL}){_MORE}){{1,4}}{_HOURS}|(?:(?:{_NUMBERED}){_MORE}\d*){{1,4}}|(?:{_NUMBERED}){_MORE}(?:{_USUAL})\d+"
)
_WEAK = re.compile(rf"(?:{_BEFORE}(?:{_USUAL}|{_EVERYDAY}){_MORE}\d*){{1,4}}")
LONGEST = 60
"""Letters that a name of controls has at most; the patterns repeat little, so that no label takes long."""
_SYMBOLS = re.compile(r"G(?:NT|SCR)\d*|(?:NT|SCR)G-?\d*")
"""Names of genes (SCRG1, GNT1) that could as well be guides of controls: no controls by rule."""
_STEM = re.compile(rf"{_USUAL}|{_EVERYDAY}")
_JOINED = re.compile(r"[+|,;&/:]|__")
_SUSPECTS = re.compile(
    r"(?:sg|g)?(?:neg|posctrl|aavs1?|lacz|rosa26|hrosa26|safeharbou?r|safe|safetarget(?:ing)?|intergenic|nogene|nosite"
    r"|onenongenesite|oneintergenicsite|nongene|cuttingcontrol|luciferase|[em]?gfp|mcherry|emptyvector|olfactory|ccr5safe)"
    r"(?:control|ctrl|guide|sgrna|sg)?(?:\d+|[a-d])?"
    r"|un(?:transduced|transfected|infected|edited|modified)|nontransduced|nontransfected|naive|baseline|resting|water|h2o"
    r"|isotype(?:control)?|igg\d?|empty|ev|wildtype|wt|parental|(?:sg|g)?(?:luc\d?|rfp|bfp)"
)


def is_control_name(label: str) -> bool:
    """Whether a label is one of the usual names of control cells, alone, numbered (`NegCtrl0`) or joined (`ctrl+ctrl`)."""
    return control_rank(label) == 2


def control_rank(label: str) -> int:
    """2: a usual name of control cells; 1: one that counts where a file has no usual ones; 0: none of these."""
    parts = [_tight(part) for part in _JOINED.split(label)]
    if not all(parts) or _SYMBOLS.fullmatch(label) or max(map(len, parts)) > LONGEST:
        return 0
    strong = [bool(_STRONG.fullmatch(part)) for part in parts]
    if all(is_strong or _WEAK.fullmatch(part) for part, is_strong in zip(parts, strong, strict=True)):
        return 2 if any(strong) else 1
    return 0


def resembles_control(label: str) -> bool:
    """Whether a label may name controls although it is none of the usual names: `NT_1`, AAVS1, LacZ, safe harbours."""
    return control_rank(label) > 0 or all(_SUSPECTS.fullmatch(_tight(part)) for part in _JOINED.split(label))


def control_stem(label: str) -> str:
    """What labels of one kind of control share: `NegCtrl0`, `NegCtrl1` and `NegCtrl0|NegCtrl1` are one kind."""
    return "".join(_STEM.findall(_tight(_JOINED.split(label)[0])))


def joined_parts(label: str) -> list[str]:
    """What separators that no name of a gene holds join in a label."""
    return [part.strip() for part in _JOINED.split(label)]


def _tight(text: str) -> str:
    return re.sub(r"[.()\[\]]", "", plain(text))
