"""Whether an answer is more than the mean of all perturbations, and how accurate such answers were.

A condition is supported when its mode and line were seen in training, its size and dose are no extrapolation, and what
is known of its targets moved the prediction away from what is predicted for any target. Everything else is a guess that
is the same for every target: a number is given, and flagged. That a target is listed in a bank is no support.
"""

from dataclasses import dataclass

import numpy as np

from vc_model.stored import stored
from vc_model.table.effects import Conditions, EffectTable
from vc_model.table.folds import BINS, OutOfFold

MIN_ROWS = 5  # held-out conditions below which an accuracy is not stated


@stored
@dataclass(frozen=True, eq=False)
class Support:
    """What training covered.

    Attributes:
        lines: Trained cell lines.
        modes: Modes of training actions.
        largest: Most targets in one action.
        top_dose: Largest dose.
        accuracy_b2: [b, 2] float32, per kind of condition (`BINS`) and whether something moved it: mean Pearson correlation
            of predicted and measured effects out of fold; NaN where fewer than `MIN_ROWS` were held out.
        n_b2: [b, 2] int, conditions behind it.
    """

    lines: tuple[str, ...]
    modes: tuple[int, ...]
    largest: int
    top_dose: float
    accuracy_b2: np.ndarray
    n_b2: np.ndarray

    def covers(self, conditions: Conditions, moved_q: np.ndarray) -> np.ndarray:
        """[q] bool; an action without targets is always covered.

        Args:
            conditions: The questions.
            moved_q: [q] whether what is known of the targets moved the prediction.
        """
        inside_q = [
            line in self.lines
            and action.mode in self.modes
            and len(action.targets) <= max(2, self.largest)
            and action.dose <= self.top_dose
            for line, action in zip(conditions.cell_line.tolist(), conditions.actions, strict=True)
        ]
        return (conditions.sizes == 0) | (np.array(inside_q, dtype=bool) & moved_q)

    def accuracy(self, bin_q: np.ndarray, moved_q: np.ndarray) -> np.ndarray:
        """[q] float32, how accurate predictions of such conditions were out of fold; NaN where nobody knows."""
        return self.accuracy_b2[bin_q, moved_q.astype(np.int64)]


def make_support(table: EffectTable, oof: OutOfFold, delta_mg: np.ndarray, moved_m: np.ndarray) -> Support:
    """The support of a training table.

    Args:
        table: Training effects.
        oof: Which rows were held out in which bin.
        delta_mg: [m, g] the model's out-of-fold predictions.
        moved_m: [m] whether what is known of the targets moved them.
    """
    actions = table.conditions.actions
    said_mg, found_mg = (x - x.mean(axis=1, keepdims=True) for x in (delta_mg, table.check_pg[oof.row_m]))
    size_m = np.linalg.norm(said_mg, axis=1) * np.linalg.norm(found_mg, axis=1)
    # A prediction of no change correlates with nothing.
    r_m = np.einsum("mg,mg->m", said_mg, found_mg) / np.where(size_m > 0, size_m, 1)
    n_b2, total_b2 = np.zeros((len(BINS), 2), np.int64), np.zeros((len(BINS), 2))
    at = oof.bin_m, moved_m.astype(np.int64)
    np.add.at(n_b2, at, 1)
    np.add.at(total_b2, at, r_m)
    accuracy_b2 = np.where(n_b2 >= MIN_ROWS, total_b2 / np.maximum(n_b2, 1), np.nan).astype(np.float32)
    return Support(
        table.trained_lines,
        tuple(sorted({action.mode for action in actions})),
        int(table.conditions.sizes.max(initial=0)),
        float(max((action.dose for action in actions), default=0.0)),
        accuracy_b2,
        n_b2,
    )
