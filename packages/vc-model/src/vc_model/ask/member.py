"""A user's own model as a member: stacked with a built-in one by what each was worth out of fold.

    delta = (1 - w) built-in + w own,    0 <= w <= 1 for each kind of condition (`vc_model.table.folds.BINS`)

w minimises the squared error on effects that neither member was fitted on (stacked regression, Breiman 1996). Kinds with
few perturbations take the weight of all kinds together; what was measured stays with the built-in model.
"""

from dataclasses import dataclass

import numpy as np

from vc_model.ask.plugin import FittedPlugin, Plugin
from vc_model.ask.sample import mean_noise
from vc_model.doubt.spread import Spread, fit_spread
from vc_model.errors import TableError
from vc_model.predictor import Fitted, Model, Prediction, make_prediction
from vc_model.stored import stored
from vc_model.table.effects import Conditions, Contexts, EffectTable
from vc_model.table.folds import BINS, OutOfFold, keep, recall, units

FEWEST = 5  # perturbations from which on a kind of condition has a weight of its own


@stored
@dataclass(frozen=True, eq=False)
class FittedMembers:
    """A built-in model and a user's own, with weights.

    Attributes:
        name: Of both.
        base: The built-in model.
        own: The user's.
        weight_b: [b] float32 weight of the user's model for each of `BINS`.
        spread: Predictive variance of the two together.
    """

    name: str
    base: Fitted
    own: FittedPlugin
    weight_b: np.ndarray
    spread: Spread

    @property
    def contexts(self) -> Contexts:
        """Contexts both were fitted with."""
        return self.base.contexts

    @property
    def fname(self) -> str:
        """The user's file."""
        return self.own.fname

    def predict(self, conditions: Conditions) -> Prediction:
        """Predict effects, profiles and variances."""
        first, second = self.base.predict(conditions), self.own.predict(conditions)
        bin_q = self.spread.known.bins(conditions)
        weight_q1 = self.weight_b[bin_q][:, None]
        delta_qg = ((1 - weight_q1) * first.delta_pg + weight_q1 * second.delta_pg).astype(np.float32)
        return make_prediction(
            conditions,
            first.base_cg,
            first.contexts,
            delta_qg,
            self.spread.variance(bin_q, delta_qg),
            self.spread.conformal,
            bin_q,
            supported_q=first.supported_p,
        )


@dataclass(frozen=True)
class Members:
    """The two models before fitting.

    Attributes:
        base: A built-in model.
        own: The user's.
    """

    base: Model
    own: Plugin

    @property
    def name(self) -> str:
        """Names of both."""
        return f"{self.base.name}+{self.own.name}"

    def fit(self, train: EffectTable) -> FittedMembers:
        """Fit both on the table, and their weights on what each predicted while it was held out.

        Raises:
            TableError: If one of them left no out-of-fold predictions.
        """
        base, own = self.base.fit(train), self.own.fit(train)
        oof, first_mg, second_mg = _shared(recall(train, base.name), recall(train, own.name), base.name, own.name)
        weight_b = _weights(train, oof, first_mg, second_mg)
        weight_m1 = weight_b[oof.bin_m][:, None]
        delta_mg = ((1 - weight_m1) * first_mg + weight_m1 * second_mg).astype(np.float32)
        keep(train, self.name, oof, delta_mg)
        return FittedMembers(self.name, base, own, weight_b, fit_spread(train, oof, delta_mg))


def _shared(
    one: OutOfFold | None, other: OutOfFold | None, name: str, other_name: str
) -> tuple[OutOfFold, np.ndarray, np.ndarray]:
    """The (row, bin) pairs that both predicted out of fold, and [m, g] predictions of each."""
    if one is None or other is None:
        raise TableError(
            f"{name}: expected out-of-fold predictions of both members, found none of one. Fit another model."
        )
    place = {pair: at for at, pair in enumerate(zip(other.row_m.tolist(), other.bin_m.tolist(), strict=True))}
    pairs = list(zip(one.row_m.tolist(), one.bin_m.tolist(), strict=True))
    at = [at for at, pair in enumerate(pairs) if pair in place]
    theirs = [place[pairs[row]] for row in at]
    return OutOfFold(one.row_m[at], one.bin_m[at], {}), one.delta_mg[name][at], other.delta_mg[other_name][theirs]


def _weights(train: EffectTable, oof: OutOfFold, first_mg: np.ndarray, second_mg: np.ndarray) -> np.ndarray:
    """[b] weights of the second member; rows measured on few cells count less."""
    change_mg = second_mg - first_mg
    error_mg = train.check_pg[oof.row_m] - first_mg
    noise_m = mean_noise(train, oof.row_m) + np.mean(error_mg**2)
    gain_m = np.einsum("mg,mg->m", error_mg, change_mg) / noise_m
    size_m = np.einsum("mg,mg->m", change_mg, change_mg) / noise_m

    def weight(at_m: np.ndarray) -> float:
        size = float(size_m[at_m].sum())
        return float(np.clip(gain_m[at_m].sum() / size, 0, 1)) if size > 1e-12 else 0.0

    unit_m = units(train.conditions)[oof.row_m]
    weight_b = np.full(len(BINS), weight(np.ones(len(oof.row_m), dtype=bool)), dtype=np.float32)
    for kind in range(len(BINS)):
        at_m = oof.bin_m == kind
        if len(np.unique(unit_m[at_m])) >= FEWEST:
            weight_b[kind] = weight(at_m)
    weight_b[BINS.index("measured")] = 0
    return weight_b
