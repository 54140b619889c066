"""The one interface of every model: fit on a table of effects, predict conditions.

Anything with `fit(train) -> fitted` and `fitted.predict(conditions) -> Prediction` can be scored, searched and shipped
like the models here.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vc_model.effect import Effect
from vc_model.spread import Spread
from vc_model.table import Conditions, Contexts, EffectTable


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says about q conditions.

    Attributes:
        delta_pg: [q, g] float32, effect in log1p CP10k.
        mean_pg: [q, g] float32 >= 0, expected profile of the perturbed cells: the line's base profile plus delta.
        var_pg: [q, g] float32 >= 0, variance of the noise-free delta around `delta_pg`. What counting a finite number of
            cells adds is the scorer's to add, because only the scorer knows how many there are.
    """

    delta_pg: np.ndarray
    mean_pg: np.ndarray
    var_pg: np.ndarray


class Fitted(Protocol):
    """A fitted model."""

    contexts: Contexts

    def predict(self, conditions: Conditions) -> Prediction:
        """Predict conditions; an action without targets changes nothing."""
        ...


class Model(Protocol):
    """A model before fitting."""

    name: str

    def fit(self, train: EffectTable) -> Fitted:
        """Fit on training effects alone."""
        ...


@dataclass(frozen=True, eq=False)
class FittedEffect:
    """An `Effect` with its predictive variance; what every baseline becomes when fitted."""

    name: str
    contexts: Contexts
    effect: Effect
    spread: Spread

    def predict(self, conditions: Conditions) -> Prediction:
        """Predict effects, profiles and variances."""
        delta_qg = self.effect.delta(conditions)
        return make_prediction(conditions, self.contexts, delta_qg, self.spread.variance(conditions, delta_qg))


def make_prediction(conditions: Conditions, contexts: Contexts, delta_qg: np.ndarray, var_qg: np.ndarray) -> Prediction:
    """Join effects to the unperturbed profiles.

    Args:
        conditions: The q conditions; their own contexts win over the model's.
        contexts: The model's contexts.
        delta_qg: [q, g] effects.
        var_qg: [q, g] variances.

    Raises:
        TableError: If the conditions' contexts have other genes than the model.
    """
    contexts = conditions.contexts_or(contexts)
    base_qg = contexts.base_cg[contexts.positions(conditions.cell_line)]
    var_qg = np.where((conditions.sizes > 0)[:, None], var_qg, 0).astype(np.float32)
    return Prediction(delta_qg, np.maximum(base_qg + delta_qg, 0), var_qg)
