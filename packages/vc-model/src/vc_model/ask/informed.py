"""A model of one screen that other screens inform, each as far as it proved to help while targets were held out.

    delta = alone + sum over screens of  w (informed - alone)

`alone` is the model of the screen by itself. `informed` is the same model with the other screen's effects of the same targets
as one more bank (who is alike there?), moved gene by gene along what the target did there, for genes that both measure. The
weight w is the share that least squares gives the correction on effects that neither was fitted on, in [0, 1], and 0 unless
it helps by more than a standard error over targets (`vc_model.anchored.gate`). Targets that no other screen knows, and what
was measured here, get the answer of the screen alone, to the bit.
"""

from dataclasses import dataclass, replace

import numpy as np

from vc_model.anchored.gate import fit_gate
from vc_model.ask.sample import correlation
from vc_model.baselines.singles import noise_weights
from vc_model.doubt.conformal import Conformal
from vc_model.doubt.spread import Spread, fit_spread
from vc_model.errors import TableError
from vc_model.predictor import Fitted, Model, Prediction, join
from vc_model.stored import stored
from vc_model.table.effects import Conditions, Contexts, EffectTable
from vc_model.table.elsewhere import Elsewhere
from vc_model.table.folds import BINS, OutOfFold, keep, recall, target_groups

FEWEST = 5  # targets in common below which nothing tells whether the other screen helps
N_FOLDS = 5  # of targets, over which slopes are judged
PRIOR_ROWS = 5.0  # how many times an average gene's evidence the slope of all genes together counts
N_DRAWS = 1000  # of the bootstrap over targets
MEASURED = BINS.index("measured")
KNOWN_BIN = {BINS.index("unseen"): BINS.index("transfer"), BINS.index("new_line_unseen"): BINS.index("new_line")}


@stored
@dataclass(frozen=True, eq=False)
class FittedSource:
    """Another screen with its weight.

    Attributes:
        effects: What it measured.
        weight: Share of its correction that is let through.
        n: Targets of this screen that it knows, on which that was judged.
        alone: Mean correlation over genes of predicted and measured effects of these while they were held out, without it.
        gain: What it adds to that, at this weight.
        lower: End of the 95 % interval of the gain (bootstrap over targets).
        upper: The other end.
        informed: The model with its effects as a bank; None at weight 0.
        slope_s: [s] how far a gene follows its effect there.
    """

    effects: Elsewhere
    weight: float
    n: int
    alone: float
    gain: float
    lower: float
    upper: float
    informed: Fitted | None
    slope_s: np.ndarray

    def change(self, conditions: Conditions, alone_qg: np.ndarray) -> np.ndarray:
        """[q, g] what is added to the answers of the screen alone for conditions that the other screen knows."""
        if self.informed is None:
            return np.zeros_like(alone_qg)
        change_qg = self.informed.predict(conditions).delta_pg - alone_qg
        change_qg[:, self.effects.own_s] += self.slope_s * self.effects.deviations(conditions)
        return np.float32(self.weight) * change_qg


@stored
@dataclass(frozen=True, eq=False)
class FittedInformed:
    """A fitted model of a screen and what other screens add.

    Attributes:
        base: The model of the screen alone.
        sources: The other screens.
        known_spread: Predictive variance where another screen knows the targets; None where none has a weight.
        accuracy: Mean correlation with measured effects of such conditions while they were held out.
        test_targets_known: Whether other screens may know what a split holds out.
    """

    base: Fitted
    sources: tuple[FittedSource, ...]
    known_spread: Spread | None
    accuracy: float
    test_targets_known: bool = False

    @property
    def name(self) -> str:
        """The model's name."""
        return self.base.name

    @property
    def contexts(self) -> Contexts:
        """Contexts of the screen."""
        return self.base.contexts

    @property
    def spread(self) -> Spread | None:
        """Predictive variance of the screen alone, where its model has one."""
        return getattr(self.base, "spread", None)

    @property
    def fname(self) -> str | None:
        """The file of a user's own model, where it is one."""
        return getattr(self.base, "fname", None)

    @property
    def used(self) -> tuple[FittedSource, ...]:
        """The other screens that have a weight."""
        return tuple(source for source in self.sources if source.weight > 0)

    @property
    def told(self) -> dict[str, object]:
        """What predictions say of where they come from."""
        return {
            "other_screens": {source.effects.name: round(source.weight, 4) for source in self.sources},
            "test_targets_in_other_screens": "known" if self.test_targets_known else "hidden",
        }

    def predict(self, conditions: Conditions) -> Prediction:
        """Predict effects, profiles and variances."""
        said = self.base.predict(conditions)
        if self.known_spread is None:
            return said
        bin_q = self.known_spread.known.bins(conditions)
        delta_qg, informed_q = said.delta_pg.copy(), np.zeros(len(conditions), dtype=bool)
        for source in self.used:
            at = np.flatnonzero(source.effects.knows(conditions) & (bin_q != MEASURED))
            if len(at):
                delta_qg[at] += source.change(conditions.subset(at), said.delta_pg[at])
                informed_q[at] = True
        if not informed_q.any():
            return said
        at = np.flatnonzero(informed_q)
        var_qg = said.var_pg.copy()
        var_qg[at] = self.known_spread.variance(bin_q[at], delta_qg[at])
        conformal, start = _side_by_side(said.conformal, self.known_spread.conformal)
        own_q = start + self.known_spread.conformal.tables(conditions.cell_line, bin_q)
        trained_q = np.isin(conditions.cell_line, self.known_spread.known.lines)
        return replace(
            said,
            delta_pg=delta_qg,
            mean_pg=join(delta_qg, said.base_cg, said.line_p),
            var_pg=var_qg,
            supported_p=said.supported_p | (informed_q & trained_q),
            accuracy_p=np.where(informed_q, np.float32(self.accuracy), said.accuracy_p),
            conformal=conformal,
            table_p=np.where(informed_q, own_q, said.table_p),
        )


@dataclass(frozen=True)
class Informed:
    """A model and the other screens, before fitting.

    Attributes:
        base: The model of the screen alone.
        elsewhere: What other screens measured.
        weights: Weight of each, where the user has set one; None: by what it was worth out of fold.
        test_targets_known: Whether they may know what a split holds out.
    """

    base: Model
    elsewhere: tuple[Elsewhere, ...]
    weights: tuple[float | None, ...] = ()
    test_targets_known: bool = False

    @property
    def name(self) -> str:
        """The model's name."""
        return self.base.name

    def fit(self, train: EffectTable) -> FittedInformed:
        """Fit the screen alone, then with each of the others, and weigh them.

        Raises:
            TableError: If the model leaves no out-of-fold predictions.
        """
        own = replace(train)  # keeps the out-of-fold predictions of the screen alone
        base = self.base.fit(own)
        oof = recall(own, base.name)
        if oof is None:
            raise TableError(f"{base.name}: expected its out-of-fold predictions, found none. Fit another model.")
        alone_mg = oof.delta_mg[base.name]
        weights = self.weights or (None,) * len(self.elsewhere)
        trials = [
            _try(self.base, train, oof, effects, weight)
            for effects, weight in zip(self.elsewhere, weights, strict=True)
        ]
        said_mg, informed_m, found = alone_mg.copy(), np.zeros(len(alone_mg), dtype=bool), {}
        # The one that promises most goes first; each of the others is judged on what is left.
        for at in sorted(range(len(trials)), key=lambda at: -trials[at].promise):
            source, added_mg = _weigh(trials[at], train, oof, alone_mg, said_mg)
            found[at] = source
            if source.weight > 0:
                said_mg[trials[at].at_m] += added_mg
                informed_m[trials[at].at_m] = True
        rows = np.flatnonzero(informed_m)
        spread, accuracy = None, float("nan")
        if len(rows):
            known = OutOfFold(oof.row_m[rows], oof.bin_m[rows], {})
            spread = fit_spread(train, known, said_mg[rows])
            accuracy = float(correlation(said_mg[rows], train.check_pg[oof.row_m[rows]]).mean())
        _keep(train, base.name, oof, alone_mg, said_mg, rows)
        sources = tuple(found[at] for at in range(len(trials)))
        return FittedInformed(base, sources, spread, accuracy, self.test_targets_known)


@dataclass(frozen=True, eq=False)
class _Trial:
    """Another screen before it is weighed: the full correction of the held-out rows that it knows."""

    effects: Elsewhere
    set_weight: float | None
    informed: Fitted | None
    slope_s: np.ndarray
    at_m: np.ndarray
    change_mg: np.ndarray
    promise: float


def _try(base: Model, train: EffectTable, oof: OutOfFold, effects: Elsewhere, weight: float | None) -> _Trial:
    """Fit the model with the other screen's effects as a bank, and see what that changes out of fold."""
    conditions = train.conditions.subset(oof.row_m)
    at_m = np.flatnonzero(effects.knows(conditions) & (oof.bin_m != MEASURED))
    group_m = target_groups(conditions)[at_m]
    no_slope = np.zeros(len(effects.own_s), dtype=np.float32)
    if len(np.unique(group_m)) < (FEWEST if weight is None else 2) or weight == 0:
        return _Trial(
            effects, weight, None, no_slope, at_m, np.zeros((len(at_m), len(train.genes)), np.float32), -np.inf
        )
    banks = (*train.banks, effects.bank)
    table = replace(train, bank=banks[0], more_banks=banks[1:])
    informed = base.fit(table)
    other = recall(table, informed.name)
    if other is None or not (np.array_equal(other.row_m, oof.row_m) and np.array_equal(other.bin_m, oof.bin_m)):
        raise TableError(f"{informed.name}: expected the same folds with another screen as without, found others.")
    alone_mg, with_mg = oof.delta_mg[informed.name][at_m], other.delta_mg[informed.name][at_m]
    row_m = oof.row_m[at_m]
    there_ms = effects.deviations(conditions.subset(at_m))
    # Slopes that the weight is judged with have seen neither these targets nor the controls that judge.
    left_ms = train.half_pg[row_m][:, effects.own_s] - with_mg[:, effects.own_s]
    weight_m, fold_m = noise_weights(train)[row_m], _folds(group_m)
    change_mg = with_mg - alone_mg
    for fold in np.unique(fold_m):
        away, held = fold_m != fold, np.flatnonzero(fold_m == fold)
        slope_s = _slopes(left_ms[away], there_ms[away], weight_m[away])
        change_mg[np.ix_(held, effects.own_s)] += slope_s * there_ms[held]
    error_mg = train.check_pg[row_m] - alone_mg
    promise = float(weight_m @ (2 * error_mg * change_mg - change_mg**2).sum(axis=1))
    return _Trial(effects, weight, informed, _slopes(left_ms, there_ms, weight_m), at_m, change_mg, promise)


def _weigh(
    trial: _Trial, train: EffectTable, oof: OutOfFold, alone_mg: np.ndarray, said_mg: np.ndarray
) -> tuple[FittedSource, np.ndarray]:
    """The other screen with its weight beside those that were weighed before, and [m, g] what it adds to its rows."""
    at_m = trial.at_m
    row_m = oof.row_m[at_m]
    check_mg = train.check_pg[row_m]
    group_m = target_groups(train.conditions.subset(oof.row_m))[at_m]
    weight = trial.set_weight
    if trial.informed is None:
        weight = 0.0
    elif weight is None:
        error_mg = check_mg - said_mg[at_m]
        weight = fit_gate(error_mg, trial.change_mg, noise_weights(train)[row_m], _folds(group_m), group_m)
    added_mg = np.float32(weight) * trial.change_mg
    before_m = correlation(alone_mg[at_m], check_mg)
    gain_m = correlation(alone_mg[at_m] + added_mg, check_mg) - before_m
    gain, lower, upper = _interval(gain_m, group_m)
    informed, slope_s = (trial.informed, trial.slope_s) if weight > 0 else (None, np.zeros_like(trial.slope_s))
    n, alone = len(np.unique(group_m)), float(before_m.mean()) if len(before_m) else 0.0
    return FittedSource(trial.effects, float(weight), n, alone, gain, lower, upper, informed, slope_s), added_mg


def _slopes(left_ms: np.ndarray, there_ms: np.ndarray, weight_m: np.ndarray) -> np.ndarray:
    """[s] float32 least-squares slopes of what is left on the effect elsewhere, pulled to the slope of all genes together."""
    cross_s = np.einsum("m,ms,ms->s", weight_m, left_ms, there_ms, dtype=np.float64)
    size_s = np.einsum("m,ms,ms->s", weight_m, there_ms, there_ms, dtype=np.float64)
    if size_s.sum() <= 0:
        return np.zeros(len(size_s), dtype=np.float32)
    pull = PRIOR_ROWS * size_s.mean()
    return ((cross_s + pull * cross_s.sum() / size_s.sum()) / (size_s + pull)).astype(np.float32)


def _folds(group_m: np.ndarray) -> np.ndarray:
    """[m] fold of each row; rows of one target are in one, and folds have the same number of targets."""
    return np.unique(group_m, return_inverse=True)[1] % N_FOLDS


def _interval(gain_m: np.ndarray, group_m: np.ndarray) -> tuple[float, float, float]:
    """Mean gain and its 95 % interval, bootstrap over targets."""
    if len(gain_m) == 0:
        return 0.0, 0.0, 0.0
    unit_m = np.unique(group_m, return_inverse=True)[1]
    sum_u, n_u = np.bincount(unit_m, weights=gain_m), np.bincount(unit_m)
    draw_du = np.random.default_rng(0).multinomial(len(n_u), np.full(len(n_u), 1 / len(n_u)), N_DRAWS)
    lower, upper = np.quantile((draw_du @ sum_u) / (draw_du @ n_u), [0.025, 0.975])
    return float(gain_m.mean()), float(lower), float(upper)


def _side_by_side(one: Conformal, other: Conformal) -> tuple[Conformal, int]:
    """The tables of both, and where those of the second begin."""
    basis_t = (*one.basis_t, *(f"{basis}, known from another screen" for basis in other.basis_t))
    score_ts, n_t = np.concatenate([one.score_ts, other.score_ts]), np.concatenate([one.n_t, other.n_t])
    together = replace(one, score_ts=score_ts, n_t=n_t, basis_t=basis_t)
    return together, len(one.n_t)


def _keep(
    train: EffectTable, name: str, oof: OutOfFold, alone_mg: np.ndarray, said_mg: np.ndarray, at: np.ndarray
) -> None:
    """Keep out-of-fold predictions: without other screens for what nobody knows, with them for what is seen elsewhere."""
    again = np.isin(oof.bin_m[at], list(KNOWN_BIN))
    kept_mg = alone_mg.copy()
    kept_mg[at[~again]] = said_mg[at[~again]]
    more = at[again]
    bin_m = np.array([KNOWN_BIN[kind] for kind in oof.bin_m[more].tolist()], dtype=np.int64)
    both = OutOfFold(np.concatenate([oof.row_m, oof.row_m[more]]), np.concatenate([oof.bin_m, bin_m]), {})
    keep(train, name, both, np.concatenate([kept_mg, said_mg[more]]))
