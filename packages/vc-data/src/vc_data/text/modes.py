"""How a perturbation acts, from free text."""

import re

from vc_contracts.text.plain import plain

CRISPRI, CRISPRA, OVEREXPRESSION, KNOCKOUT, INHIBITOR, AGONIST, DEGRADER, BINDER, UNKNOWN = range(9)
MODE_NAMES = (
    "crispri",
    "crispra",
    "overexpression",
    "knockout",
    "inhibitor",
    "agonist",
    "degrader",
    "binder",
    "unknown",
)
_MODE_PATTERNS = (
    (r"crispri|crisprknockdown|crisprkd|(?<!rna)interference|krab|zim3|mecp2|dcas9hdac", CRISPRI),
    (r"crispra|activation|vpr|vp64|suntag|dcas9sam|dcas9p300|synergisticactivationmediator|^cas9sam|^sam$", CRISPRA),
    (r"overexpress|^orf|^oe$|cdna", OVEREXPRESSION),
    (r"crisprko|crisprcut|crisprn|knockout|^ko$|(?<!d)cas9|(?<!d)cas12", KNOCKOUT),
    (r"inhibitor|antagonist|blocker", INHIBITOR),
    (r"agonist|activator", AGONIST),
    (r"degrader|protac|degron|dtag$", DEGRADER),
    (r"binder", BINDER),
)
_CHEMICAL = re.compile(r"drug|chemical|compound|molecule|inhibitor|agonist|antagonist|degrader|protac|binder|treatment")


def parse_mode(text: str) -> int:
    """Mode id of screen-v1 for a free text such as 'CRISPRi (high MOI)'; 8 (unknown) where it does not tell."""
    name = plain(text)
    for pattern, mode in _MODE_PATTERNS:
        if re.search(pattern, name):
            return mode
    return UNKNOWN


def is_chemical(text: str) -> bool:
    """Whether a free text (a perturbation type or a column name) speaks of compounds rather than genes."""
    return bool(_CHEMICAL.search(text.casefold()))
