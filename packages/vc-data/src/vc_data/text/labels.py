"""What the labels of a foreign file mean: which are controls, which are combinations."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from vc_data.text.controls import CONTROL, is_control_name


@dataclass
class Labels:
    """Meaning of every label of a file."""

    target_of: dict[str, str] = field(default_factory=dict)
    """Source label -> targets joined by '+' in sorted order, or 'control'."""
    statements: list[str] = field(default_factory=list)
    """What was changed, for people."""


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
