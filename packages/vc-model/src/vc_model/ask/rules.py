"""Which questions get numbers: the verdict on each, how good such answers were, and why some get none."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vc_model.ask.memory import Memory
from vc_model.ask.precedent import Precedent, find
from vc_model.ask.verdict import ELSEWHERE, NOWHERE, Verdicts, judge
from vc_model.errors import VcModelError
from vc_model.table.effects import Conditions

ROWS_AT_ONCE = 1024  # conditions that are predicted together
CHANGES = {"log1p_delta": 0.1, "log_fold_change": 0.1, "z": 2.0, "rank": 0.37}
"""Effect from which on a gene counts as changed, by the space of effects: about a tenth up or down, two standard deviations, or
a place among the first 200."""


@dataclass(frozen=True, kw_only=True)
class AnswerRules:
    """How answers are made.

    Attributes:
        limit: Least share of what repeating the experiment would give that such conditions must have reached out of fold.
        force: Give numbers of every condition, extrapolations included.
        top: Genes that are named up, and down.
        change: Effect from which on a gene counts as changed, in the model's space; default `CHANGES`.
        level: Of intervals.
    """

    limit: float = 0.1
    force: bool = False
    top: int = 10
    change: float | None = None
    level: float = 0.9

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            VcModelError: Naming the field.
        """
        if (
            not 0 <= self.limit <= 1
            or not 0 < self.level < 1
            or self.top < 1
            or (self.change is not None and not self.change > 0)
        ):
            raise VcModelError(
                "rules: expected 0 <= limit <= 1, 0 < level < 1, top >= 1 and change > 0, found "
                f"limit {self.limit}, level {self.level}, top {self.top}, change {self.change}."
            )

    def change_in(self, space: str) -> float:
        """Effect from which on a gene counts as changed."""
        return CHANGES.get(space, 0.1) if self.change is None else self.change


@dataclass(frozen=True, eq=False)
class AnswerPlan:
    """What will be answered, before anything is predicted.

    Attributes:
        conditions: The q questions.
        rules: How answers are made.
        verdicts: What training knows of each.
        found: q times how good such answers were, or None.
        refusals: q times why there is no number, or None where there is one.
    """

    conditions: Conditions
    rules: AnswerRules
    verdicts: Verdicts
    found: list[Precedent | None]
    refusals: list[str | None]

    @property
    def said(self) -> np.ndarray:
        """Positions of the conditions that get numbers."""
        return np.array([row for row, why in enumerate(self.refusals) if why is None], dtype=np.int64)

    def blocks(self) -> Iterator[np.ndarray]:
        """Positions of the conditions that are answered together, `ROWS_AT_ONCE` at most."""
        for start in range(0, len(self.conditions), ROWS_AT_ONCE):
            yield np.arange(start, min(start + ROWS_AT_ONCE, len(self.conditions)))


def plan_answers(memory: Memory, conditions: Conditions, rules: AnswerRules) -> AnswerPlan:
    """Judge conditions and decide which of them get numbers.

    Args:
        memory: What the model knows of its training data.
        conditions: The questions.
        rules: How answers are made.
    """
    verdicts = judge(memory.known, memory.relatives, conditions, memory.others)
    each = list(zip(verdicts.kind_q.tolist(), verdicts.known_q.tolist(), verdicts.new_line_q.tolist(), strict=True))
    found = [find(memory.precedents, kind, new) for kind, _, new in each]
    refusals = [
        None if rules.force else _refusal(kind, known, one, rules)
        for (kind, known, _), one in zip(each, found, strict=True)
    ]
    return AnswerPlan(conditions, rules, verdicts, found, refusals)


def _refusal(kind: int, known: bool, precedent: Precedent | None, rules: AnswerRules) -> str | None:
    """Why a condition gets no numbers, or None."""
    if kind == NOWHERE and not known:
        return "nothing is known of it, so any name would get this answer"
    if precedent is None or precedent.n == 0:
        if kind <= ELSEWHERE:
            return None
        if precedent is not None and precedent.pooled:
            return f"a repeat of this screen correlates {precedent.repeat:.2f} with it, too little to tell how good answers are"
        return "no condition like it could be held out, so its accuracy is not known"
    if precedent.share < rules.limit:
        return f"conditions like it reached {precedent.share:.2f} of what repeating would give, below {rules.limit:g}"
    return None
