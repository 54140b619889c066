"""How a perturbation acts, from free text."""

import re

from vc_data.text.plain import plain

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
    (r"crispri|interference", CRISPRI),
    (r"crispra|activation", CRISPRA),
    (r"overexpress|^orf", OVEREXPRESSION),
    (r"crisprko|crisprcut|knockout|^ko$|cas9", KNOCKOUT),
    (r"inhibitor|antagonist|blocker", INHIBITOR),
    (r"agonist|activator", AGONIST),
    (r"degrader|protac", DEGRADER),
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
