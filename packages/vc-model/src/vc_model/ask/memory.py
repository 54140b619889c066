"""What a model keeps of its training data so that questions can be answered without the screen."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vc_model.ask.again import Again
from vc_model.ask.informed import FittedInformed
from vc_model.ask.precedent import Precedent, make_precedents
from vc_model.ask.relatives import Relatives, fit_relatives
from vc_model.ask.verdict import SeenElsewhere
from vc_model.errors import TableError
from vc_model.predictor import Fitted
from vc_model.stored import stored
from vc_model.table.effect import line_weights
from vc_model.table.effects import MODES, EffectTable
from vc_model.table.folds import KnownActions, OutOfFold, known_actions, recall


@stored
@dataclass(frozen=True, eq=False)
class Memory:
    """A summary of the training table.

    Attributes:
        known: The measured (cell line, action) pairs.
        cells_p: [p] float32, perturbed cells behind each.
        size_p: [p] float32, root mean square over genes of each measured effect.
        lines: Trained cell lines.
        mean_lg: [l + 1, g] float32, mean effect of each line's single perturbations; last: mean over lines.
        relatives: Training targets as vectors.
        precedents: How good the model was out of fold, by class of condition.
        others: Other screens that inform the answers.
    """

    known: KnownActions
    cells_p: np.ndarray
    size_p: np.ndarray
    lines: tuple[str, ...]
    mean_lg: np.ndarray
    relatives: Relatives
    precedents: tuple[Precedent, ...]
    others: tuple[SeenElsewhere, ...] = ()

    @cached_property
    def modes(self) -> dict[int, tuple[float, ...]]:
        """Trained mode -> its doses, rising; (0,) for perturbations without any."""
        doses: dict[int, set[float]] = {}
        for _, action in self.known.pairs:
            doses.setdefault(action.mode, set()).add(action.dose)
        return {mode: tuple(sorted(own)) for mode, own in sorted(doses.items())}

    @property
    def mode_names(self) -> list[str]:
        """Names of the trained modes."""
        return [MODES[mode] for mode in self.modes]

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Every target that was perturbed, alone or in a combination."""
        return tuple(sorted({target for _, action in self.known.pairs for target in action.targets}))


def make_memory(table: EffectTable, fitted: Fitted, again: Again | None = None) -> Memory:
    """Summarise a training table for a model that was just fitted on it.

    Args:
        table: The very table that the model was fitted on; it keeps the model's out-of-fold predictions.
        fitted: The model.
        again: What such a model is worth on conditions that it has seen (`vc_model.ask.again.ask_again`).

    Raises:
        TableError: If the model left no out-of-fold predictions with this table.
    """
    oof = recall(table, fitted.name)
    if oof is None:
        raise TableError(
            f"{fitted.name}: expected its out-of-fold predictions with the training table, found none. "
            "Make the memory from the table that the model was fitted on."
        )
    relatives = fit_relatives(table)
    delta_mg = oof.delta_mg[fitted.name]
    return Memory(
        known_actions(table),
        table.n_cells_p,
        np.sqrt((table.delta_pg**2).mean(axis=1)),
        table.trained_lines,
        line_weights(table, table.single_p, "conditions") @ table.delta_pg,
        relatives,
        make_precedents(table, relatives, oof, delta_mg, _stated_variance(fitted, oof, delta_mg), again),
        _others(fitted),
    )


def _others(fitted: Fitted) -> tuple[SeenElsewhere, ...]:
    """The other screens that have a weight, and what they know."""
    sources = fitted.used if isinstance(fitted, FittedInformed) else ()
    return tuple(SeenElsewhere(one.effects.name, one.effects.lines, one.effects.targets) for one in sources)


def _stated_variance(fitted: Fitted, oof: OutOfFold, delta_mg: np.ndarray) -> np.ndarray:
    """[m] mean over genes of the variance that the fitted model states for its out-of-fold predictions."""
    spread = getattr(fitted, "spread", None)
    if spread is None:
        return np.zeros(len(delta_mg))
    return np.concatenate(
        [
            spread.variance(oof.bin_m[at : at + 512], delta_mg[at : at + 512]).mean(axis=1)
            for at in range(0, len(delta_mg), 512)
        ]
        or [np.zeros(0)]
    )
