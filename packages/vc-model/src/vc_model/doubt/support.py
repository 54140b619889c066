"""Whether a question lies inside what the training conditions cover, so that a model can decline to answer.

A condition is supported when its mode and line were seen in training and every target either was perturbed there itself
or is described by features (a measured gene, or an entity of the bank). Everything else is an extrapolation: a number is
given, and flagged.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vc_model.table.effects import Conditions, EffectTable


@dataclass(frozen=True, eq=False)
class Support:
    """What training covered.

    Attributes:
        lines: Trained cell lines.
        modes: Modes of training actions.
        targets: Targets that were perturbed or are described by features.
        largest: Most targets in one action.
        top_dose: Largest dose.
    """

    lines: tuple[str, ...]
    modes: tuple[int, ...]
    targets: tuple[str, ...]
    largest: int
    top_dose: float

    def covers(self, conditions: Conditions) -> np.ndarray:
        """[q] bool; an action without targets is always covered."""
        lines, modes, targets = self._known
        return np.array(
            [
                not action.targets
                or (
                    line in lines
                    and action.mode in modes
                    and len(action.targets) <= max(2, self.largest)
                    and action.dose <= self.top_dose
                    and targets.issuperset(action.targets)
                )
                for line, action in zip(conditions.cell_line.tolist(), conditions.actions, strict=True)
            ],
            dtype=bool,
        )

    @cached_property
    def _known(self) -> tuple[set[str], set[int], set[str]]:
        return set(self.lines), set(self.modes), set(self.targets)


def make_support(table: EffectTable) -> Support:
    """The support of a training table."""
    actions = table.conditions.actions
    known = {target for action in actions for target in action.targets} | set(table.genes)
    for bank in table.banks:
        known |= {name for name, absent in zip(bank.entities, bank.missing_e, strict=True) if not absent}
    return Support(
        table.trained_lines,
        tuple(sorted({action.mode for action in actions})),
        tuple(sorted(known)),
        int(table.conditions.sizes.max(initial=0)),
        float(max((action.dose for action in actions), default=0.0)),
    )
