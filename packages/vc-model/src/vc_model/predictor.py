"""The one interface of every model: fit on a table of effects, predict conditions.

Anything with `fit(train) -> fitted`, whose `fitted` has a `name`, its `contexts` and `predict(conditions) -> Prediction`,
can be scored, searched and shipped like the models here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from vc_model.doubt.conformal import Conformal
from vc_model.doubt.spread import Spread
from vc_model.errors import TableError
from vc_model.stored import stored
from vc_model.table.effect import Effect
from vc_model.table.effects import Conditions, Contexts, EffectTable


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says about q conditions.

    Attributes:
        delta_pg: [q, g] float32, effect in log1p CP10k.
        base_cg: [c, g] float32 >= 0, the unperturbed profiles of the contexts' lines.
        mean_pg: [q, g] float32 >= 0, expected profile of the perturbed cells: base plus delta.
        var_pg: [q, g] float32 >= 0, variance of the noise-free delta around `delta_pg`. What counting a finite number of
            cells adds is the scorer's to add, because only the scorer knows how many there are.
        doubt: Gives the [q, g] epistemic variance when it is asked for, or None for models without one.
        supported_p: [q] bool, whether anything known moved the answer away from the mean of all perturbations, in a line and
            for a kind of action that were trained; the other answers are extrapolations.
        accuracy_p: [q] float32, mean Pearson correlation of predicted and measured effects of such conditions out of fold; NaN
            where that is not known.
        conformal: Calibrated widths of intervals.
        table_p: [q] int, which of its tables holds for each condition.
        contexts: The contexts that apply to the conditions.
        line_p: [q] int, the context of each condition.
    """

    delta_pg: np.ndarray
    base_cg: np.ndarray
    mean_pg: np.ndarray
    var_pg: np.ndarray
    doubt: Callable[[], np.ndarray] | None
    supported_p: np.ndarray
    accuracy_p: np.ndarray
    conformal: Conformal
    table_p: np.ndarray
    contexts: Contexts
    line_p: np.ndarray

    @cached_property
    def base_pg(self) -> np.ndarray:
        """[q, g] float32 >= 0, the unperturbed profile of each condition's line."""
        return self.base_cg[self.line_p]

    @cached_property
    def epistemic_pg(self) -> np.ndarray:
        """[q, g] float32 >= 0, the part of `var_pg` that more training data would remove (the spread of an ensemble).

        Most of the work of a prediction, so it is done when first asked for; zero for models without an ensemble.
        """
        if self.doubt is None:
            return np.broadcast_to(np.float32(0), self.var_pg.shape)
        return np.minimum(self.doubt(), self.var_pg)

    @property
    def aleatoric_pg(self) -> np.ndarray:
        """[q, g] float32, what is left of `var_pg`: how perturbations differ beyond what the model can know of them."""
        return self.var_pg - self.epistemic_pg

    @property
    def basis_p(self) -> list[str]:
        """What the intervals of each condition were calibrated on."""
        return [self.conformal.basis_t[table] for table in self.table_p]

    def noise(self, n_cells: float | np.ndarray, n_controls: float | np.ndarray) -> np.ndarray:
        """[q, g] float32 variance that measuring adds: sigma2 (1 / n_cells + 1 / n_controls).

        sigma2 is the variance over control cells, as where intervals were calibrated, and for genes that controls hardly show at
        least what rare counts have (`vc_model.doubt.noise`). Numbers of cells are part of the
        design of an experiment; they change how sure a measured effect can be, and no predicted effect.

        Args:
            n_cells: Perturbed cells of a condition, planned or counted; one number, or [q] of them.
            n_controls: Control cells that they are compared with, likewise.

        Raises:
            TableError: If a number is not above 0, or there are not q of them.
        """
        n_q, n_controls_q = (np.asarray(given, dtype=np.float64) for given in (n_cells, n_controls))
        for name, given_q in (("n_cells", n_q), ("n_controls", n_controls_q)):
            if given_q.shape not in ((), self.line_p.shape) or not (given_q > 0).all():
                raise TableError(f"{name}: expected one number above 0 or {len(self.line_p)} of them, found {given_q}.")
        share_q = np.broadcast_to(1 / n_q + 1 / n_controls_q, self.line_p.shape).astype(np.float32)
        sigma2_qg, least_g = self.contexts.sigma2_cg[self.line_p], self.conformal.least_g
        return (np.maximum(sigma2_qg, least_g) if len(least_g) else sigma2_qg) * share_q[:, None]

    def expected_error(self, noise_pg: np.ndarray | float = 0.0) -> np.ndarray:
        """[q] float32 root mean square over genes of the error to expect, which ranks conditions.

        Args:
            noise_pg: Variance of measurement, from `noise`, for the error against a measured effect; 0 for the error
                against the noise-free one.
        """
        return np.sqrt((self.var_pg + np.float32(noise_pg)).mean(axis=1))

    def interval(self, level: float = 0.9, noise_pg: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Central interval of each effect, lower and upper, both [q, g] float32.

        Conformal for what a new perturbation of a trained line would measure (`vc_model.doubt.conformal`); without noise, the
        part of it that is about the effect itself. Infinite where too few perturbations were seen to promise the level.

        Args:
            level: Share of a condition's genes inside, on average over conditions, in (0, 1).
            noise_pg: Variance of measurement, from `noise`; 0 for the noise-free effect.
        """
        width_p1 = self.conformal.width(self.table_p, level)[:, None]
        sd_pg = np.sqrt(self.var_pg + np.float32(noise_pg))
        # Where nothing is done nothing is uncertain, however little a level can be promised.
        half_pg = np.multiply(width_p1, sd_pg, out=np.zeros_like(sd_pg), where=sd_pg > 0)
        return self.delta_pg - half_pg, self.delta_pg + half_pg


class Fitted(Protocol):
    """A fitted model."""

    @property
    def name(self) -> str:
        """The model's name, which its prediction files carry."""
        ...

    @property
    def contexts(self) -> Contexts:
        """Contexts it was fitted with; their genes are the model's."""
        ...

    def predict(self, conditions: Conditions) -> Prediction:
        """Predict conditions; an action without targets changes nothing."""
        ...


class Model(Protocol):
    """A model before fitting."""

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    def fit(self, train: EffectTable) -> Fitted:
        """Fit on training effects alone."""
        ...


@stored
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
        delta_qg, bin_q = self.effect.delta(conditions), self.spread.known.bins(conditions)
        var_qg = self.spread.variance(bin_q, delta_qg)
        return make_prediction(conditions, contexts.base_cg, contexts, delta_qg, var_qg, self.spread.conformal, bin_q)

    def recalibrated(self, table: EffectTable) -> "FittedEffect":
        """This model with intervals calibrated on measured effects that it was not fitted on (`recalibrate`)."""
        return replace(self, spread=recalibrate(self.predict, self.spread, table))


def recalibrate(predict: Callable[[Conditions], Prediction], spread: Spread, table: EffectTable) -> Spread:
    """The spread with intervals calibrated on measured effects that the model was not fitted on (split-conformal).

    What makes intervals valid in a cell line without training conditions: measure a few perturbations there.
    Variances stay; kinds of conditions that the table does not hold keep their intervals.

    Args:
        predict: The model's.
        spread: The model's.
        table: Effects over the same genes; their noise enters as it does when intervals are scored.
    """
    prediction, bin_p = predict(table.conditions), spread.known.bins(table.conditions)
    return spread.recalibrated(table, bin_p, prediction.delta_pg, prediction.var_pg)


def join(delta_qg: np.ndarray, base_cg: np.ndarray, line_q: np.ndarray, out_qg: np.ndarray | None = None) -> np.ndarray:
    """[q, g] float32 profiles: each condition's unperturbed profile plus its effect, cut at 0."""
    lines = np.unique(line_q)
    # One line needs no copy of its profile for every condition.
    mean_qg = np.add(delta_qg, base_cg[lines] if len(lines) == 1 else base_cg[line_q], out=out_qg)
    return np.maximum(mean_qg, 0, out=mean_qg)


def make_prediction(
    conditions: Conditions,
    base_cg: np.ndarray,
    contexts: Contexts,
    delta_qg: np.ndarray,
    var_qg: np.ndarray,
    conformal: Conformal,
    bin_q: np.ndarray,
    *,
    doubt: Callable[[], np.ndarray] | None = None,
    supported_q: np.ndarray | None = None,
    accuracy_q: np.ndarray | None = None,
    mean_qg: np.ndarray | None = None,
) -> Prediction:
    """Join effects to the unperturbed profiles.

    Args:
        conditions: The q conditions.
        base_cg: [c, g] unperturbed profiles of the contexts' lines.
        contexts: The contexts that apply to the conditions.
        delta_qg: [q, g] effects.
        var_qg: [q, g] variances.
        conformal: Calibrated widths.
        bin_q: [q] bins of the conditions.
        doubt: Gives the epistemic part of the variances; none without an ensemble.
        supported_q: [q] bool; all by default.
        accuracy_q: [q] accuracy of such conditions out of fold; unknown by default.
        mean_qg: [q, g] what `join` gives, where it was made already.
    """
    line_q = contexts.positions(conditions.cell_line)
    if not conditions.sizes.all():
        var_qg = np.where((conditions.sizes > 0)[:, None], var_qg, 0).astype(np.float32)
    mean_qg = join(delta_qg, base_cg, line_q) if mean_qg is None else mean_qg
    if supported_q is None:
        supported_q = np.ones(len(conditions), dtype=bool)
    if accuracy_q is None:
        accuracy_q = np.full(len(conditions), np.nan, dtype=np.float32)
    return Prediction(
        delta_qg,
        base_cg,
        mean_qg,
        var_qg,
        doubt,
        supported_q,
        accuracy_q,
        conformal,
        conformal.tables(conditions.cell_line, bin_q),
        contexts,
        line_q,
    )
