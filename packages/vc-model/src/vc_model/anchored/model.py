"""`anchored`: stacked out-of-fold anchors, a gated residual, and additivity by construction (model B3).

    delta = dose(stack) + s_bin r1 + s'_bin r2, with the target's own entry moved towards a direct slope

Gates are decided on cross-fitted predictions; where nothing is gained they are 0 and the model is the stack.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from vc_model.anchored.direct import DirectEffect, fit_direct
from vc_model.anchored.dose import DoseGate, fit_dose
from vc_model.anchored.ensemble import Ensemble, fit_members, make_ensemble
from vc_model.anchored.gate import fit_gate
from vc_model.anchored.gp import GaussianProcess, GPConfig, fit_gp, shorten
from vc_model.anchored.residual import Residual, ResidualConfig, train_residuals
from vc_model.anchored.stack import Stack, fit_stack
from vc_model.baselines import effect_factories
from vc_model.baselines.singles import noise_weights
from vc_model.doubt.spread import Spread, fit_spread
from vc_model.doubt.support import Support, make_support
from vc_model.predictor import Prediction, join, make_prediction
from vc_model.table.denoise import Denoised, denoise, shift_of
from vc_model.table.effect import Effect, combine, gather, mean_square
from vc_model.table.effects import Conditions, Contexts, EffectTable
from vc_model.table.folds import (
    BINS,
    Fold,
    OutOfFold,
    all_folds,
    combo_folds,
    keep,
    line_folds,
    out_of_fold,
    target_folds,
    target_groups,
)
from vc_model.table.threads import in_threads

ANCHORS = (
    "mean_effect",
    "pert_mean",
    "txpert_general",
    "knn",
    "lowrank_ridge",
    "feature_ridge",
    "kernel_ridge",
    "additive",
    "additive_scaled",
)
ROWS_AT_ONCE = 512  # conditions that are predicted together


@dataclass(frozen=True, kw_only=True)
class AnchoredConfig:
    """Choices of `anchored`."""

    anchors: tuple[str, ...] = ANCHORS
    """Baselines that are stacked; `mean_effect` must be among them."""
    gp: GPConfig | None = GPConfig()  # noqa: RUF009 frozen, so sharing the default is safe
    """The Gaussian process that is stacked with the baselines as the anchor `gp`, or None for none."""
    n_folds: int = 5
    """Folds of every hold-out."""
    prior_conditions: float = 3.0
    """Conditions that the pull of stacking weights towards the best single anchor is worth."""
    denoise: bool = True
    """Whether anchors are made of posterior means of the measured effects (`vc_model.table.denoise`)."""
    measured: tuple[str, ...] = ("mean_effect", "txpert_general", "additive")
    """Anchors that are also made of the effects as measured: what denoising takes for noise may be many small effects."""
    fallback: bool = True
    """Whether the stack gives way to one scaled anchor where it is not clearly better."""
    doubt: int = 3
    """Main directions of the draws of the stacking weights that are part of the epistemic variance."""
    members: int = 5
    """Half-samples of the targets on which the anchors are refitted; their spread is the other part."""
    residual: ResidualConfig | None = ResidualConfig()  # noqa: RUF009 frozen, so sharing the default is safe
    """The learned residual, or None for none."""
    direct: bool = True
    """Whether the perturbed gene itself gets a term of its own."""
    dose: bool = True
    """Whether a monotone curve of the dose scales effects of conditions that have one."""
    seed: int = 0
    """Deals the folds."""


@dataclass(frozen=True, eq=False)
class FittedAnchored:
    """A fitted `anchored` (or `stacked`) model.

    Attributes:
        name: `anchored` or `stacked`.
        config: Its choices.
        contexts: Control profiles it was fitted with.
        stack: The stacked anchors.
        dose: The curve of the dose, or None.
        residual: The trained residual, or None where no gate opened.
        gate_b2: [b, 2] float32 gates of residual and interaction per bin.
        direct: The term of the perturbed gene, or None.
        spread: The predictive variance.
        ensemble: Anchors refitted on halves of the targets, or None where there are too few.
        shift_cg: [c, g] float32, the contexts' reference profiles belong so much higher (see `denoise`).
        support: What the training conditions cover.
    """

    name: str
    config: AnchoredConfig
    contexts: Contexts
    stack: Stack
    dose: DoseGate | None
    residual: Residual | None
    gate_b2: np.ndarray
    direct: DirectEffect | None
    spread: Spread
    ensemble: Ensemble | None
    shift_cg: np.ndarray
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
        base_cg = np.maximum(used.base_cg + shift_of(used, self.contexts, self.shift_cg), 0)
        delta_qg, var_qg, mean_qg = (np.empty((len(conditions), len(used.genes)), np.float32) for _ in range(3))

        coded: dict[int, np.ndarray] = {}

        def ask(rows: slice) -> tuple[np.ndarray, Callable[[np.ndarray], None]]:
            outs = delta_qg[rows], var_qg[rows], mean_qg[rows]
            return self._ask(conditions.subset(rows), used, base_cg, *outs, coded)

        # In blocks that stay in the cache, on all cores.
        blocks = [slice(at, at + ROWS_AT_ONCE) for at in range(0, len(conditions), ROWS_AT_ONCE)]
        bins, doubts = zip(*in_threads(ask, blocks), strict=True) if blocks else ((np.zeros(0, np.int64),), ())

        def doubt() -> np.ndarray:
            epistemic_qg = np.empty_like(delta_qg)
            list(in_threads(lambda at: doubts[at](epistemic_qg[blocks[at]]), range(len(blocks))))
            return epistemic_qg

        return make_prediction(
            conditions,
            base_cg,
            used,
            delta_qg,
            var_qg,
            self.spread.conformal,
            np.concatenate(bins),
            doubt=doubt,
            supported_q=self.support.covers(conditions),
            mean_qg=mean_qg,
        )

    def _ask(
        self,
        conditions: Conditions,
        contexts: Contexts,
        base_cg: np.ndarray,
        out_qg: np.ndarray,
        var_qg: np.ndarray,
        mean_qg: np.ndarray,
        coded: dict[int, np.ndarray],
    ) -> tuple[np.ndarray, Callable[[np.ndarray], None]]:
        """Write effects, variances and profiles; return the bins, and what writes the epistemic variance."""
        bin_q = self.stack.known.bins(conditions)
        parts, *doubts = self.stack.parts_and_doubts(conditions)
        delta_qg, doubt_q = combine([(1.0, parts)], conditions), mean_square(doubts, conditions)
        factor_q = np.ones(len(conditions), np.float32) if self.dose is None else self.dose.factor(conditions)
        if self.dose is not None:
            delta_qg *= factor_q[:, None]
            doubt_q *= factor_q**2
        gate_q2 = self.gate_b2[bin_q]
        if self.residual is not None and gate_q2.any():
            # Conditions whose gates are shut keep the stack's numbers to the bit.
            at = np.flatnonzero(gate_q2.any(axis=1) & (conditions.sizes > 0))
            r1_qg, r2_qg = self.residual.delta(conditions.subset(at), bin_q[at])
            delta_qg[at] += gate_q2[at, :1] * r1_qg + gate_q2[at, 1:] * r2_qg
        if self.direct is not None:
            delta_qg = self.direct.apply(delta_qg, conditions, contexts, bin_q, inplace=True)
        out_qg[:] = delta_qg
        self.spread.variance(bin_q, out_qg, doubt_q, var_qg)
        join(out_qg, base_cg, contexts.positions(conditions.cell_line), mean_qg)

        def doubt(epistemic_qg: np.ndarray) -> None:
            changes = [gather([(factor_q, change)], conditions) for change in doubts]
            if self.ensemble is not None:
                doubts_qk = [self.ensemble.project(change, coded) for change in changes]
                self.ensemble.variance(conditions, doubts_qk, epistemic_qg)
                return
            epistemic_qg[:] = 0
            for change in changes:
                said_qg = combine([(1.0, change)], conditions)
                epistemic_qg += np.square(said_qg, out=said_qg)

        return bin_q, doubt

    def recalibrated(self, table: EffectTable) -> "FittedAnchored":
        """This model with intervals calibrated on measured effects that it was not fitted on (split-conformal).

        What makes intervals valid in a cell line without training conditions: measure a few perturbations there.
        Predictions and variances stay; kinds of conditions that the table does not hold keep their intervals.

        Args:
            table: Effects over the same genes; their noise enters as it does when intervals are scored.
        """
        prediction = self.predict(table.conditions)
        bin_p = self.spread.known.bins(table.conditions)
        spread = self.spread.recalibrated(table, bin_p, prediction.delta_pg, prediction.var_pg)
        return replace(self, spread=spread)


@dataclass(frozen=True)
class Anchored:
    """The model that has to beat every baseline."""

    config: AnchoredConfig = AnchoredConfig()
    name: str = "anchored"

    def fit(self, train: EffectTable, contexts: Mapping[str, np.ndarray] | None = None) -> FittedAnchored:
        """Fit anchors, stacking weights, residual, gates and variance on training effects alone.

        Args:
            train: Training effects.
            contexts: Cell line -> vector that describes it, from any encoder of unperturbed cells; the lines' control
                profiles by default.
        """
        config = self.config
        train = train if contexts is None else train.described_by(contexts)
        # What is fitted after the anchors does not change them, so models that differ there share them.
        shared = replace(config, prior_conditions=0, fallback=True, doubt=0, residual=None, direct=False, dose=False)
        oof, anchors, members = train.once(shared, lambda: _fit_anchors(train, config))
        # What is fitted further is judged on `input` controls, so it must not have seen them.
        table = denoise(train.half).table if config.denoise else train.half
        final = denoise(train) if config.denoise else Denoised(train, np.zeros_like(train.contexts.base_cg))
        stack, delta_mg, doubt_m = fit_stack(
            train,
            oof,
            anchors,
            final.table.delta_pg,
            config.prior_conditions,
            fallback=config.fallback,
            n_directions=config.doubt,
            seed=config.seed,
        )
        dose = fit_dose(train, oof, delta_mg, noise_weights(train)) if config.dose else None
        if dose is not None:
            factor_m = dose.factor(train.conditions.subset(oof.row_m))
            delta_mg, doubt_m = delta_mg * factor_m[:, None], doubt_m * factor_m**2
        gate_b2, residual = np.zeros((len(BINS), 2), dtype=np.float32), None
        if config.residual is not None:
            residual, gate_b2, delta_mg = _fit_residual(table, oof, delta_mg, config, config.residual)
        direct = None
        if config.direct:
            direct = fit_direct(train, oof, delta_mg, noise_weights(train))
            held = train.conditions.subset(oof.row_m)
            delta_mg = direct.apply(delta_mg, held, train.contexts, oof.bin_m)
        spread = fit_spread(train, oof, delta_mg, doubt_m)
        keep(train, self.name, oof, delta_mg)
        return FittedAnchored(
            self.name,
            config,
            train.contexts,
            stack,
            dose,
            residual,
            gate_b2,
            direct,
            spread,
            make_ensemble(stack, members, final.table.delta_pg),
            final.shift_cg,
            make_support(train),
        )


def _fit_anchors(
    train: EffectTable, config: AnchoredConfig
) -> tuple[OutOfFold, dict[str, Effect], list[dict[str, Effect]]]:
    """Out-of-fold predictions of the anchors, the anchors fitted on everything, and on half-samples."""

    def fit(table: EffectTable, seed: int, start: GaussianProcess | None = None) -> dict[str, Effect]:
        final = denoise(table).table if config.denoise else table
        fitted = {name: factory(final) for name, factory in effect_factories(config.anchors, seed).items()}
        if config.denoise and config.measured:
            fitted |= {f"measured {name}": make(table) for name, make in effect_factories(config.measured).items()}
        if config.gp is not None:
            # It knows about noise itself, so it takes the effects as measured.
            fitted["gp"] = fit_gp(table, config.gp, start=start)
        return fitted

    fitted = fit(train, config.seed)
    gp = fitted.get("gp")
    start = gp if isinstance(gp, GaussianProcess) else None
    factories = effect_factories(config.anchors, config.seed)
    if config.denoise:
        factories = {name: partial(_on_denoised, factory) for name, factory in factories.items()}
        factories |= {f"measured {name}": factory for name, factory in effect_factories(config.measured).items()}
    if config.gp is not None:
        factories["gp"] = partial(fit_gp, config=config.gp, start=start)
    oof = out_of_fold(factories, train, all_folds(train, config.n_folds, config.seed), progress="anchors")
    if start is not None:
        fitted["gp"] = shorten(start)
    return oof, fitted, fit_members(train, partial(fit, start=start), config.members, config.seed)


def _on_denoised(factory: Callable[[EffectTable], Effect], table: EffectTable) -> Effect:
    return factory(denoise(table).table)


def make_stacked(seed: int = 0) -> Anchored:
    """`stacked`: the anchors alone, what `anchored` is when all its gates are 0."""
    return Anchored(AnchoredConfig(residual=None, direct=False, dose=False, seed=seed), "stacked")


def _fit_residual(
    table: EffectTable, oof: OutOfFold, delta_mg: np.ndarray, config: AnchoredConfig, choices: ResidualConfig
) -> tuple[Residual | None, np.ndarray, np.ndarray]:
    """Cross-fit residuals, decide gates, and return the out-of-fold predictions with the residual in them."""
    families = _families(table, config)
    error_mg = table.delta_pg[oof.row_m] - delta_mg
    weight_m = noise_weights(table)[oof.row_m]
    held = [(_mask(fold.test, len(table)), np.isin(oof.row_m, fold.test)) for _, fold in families]
    nothing = (np.zeros(len(table), dtype=bool), np.zeros(len(oof.row_m), dtype=bool))
    conditions = table.conditions.subset(oof.row_m)
    *crossed, final = train_residuals(
        table, conditions, oof.bin_m, oof.row_m, error_mg, weight_m, [*held, nothing], choices
    )
    r1_mg, r2_mg = np.zeros_like(error_mg), np.zeros_like(error_mg)
    fold_m = np.full(len(oof.row_m), -1)
    for at, ((names, _), (_, held_m), residual) in enumerate(zip(families, held, crossed, strict=True)):
        pick = np.flatnonzero(held_m & np.isin(oof.bin_m, [BINS.index(name) for name in names]) & (fold_m < 0))
        if len(pick):
            r1_mg[pick], r2_mg[pick] = residual.delta(conditions.subset(pick), oof.bin_m[pick])
            fold_m[pick] = at
    gate_b2 = np.zeros((len(BINS), 2), dtype=np.float32)
    group_m = target_groups(conditions)
    error_mg = table.check_pg[oof.row_m] - delta_mg
    for kind in np.unique(oof.bin_m):
        at = np.flatnonzero((oof.bin_m == kind) & (fold_m >= 0))
        for which, part_mg in enumerate((r1_mg, r2_mg)):
            if len(at):
                gate = fit_gate(error_mg[at], part_mg[at], weight_m[at], fold_m[at], group_m[at])
                gate_b2[kind, which] = gate
                error_mg[at] -= np.float32(gate) * part_mg[at]
    return (final if gate_b2.any() else None), gate_b2, table.check_pg[oof.row_m] - error_mg


def _families(table: EffectTable, config: AnchoredConfig) -> list[tuple[tuple[str, ...], Fold]]:
    """Hold-outs of the residual and the bins each one may judge: what is held out resembles what the bin asks."""
    return [
        *(
            (("unseen", "transfer", "combo_unmeasured"), fold)
            for fold in target_folds(table, config.n_folds, config.seed)
        ),
        *((("new_line", "new_line_unseen"), fold) for fold in line_folds(table)),
        *((("combo_measured",), fold) for fold in combo_folds(table, config.n_folds, config.seed)),
    ]


def _mask(rows: np.ndarray, size: int) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[rows] = True
    return mask
