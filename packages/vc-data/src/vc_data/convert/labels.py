"""What the labels of a foreign file mean: which are controls, which are combinations, how a perturbation acts."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

CONTROL = "control"

# Compared without case, spaces, '-' and '_'. 'NTC' must match whole: KNTC1 is a gene.
CONTROL_NAMES = frozenset(
    [
        *("control", "controls", "ctrl", "ctl", "negctrl", "negcontrol", "negativecontrol"),
        *("nontargeting", "nontargetingcontrol", "nontarget", "nt", "ntc", "safetargeting", "scramble", "scrambled"),
        *("vehicle", "vehiclecontrol", "dmso", "dmsotf", "mock", "pbs", "untreated", "unperturbed", "unstimulated"),
    ]
)

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


@dataclass
class Labels:
    """Meaning of every label of a file."""

    target_of: dict[str, str] = field(default_factory=dict)
    """Source label -> targets joined by '+' in sorted order, or 'control'."""
    statements: list[str] = field(default_factory=list)
    """What was changed, for people."""


def plain(text: str) -> str:
    """Text without case, spaces, '-' and '_', for comparing names."""
    return re.sub(r"[\s_\-]+", "", text.casefold())


def is_control_name(label: str) -> bool:
    """Whether a label is one of the usual names of control cells, alone or numbered (`NegCtrl0`) or doubled."""
    if "+" in label:
        return all(is_control_name(part) for part in label.split("+"))
    name = plain(label)
    return name in CONTROL_NAMES or bool(re.fullmatch(r"(nontargeting|negctrl|ntc)\d+", name))


def control_stem(label: str) -> str:
    """What numbered control labels share: `NegCtrl0` and `NegCtrl1` are one kind of control."""
    return re.sub(r"\d+$", "", plain(label.split("+")[0]))


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


def read_labels(
    labels: Iterable[str], controls: Iterable[str], *, known: Iterable[str] = (), separator: str = "auto"
) -> Labels:
    """Turn the labels of a file into targets.

    Combinations are split at '+'. With `auto`, also at '_' where every part is a gene, another label or a control:
    `A_B` is then `A+B`, while `chr9_top_two` stays whole. Parts that name controls vanish (`ctrl+A` is `A`); parts are
    sorted and unique. With `none`, nothing is split and a '+' inside a name becomes 'plus', because '+' joins targets
    in screen-v1.

    Args:
        labels: Distinct labels of the file.
        controls: Those that mark control cells.
        known: Names of genes, for `auto`.
        separator: `auto`, `none`, or the separator itself.
    """
    labels, controls = list(labels), set(controls)
    known = set(known) | set(labels) | controls
    result = Labels()
    underscored, renamed = [], []
    for label in labels:
        if label in controls:
            result.target_of[label] = CONTROL
            continue
        if separator == "none":
            result.target_of[label] = label.replace("+", "plus")
            if "+" in label:
                renamed.append(label)
            continue
        parts = label.split("+" if separator == "auto" else separator)
        if separator == "auto" and len(parts) == 1 and label.count("_"):
            pieces = label.split("_")
            if all(piece in known or is_control_name(piece) for piece in pieces):
                parts = pieces
                underscored.append(label)
        parts = {part.strip().replace("+", "plus") for part in parts} - {""}
        targets = sorted(
            part for part in parts if part not in controls and not (len(parts) > 1 and is_control_name(part))
        )
        result.target_of[label] = "+".join(targets) or CONTROL
    n_combos = sum("+" in target for target in set(result.target_of.values()))
    if n_combos:
        result.statements.append(f"combinations: {n_combos}, targets joined by '+' in sorted order")
    if underscored:
        result.statements.append(f"labels split at '_': {len(underscored)} (e.g. {underscored[0]!r})")
    if renamed:
        result.statements.append(f"'+' in names became 'plus': {len(renamed)} (e.g. {renamed[0]!r})")
    return result
