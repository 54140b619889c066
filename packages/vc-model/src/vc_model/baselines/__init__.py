"""Every baseline behind one interface, with its definition; `BASELINES` is what tables of results must show.

All of them predict a variance, fitted on out-of-fold errors. `vc_model.models.fit_models` fits several at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from vc_model.baselines.additive import fit_additive, fit_additive_scaled
from vc_model.baselines.blup import fit_blup
from vc_model.baselines.lowrank import (
    fit_lowrank_ridge,
    fit_lowrank_ridge_random_genes,
    fit_lowrank_ridge_random_perturbations,
)
from vc_model.baselines.means import (
    fit_cell_line_mean,
    fit_context_mean,
    fit_mean_effect,
    fit_no_change,
    fit_pert_mean,
    fit_random,
    fit_random_gaussian,
    fit_txpert_general,
)
from vc_model.baselines.neighbours import fit_knn
from vc_model.baselines.pls import fit_pls
from vc_model.baselines.ridge import fit_feature_ridge, fit_kernel_ridge
from vc_model.doubt.spread import fit_spread
from vc_model.errors import VcModelError
from vc_model.predictor import FittedEffect
from vc_model.table.effect import Effect
from vc_model.table.effects import EffectTable
from vc_model.table.folds import all_folds, keep, out_of_fold

EFFECTS: dict[str, Callable[..., Effect]] = {
    "no_change": fit_no_change,
    "mean_effect": fit_mean_effect,
    "context_mean": fit_context_mean,
    "pert_mean": fit_pert_mean,
    "cell_line_mean": fit_cell_line_mean,
    "txpert_general": fit_txpert_general,
    "additive": fit_additive,
    "additive_scaled": fit_additive_scaled,
    "lowrank_ridge": fit_lowrank_ridge,
    "lowrank_ridge_random_genes": fit_lowrank_ridge_random_genes,
    "lowrank_ridge_random_perturbations": fit_lowrank_ridge_random_perturbations,
    "knn": fit_knn,
    "feature_ridge": fit_feature_ridge,
    "pls": fit_pls,
    "kernel_ridge": fit_kernel_ridge,
    "blup": fit_blup,
    "random": fit_random,
    "random_gaussian": fit_random_gaussian,
}
SEEDED = ("lowrank_ridge_random_genes", "lowrank_ridge_random_perturbations", "random", "random_gaussian")


@dataclass(frozen=True)
class Baseline:
    """One baseline as a model.

    Attributes:
        name: A key of `BASELINES`.
        n_folds: Folds of the out-of-fold errors behind the predictive variance.
        seed: Deals the folds, and draws where the baseline is random.
    """

    name: str
    n_folds: int = 5
    seed: int = 0

    def fit(self, train: EffectTable) -> FittedEffect:
        """Fit the effect on the whole table and the variance on out-of-fold errors."""
        factories = effect_factories([self.name], self.seed)
        oof = out_of_fold(factories, train, all_folds(train, self.n_folds, self.seed), progress=self.name)
        spread = fit_spread(train, oof, oof.delta_mg[self.name])
        keep(train, self.name, oof, oof.delta_mg[self.name])
        return FittedEffect(self.name, train.contexts, factories[self.name](train), spread)


BASELINES: dict[str, Callable[..., Baseline]] = {name: partial(Baseline, name) for name in EFFECTS}


def effect_factories(names: Sequence[str], seed: int = 0) -> dict[str, Callable[[EffectTable], Effect]]:
    """Name -> function that fits the point prediction on a table.

    Raises:
        VcModelError: For a name that is no baseline.
    """
    unknown = [name for name in names if name not in EFFECTS]
    if unknown:
        raise VcModelError(f"model: expected one of {list(EFFECTS)}, found {unknown!r}. See `vc-model list`.")
    return {name: partial(EFFECTS[name], seed=seed) if name in SEEDED else EFFECTS[name] for name in names}


__all__ = ["BASELINES", "EFFECTS", "Baseline", "effect_factories"]
