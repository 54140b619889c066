"""`anchored`: one Gaussian process over conditions, a term for the perturbed gene itself, and calibrated intervals.

    delta = gp(line, targets), with the target's own entry moved towards the share of its transcripts that the mode leaves

The prior of the Gaussian process is the mean of all perturbations (`gp.py`), which is what it says where nothing else is
known. A stack of baselines, a neural residual and a curve of the dose stood here before; the Gaussian process alone is
level with them or better (docs/results.md).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from vc_model.anchored.direct import DirectEffect, fit_direct
from vc_model.anchored.gp import GaussianProcess, GPConfig, fit_gp, shorten
from vc_model.baselines.singles import noise_weights
from vc_model.doubt.spread import Spread, fit_spread
from vc_model.doubt.support import Support, make_support
from vc_model.predictor import Prediction, join, make_prediction, recalibrate
from vc_model.stored import stored
from vc_model.table.effect import Effect, Parts, combine
from vc_model.table.effects import Conditions, Contexts, EffectTable
from vc_model.table.folds import OutOfFold, all_folds, keep, out_of_fold
from vc_model.table.threads import in_threads

ROWS_AT_ONCE = 512  # conditions that are predicted together
MANY_ROWS = 1000  # training rows from which fewer folds are as good for the intervals
FOLDS_OF_MANY = 3


@stored
@dataclass(frozen=True, kw_only=True)
class AnchoredConfig:
    """Choices of `anchored`."""

    gp: GPConfig = GPConfig()  # noqa: RUF009 frozen, so sharing the default is safe
    """The Gaussian process."""
    n_folds: int = 5
    """Folds of every hold-out."""
    direct: bool = True
    """Whether the perturbed gene itself gets a term of its own."""
    seed: int = 0
    """Deals the folds."""


@stored
@dataclass(frozen=True, eq=False)
class FittedAnchored:
    """A fitted `anchored` model.

    Attributes:
        name: `anchored`.
        config: Its choices.
        contexts: Control profiles it was fitted with.
        gp: The Gaussian process.
        direct: The term of the perturbed gene, or None.
        spread: The predictive variance.
        support: What training speaks about, and how well it did out of fold.
    """

    name: str
    config: AnchoredConfig
    contexts: Contexts
    gp: GaussianProcess
    direct: DirectEffect | None
    spread: Spread
    support: Support

    def predict(self, conditions: Conditions, contexts: Mapping[str, np.ndarray] | None = None) -> Prediction:
        """Predict effects, profiles, variances, and whether the training data speak about the question.

        Args:
            conditions: What to predict.
            contexts: Vectors that describe cell lines, of the kind that `fit` was given; none otherwise.
        """
        if contexts is not None:
            described = (self.contexts if conditions.contexts is None else conditions.contexts).described_by(contexts)
            conditions = replace(conditions, contexts=described)
        used = conditions.contexts_or(self.contexts)
        delta_qg, var_qg, mean_qg = (np.empty((len(conditions), len(used.genes)), np.float32) for _ in range(3))
        bin_q, moved_q = np.zeros(len(conditions), np.int64), np.zeros(len(conditions), bool)
        doubt_q = np.zeros(len(conditions), np.float32)

        def ask(rows: slice) -> None:
            asked = conditions.subset(rows)
            answer = self.gp.ask(asked)
            bin_q[rows], moved_q[rows], doubt_q[rows] = self.spread.known.bins(asked), answer.moved_q, answer.doubt_q
            delta_qg[rows] = combine([(1.0, answer.parts)], asked)
            if self.direct is not None:
                self.direct.apply(delta_qg[rows], asked, used, bin_q[rows], inplace=True)
            self.spread.variance(bin_q[rows], delta_qg[rows], doubt_q[rows], var_qg[rows])
            if self.direct is not None:
                self.direct.widen(var_qg[rows], delta_qg[rows], asked, used, bin_q[rows])
            join(delta_qg[rows], used.base_cg, used.positions(asked.cell_line), mean_qg[rows])

        # In blocks that stay in the cache, on all cores.
        list(in_threads(ask, [slice(at, at + ROWS_AT_ONCE) for at in range(0, len(conditions), ROWS_AT_ONCE)]))
        return make_prediction(
            conditions,
            used.base_cg,
            used,
            delta_qg,
            var_qg,
            self.spread.conformal,
            bin_q,
            doubt=lambda: doubt_q[:, None] * self.gp.variance_g,
            supported_q=self.support.covers(conditions, moved_q),
            accuracy_q=self.support.accuracy(bin_q, moved_q),
            mean_qg=mean_qg,
        )

    def recalibrated(self, table: EffectTable) -> "FittedAnchored":
        """This model with intervals calibrated on measured effects that it was not fitted on (`recalibrate`)."""
        return replace(self, spread=recalibrate(self.predict, self.spread, table))


@dataclass(frozen=True)
class Anchored:
    """The model that has to beat every baseline."""

    config: AnchoredConfig = AnchoredConfig()
    name: str = "anchored"

    def fit(self, train: EffectTable, contexts: Mapping[str, np.ndarray] | None = None) -> FittedAnchored:
        """Fit the Gaussian process, the perturbed gene's term and the variance on training effects alone.

        Args:
            train: Training effects.
            contexts: Cell line -> vector that describes it, from any encoder of unperturbed cells; the lines' control
                profiles by default.
        """
        config = self.config
        train = train if contexts is None else train.described_by(contexts)
        # The term of the perturbed gene does not change the Gaussian process, so models that differ there share it.
        shared = replace(config, direct=False)
        gp, oof, moved_m, doubt_m = train.once(shared, lambda: _fit_gp(train, config))
        delta_mg = oof.delta_mg["gp"]
        direct, apart = None, None
        if config.direct:
            direct = fit_direct(train, oof, delta_mg, noise_weights(train))
            held = train.conditions.subset(oof.row_m)
            delta_mg = direct.apply(delta_mg, held, train.contexts, oof.bin_m)
            apart = direct.entries(held, train.contexts, oof.bin_m)
        keep(train, self.name, oof, delta_mg)
        return FittedAnchored(
            self.name,
            config,
            train.contexts,
            gp,
            direct,
            fit_spread(train, oof, delta_mg, doubt_m, apart),
            make_support(train, oof, delta_mg, moved_m),
        )


@dataclass(frozen=True, eq=False)
class _Beside(Effect):
    """What the Gaussian process says beside its prediction, in columns: what moves it, and its variance."""

    gp: GaussianProcess

    def parts(self, conditions: Conditions) -> Parts:
        answer = self.gp.ask(conditions)
        said_q2 = np.column_stack([answer.moved_q, answer.doubt_q]).astype(np.float32)
        return [(said_q2, np.eye(2, dtype=np.float32))]


def _fit_gp(train: EffectTable, config: AnchoredConfig) -> tuple[GaussianProcess, OutOfFold, np.ndarray, np.ndarray]:
    """The Gaussian process, its out-of-fold predictions, and what moved each of them and its variance, [m] each."""
    whole = fit_gp(train, config.gp)

    def fit(table: EffectTable) -> GaussianProcess:
        return table.once("gp", partial(fit_gp, table, config.gp, start=whole))

    factories: dict[str, Callable[[EffectTable], Effect]] = {"gp": fit, "beside": lambda table: _Beside(fit(table))}
    n_folds = config.n_folds if len(train) < MANY_ROWS else min(config.n_folds, FOLDS_OF_MANY)
    oof = out_of_fold(factories, train, all_folds(train, n_folds, config.seed), progress="out of fold")
    beside_m2 = oof.delta_mg.pop("beside")
    return shorten(whole), oof, beside_m2[:, 0] > 0, beside_m2[:, 1]
