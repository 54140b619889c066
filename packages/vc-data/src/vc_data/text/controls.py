"""Names of control cells."""

import re

from vc_data.text.plain import plain

CONTROL = "control"
# Compared without case, spaces, '-' and '_'. 'NTC' must match whole: KNTC1 is a gene.
CONTROL_NAMES = frozenset(
    [
        *("control", "controls", "ctrl", "ctl", "negctrl", "negcontrol", "negativecontrol"),
        *("nontargeting", "nontargetingcontrol", "nontarget", "nt", "ntc", "safetargeting", "scramble", "scrambled"),
        *("vehicle", "vehiclecontrol", "dmso", "dmsotf", "mock", "pbs", "untreated", "unperturbed", "unstimulated"),
    ]
)


def is_control_name(label: str) -> bool:
    """Whether a label is one of the usual names of control cells, alone or numbered (`NegCtrl0`) or doubled."""
    if "+" in label:
        return all(is_control_name(part) for part in label.split("+"))
    name = plain(label)
    return name in CONTROL_NAMES or bool(re.fullmatch(r"(nontargeting|negctrl|ntc)\d+", name))


def control_stem(label: str) -> str:
    """What numbered control labels share: `NegCtrl0` and `NegCtrl1` are one kind of control."""
    return re.sub(r"\d+$", "", plain(label.split("+")[0]))
