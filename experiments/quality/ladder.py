"""What is compared: every baseline, the model built up step by step, a run on shuffled labels, and one without names."""

import time
from dataclasses import replace

from sources import shuffle_labels
from vc_model.anchored import Anchored, AnchoredConfig
from vc_model.anchored.gp import GPConfig
from vc_model.baselines import BASELINES
from vc_model.models import fit_models
from vc_model.table.effects import Action, Conditions

MODEL = "anchored"
BARE = AnchoredConfig(gp=None, residual=None, direct=False, members=0, measured=(), fallback=False)
BOTH = AnchoredConfig(gp=None, residual=None, direct=False, members=0, fallback=False)
RULE = replace(BOTH, fallback=True)
LADDER = {
    "stack of raw effects": replace(BARE, denoise=False),
    "+ denoised effects": BARE,
    "+ effects as measured": BOTH,
    "+ fall back to one anchor": RULE,
    "+ Gaussian process": replace(RULE, gp=GPConfig(pairs=False, context=False)),
    "+ its pairs": replace(RULE, gp=GPConfig(context=False)),
    "+ its similar lines": replace(RULE, gp=GPConfig()),
    "+ features": replace(RULE, gp=GPConfig()),
    "+ perturbed gene": replace(RULE, gp=GPConfig(), direct=True),
    f"+ residual, ensemble = {MODEL}": AnchoredConfig(),
}
FINAL = f"+ residual, ensemble = {MODEL}"
WITHOUT_BANK = tuple(LADDER)[: tuple(LADDER).index("+ features")]
MEAN = "denoised mean"
MEAN_CONFIG = replace(BARE, anchors=("mean_effect",))
NULL = "null: shuffled labels"
NAMELESS = "nameless conditions"  # the estimator of the null run where nothing tells conditions apart
ORACLE = "true effect"
SPLIT_HALF = "split_half"


def fit_all(train, seeds: int, short: bool):
    """Yield (name, seed, fitted, seconds) of baselines, ladder and null run."""
    start = time.process_time()
    fitted = fit_models(train, list(BASELINES))
    for name, model in fitted.items():
        yield name, 0, model, (time.process_time() - start) / len(fitted)
    for name, config in LADDER.items():
        if short and name not in (next(iter(LADDER)), FINAL):
            continue
        table = replace(train, bank=None) if name in WITHOUT_BANK else train
        # Only the model itself is run with every seed.
        for seed in range(seeds if name == FINAL else 1):
            start = time.process_time()
            model = Anchored(replace(config, seed=seed)).fit(table)
            yield name, seed, model, time.process_time() - start
    yield MEAN, 0, Anchored(MEAN_CONFIG).fit(train), 0.0
    config = LADDER["+ perturbed gene"]
    for seed in range(seeds):
        yield NULL, seed, Anchored(config).fit(shuffle_labels(train, seed)), 0.0
    nameless = replace(train, conditions=forget_names(train.conditions, "trained"), bank=None)
    yield NAMELESS, 0, Nameless(Anchored(config).fit(nameless)), 0.0


class Nameless:
    """A fitted model that is asked about conditions of unknown names: it can use their line and number of targets."""

    def __init__(self, fitted) -> None:
        self.fitted = fitted

    def predict(self, conditions: Conditions):
        """Predict, whatever the conditions are called."""
        return self.fitted.predict(forget_names(conditions, "asked"))


def forget_names(conditions: Conditions, prefix: str) -> Conditions:
    """The same conditions, every target under a name of its own that nothing else has."""
    actions = tuple(
        Action(tuple(f"{prefix} {row}.{at}" for at in range(len(action.targets))), action.mode, action.dose)
        for row, action in enumerate(conditions.actions)
    )
    return Conditions(conditions.cell_line, actions, conditions.contexts, conditions.perturbation)
