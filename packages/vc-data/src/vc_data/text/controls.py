"""Names of control cells: the usual ones, which count as controls where nobody says otherwise, and those to ask about."""

import re

from vc_contracts.text.plain import plain

CONTROL = "control"
"""What screen-v1 calls a control."""
# Compared without case, spaces, '-' and '_'. 'NTC' must match whole: KNTC1 is a gene.
CONTROL_NAMES = frozenset(
    [
        *("control", "controls", "ctrl", "ctl", "negctrl", "negcontrol", "negativecontrol"),
        *("nontargeting", "nontargetingcontrol", "nontarget", "nt", "ntc", "safetargeting", "scramble", "scrambled"),
        *("vehicle", "vehiclecontrol", "dmso", "dmsotf", "mock", "pbs", "untreated", "unperturbed", "unstimulated"),
    ]
)
_SUSPECTS = re.compile(
    r"(?:sg|g)?(?:non?target(?:ing)?|nt|ntc|neg|negctrl|negativectrl|negcontrol|scr|scramble|ctrl|ctl|control|posctrl"
    r"|aavs1?|lacz|rosa26|hrosa26|safeharbou?r|safe|safetarget(?:ing)?|intergenic|nogene|notarget|nosite|onenongenesite"
    r"|oneintergenicsite|nongene|cuttingcontrol|luc|luciferase|[em]?gfp|rfp|bfp|mcherry|emptyvector|empty|wildtype|parental|un(?:transduced|transfected|infected|edited|modified)|nontransduced|nontransfected"
    r"|olfactory|mock|vehicle|dmso|untreated|unperturbed|ccr5safe)(?:control|ctrl|guide|sgrna|sg)?(?:\d+|[a-d])?"
)


def is_control_name(label: str) -> bool:
    """Whether a label is one of the usual names of control cells, alone or numbered (`NegCtrl0`) or doubled."""
    if "+" in label:
        return all(is_control_name(part) for part in label.split("+"))
    name = plain(label)
    return name in CONTROL_NAMES or bool(re.fullmatch(r"(nontargeting|negctrl|ntc)\d+", name))


def resembles_control(label: str) -> bool:
    """Whether a label may name controls although it is none of the usual names: `NT_1`, AAVS1, LacZ, safe harbours."""
    return is_control_name(label) or bool(_SUSPECTS.fullmatch(plain(label).replace(".", "")))


def control_stem(label: str) -> str:
    """What numbered control labels share: `NegCtrl0` and `NegCtrl1` are one kind of control."""
    return re.sub(r"\d+$", "", plain(label.split("+")[0]))
