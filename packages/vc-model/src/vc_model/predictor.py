"""The one interface of every model: fit on a table of effects, predict conditions.

Anything with `fit(train) -> fitted` and `fitted.predict(conditions) -> Prediction` can be scored, searched and shipped
like the models here.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import ndtri

from vc_model.effect import Effect
from vc_model.spread import Spread
from vc_model.table import Conditions, Contexts, EffectTable


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says about q conditions.

    Attributes:
        delta_pg: [q, g] float32, effect in log1p CP10k.
        base_pg: [q, g] float32 >= 0, the unperturbed profile of the condition's line.
        mean_pg: [q, g] float32 >= 0, expected profile of the perturbed cells: base plus delta.
        var_pg: [q, g] float32 >= 0, variance of the noise-free delta around `delta_pg`. What counting a finite number of
            cells adds is the scorer's to add, because only the scorer knows how many there are.
        epistemic_pg: [q, g] float32 >= 0, the part of `var_pg` that more training data would remove (the spread of an
            ensemble); zero for models without one.
        supported_p: [q] bool, whether the question resembles the training data; the other answers are extrapolations.
    """

    delta_pg: np.ndarray
    base_pg: np.ndarray
    mean_pg: np.ndarray
    var_pg: np.ndarray
    epistemic_pg: np.ndarray
    supported_p: np.ndarray

    def interval(self, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Central interval of the noise-free effect, lower and upper, both [q, g] float32.

        Args:
            level: Share of effects that should lie inside, in (0, 1).
        """
        half_pg = np.float32(ndtri((1 + level) / 2)) * np.sqrt(self.var_pg)
        return self.delta_pg - half_pg, self.delta_pg + half_pg


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
        contexts = conditions.contexts_or(self.contexts)
        delta_qg = self.effect.delta(conditions)
        return make_prediction(
            conditions, contexts.base_cg, contexts, delta_qg, self.spread.variance(conditions, delta_qg)
        )


def make_prediction(
    conditions: Conditions,
    base_cg: np.ndarray,
    contexts: Contexts,
    delta_qg: np.ndarray,
    var_qg: np.ndarray,
    *,
    epistemic_qg: np.ndarray | None = None,
    supported_q: np.ndarray | None = None,
) -> Prediction:
    """Join effects to the unperturbed profiles.

    Args:
        conditions: The q conditions.
        base_cg: [c, g] unperturbed profiles of the contexts' lines.
        contexts: The contexts that apply to the conditions.
        delta_qg: [q, g] effects.
        var_qg: [q, g] variances.
        epistemic_qg: [q, g] their epistemic part; none without an ensemble.
        supported_q: [q] bool; all by default.
    """
    base_qg = base_cg[contexts.positions(conditions.cell_line)]
    if not conditions.sizes.all():
        var_qg = np.where((conditions.sizes > 0)[:, None], var_qg, 0).astype(np.float32)
    mean_qg = base_qg + delta_qg
    np.maximum(mean_qg, 0, out=mean_qg)
    if epistemic_qg is None:
        epistemic_qg = np.broadcast_to(np.float32(0), var_qg.shape)
    if supported_q is None:
        supported_q = np.ones(len(conditions), dtype=bool)
    return Prediction(delta_qg, base_qg, mean_qg, var_qg, epistemic_qg, supported_q)
