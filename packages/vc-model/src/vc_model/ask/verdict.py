"""What training knows of a question: the class of every condition, before any number is given.

    seen here         this very action was measured in this cell line
    parts seen here   a combination, each single of which was measured in this cell line
    seen elsewhere    the target was measured, in another cell line, with another mode or dose, or in another screen
    a relative seen   a similar target was measured (`vc_model.ask.relatives`)
    nowhere           none of this; the answer is what all perturbations have in common

A combination that was not measured is as well known as the least known of its singles.
"""

from dataclasses import dataclass

import numpy as np

from vc_model.ask.relatives import RELATED, Relatives
from vc_model.stored import stored
from vc_model.table.effects import Action, Conditions
from vc_model.table.folds import BINS, KnownActions

VERDICTS = ("seen here", "parts seen here", "seen elsewhere", "a relative seen", "nowhere")
"""From the best known on."""
HERE, PARTS, ELSEWHERE, RELATIVE, NOWHERE = range(len(VERDICTS))


@stored
@dataclass(frozen=True)
class SeenElsewhere:
    """Another screen that informs a model.

    Attributes:
        name: Of the screen.
        lines: Cell lines that its targets were measured in.
        targets: Its single targets, as the model's screen names them.
    """

    name: str
    lines: tuple[str, ...]
    targets: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Verdicts:
    """The class of q conditions.

    Attributes:
        kind_q: [q] int, position in `VERDICTS`.
        new_line_q: [q] bool, whether the cell line had no training condition.
        known_q: [q] bool, whether anything is known of every target: it was perturbed, is a measured gene or in a bank.
        closest: q times the most similar training targets of the least known target, (name, cosine, worth).
        why: q reasons in words.
    """

    kind_q: np.ndarray
    new_line_q: np.ndarray
    known_q: np.ndarray
    closest: list[list[tuple[str, float, float]]]
    why: list[str]

    @property
    def names(self) -> list[str]:
        """The class of each condition in words."""
        return [VERDICTS[kind] for kind in self.kind_q]


def judge(
    known: KnownActions, relatives: Relatives, conditions: Conditions, others: tuple[SeenElsewhere, ...] = ()
) -> Verdicts:
    """The class of each condition.

    Args:
        known: What was measured in training.
        relatives: Training targets as vectors.
        conditions: The questions.
        others: Other screens that inform the model.
    """
    pairs = set(known.pairs)
    lines_of: dict[tuple[str, ...], list[str]] = {}
    for line, action in known.pairs:
        lines_of.setdefault(action.targets, []).append(line)
    screens_of: dict[str, list[str]] = {}
    for other in others:
        for target in other.targets:
            screens_of.setdefault(target, []).append(f"{', '.join(other.lines[:3])} (screen {other.name})")
    names = sorted({target for action in conditions.actions for target in action.targets})
    row_nk, cosine_nk = relatives.nearest(names)
    worth_nk, informed_n = relatives.worth(cosine_nk), relatives.knows(names)
    at_of = {name: at for at, name in enumerate(names)}

    def single(line: str, action: Action) -> int:
        if (line, action) in pairs:
            return HERE
        if action.targets in lines_of or action.targets[0] in screens_of:
            return ELSEWHERE
        at = at_of[action.targets[0]]
        return RELATIVE if worth_nk[at].max(initial=0) >= RELATED else NOWHERE

    kinds, known_q, closest, why = [], [], [], []
    for line, action in zip(conditions.cell_line.tolist(), conditions.actions, strict=True):
        singles = [Action((target,), action.mode, action.dose) for target in action.targets]
        each = [single(line, one) for one in singles]
        weakest = int(np.argmax(each)) if each else -1
        if not each or (line, action) in pairs:
            kind = HERE
        elif len(each) > 1 and action.targets in lines_of:
            kind = min(ELSEWHERE, max(*each, PARTS))
        else:
            kind = max(*each, PARTS) if len(each) > 1 else each[0]
        kinds.append(kind)
        known_q.append(
            all(
                one.targets in lines_of or one.targets[0] in screens_of or informed_n[at_of[one.targets[0]]]
                for one in singles
            )
        )
        near = at_of[action.targets[weakest]] if each else None
        closest.append([] if near is None else _near(relatives, row_nk[near], cosine_nk[near], worth_nk[near]))
        why.append(_reason(kind, line, action, weakest, closest[-1], lines_of, screens_of, known_q[-1]))
    new_line_q = ~np.isin(conditions.cell_line, known.lines)
    return Verdicts(np.array(kinds, dtype=np.int64), new_line_q, np.array(known_q, dtype=bool), closest, why)


def _near(
    relatives: Relatives, row_k: np.ndarray, cosine_k: np.ndarray, worth_k: np.ndarray
) -> list[tuple[str, float, float]]:
    found = zip(row_k.tolist(), cosine_k.tolist(), worth_k.tolist(), strict=True)
    return [(relatives.targets[row], cosine, worth) for row, cosine, worth in found if cosine > 0]


def _reason(
    kind: int,
    line: str,
    action: Action,
    weakest: int,
    closest: list[tuple[str, float, float]],
    lines_of: dict[tuple[str, ...], list[str]],
    screens_of: dict[str, list[str]],
    known: bool,
) -> str:
    if not action.targets:
        return "nothing is done"
    target = action.targets[weakest]
    if kind == HERE:
        return f"measured in {line}"
    if kind == PARTS:
        return "each part was measured in " + line
    if kind == ELSEWHERE:
        lines = sorted(set(lines_of.get(action.targets, lines_of.get((target,), []))))
        others = [name for name in lines if name != line] or ([f"{line}, with another mode or dose"] if lines else [])
        others += screens_of.get(target, [])
        return f"{target if len(action.targets) > 1 else action.label} was measured in {', '.join(others[:3])}"
    if kind == RELATIVE:
        name, cosine, worth = closest[0]
        return (
            f"{target} resembles {name} (similarity {cosine:.2f}; such effects correlated {worth:.2f} beyond the mean)"
        )
    if not known:
        return f"nothing is known of {target}: it was not perturbed, is no measured gene and in no bank"
    return f"no perturbation like {target} was measured"


def judge_out_of_fold(relatives: Relatives, conditions: Conditions, bin_m: np.ndarray) -> np.ndarray:
    """[m] int, the class that held-out training conditions had while they were held out.

    Relatives are looked for among all other training targets.

    Args:
        relatives: Training targets as vectors.
        conditions: The m held-out conditions.
        bin_m: [m] their bins (`vc_model.table.folds.BINS`) at that time.
    """
    names = sorted({target for action in conditions.actions for target in action.targets})
    worth_n = relatives.worth(relatives.nearest(names, others_only=True)[1]).max(axis=1, initial=0)
    related = dict(zip(names, (worth_n >= RELATED).tolist(), strict=True))
    kinds = []
    for action, kind in zip(conditions.actions, bin_m.tolist(), strict=True):
        name = BINS[kind]
        if name == "measured":
            kinds.append(HERE)
        elif name == "combo_measured":
            kinds.append(PARTS)
        elif name in ("transfer", "new_line"):
            kinds.append(ELSEWHERE)
        else:
            kinds.append(RELATIVE if all(related[target] for target in action.targets) else NOWHERE)
    return np.array(kinds, dtype=np.int64)
