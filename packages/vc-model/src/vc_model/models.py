"""Every model by name, and fitting many of them while sharing what they have in common."""

import inspect
from collections.abc import Callable, Sequence

from vc_model.anchored import Anchored, AnchoredConfig
from vc_model.baselines import BASELINES, EFFECTS, effect_factories
from vc_model.doubt.spread import fit_spread
from vc_model.errors import VcModelError
from vc_model.predictor import Fitted, FittedEffect, Model
from vc_model.table.effects import EffectTable
from vc_model.table.folds import all_folds, out_of_fold

MODELS: dict[str, Callable[..., Model]] = {
    **BASELINES,
    "anchored": lambda seed=0: Anchored(AnchoredConfig(seed=seed)),
}
_ANCHORED = "Gaussian process over conditions with a prior of their mean, and a term for the perturbed gene itself."


def make_model(name: str, seed: int = 0) -> Model:
    """The model of that name.

    Raises:
        VcModelError: If there is none.
    """
    if name not in MODELS:
        raise VcModelError(f"model: expected one of {list(MODELS)}, found {name!r}. See `vc-model list`.")
    return MODELS[name](seed=seed)


def describe(name: str) -> str:
    """One line that defines the model."""
    return _ANCHORED if name not in EFFECTS else (inspect.getdoc(EFFECTS[name]) or name).splitlines()[0]


def fit_models(train: EffectTable, names: Sequence[str] | None = None, *, seed: int = 0) -> dict[str, Fitted]:
    """Fit several models that share what they have in common: all baselines one set of folds, all composites another.

    Args:
        train: Training effects.
        names: Which; all by default.
        seed: Of every model.

    Returns:
        Name -> fitted model, the same as `make_model(name, seed).fit(train)` gives one by one.
    """
    names = list(MODELS) if names is None else list(names)
    models = {name: make_model(name, seed) for name in names}
    composites = {name: model for name, model in models.items() if isinstance(model, Anchored)}
    wanted = [name for name in names if name in EFFECTS]
    factories = effect_factories(wanted, seed)
    folds = all_folds(train, seed=seed) if wanted else []
    oof = out_of_fold(factories, train, folds, progress="out of fold")
    effects = {name: factory(train) for name, factory in factories.items()}
    return {
        name: composites[name].fit(train)
        if name in composites
        else FittedEffect(name, train.contexts, effects[name], fit_spread(train, oof, oof.delta_mg[name]))
        for name in names
    }
