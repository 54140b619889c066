"""All profile metrics of one prediction in one cell line; the same code scores models, baselines and half data."""

import numpy as np

from vc_eval.metrics import challenge2025 as vcc
from vc_eval.metrics import custom, discrimination, expression, weighted
from vc_eval.split.prediction import Predicted
from vc_eval.split.truth import Effects, LineTruth, top_genes


def profile_scores(predicted: Predicted, truth: LineTruth, effects: Effects | None = None) -> dict[str, np.ndarray]:
    """Value of every profile metric per condition, `{metric: [p]}`; NaN where undefined.

    Args:
        predicted: Predicted profiles of the line's conditions.
        truth: The line.
        effects: Measured effects to compare with, if not those of all cells (half data); its own top genes are used.
    """
    top = truth.top_by_delta if effects is None else top_genes(np.abs(effects.delta_pg), truth.excluded_pg)
    effects = effects or truth.effects
    keep_pg = ~truth.excluded_pg
    delta_pg, measured_pg = predicted.delta_pg, effects.delta_pg
    profiles = custom.Profiles(
        perturbations=truth.perturbations, genes=truth.genes, measured_pg=effects.profile_pg,
        predicted_pg=predicted.profile_pg, measured_delta_pg=measured_pg, predicted_delta_pg=delta_pg, keep_pg=keep_pg,
    )  # fmt: skip
    accuracy, top1 = discrimination.centroid_scores(delta_pg, measured_pg, truth.excluded_pg)
    return {
        "pearson_delta": expression.pearson(delta_pg, measured_pg, keep_pg),
        "pearson_systema": expression.pearson(
            delta_pg - truth.train_delta_g, measured_pg - truth.train_delta_g, keep_pg
        ),
        "mse_delta": expression.mean_squared_error(delta_pg, measured_pg, keep_pg),
        "wmse": weighted.wmse(predicted.profile_pg, effects.profile_pg, truth.weight_pg),
        "r2_top50_delta": expression.r2(_take(delta_pg, top), _take(measured_pg, top)),
        "r2_top50_test_delta": expression.r2(_take(delta_pg, truth.top_by_test), _take(measured_pg, truth.top_by_test)),
        "r2_top50_abs": expression.r2(_take(predicted.profile_pg, top), _take(effects.profile_pg, top)),
        "centroid_accuracy": accuracy,
        "centroid_top1": top1,
        "vcc2025/pds": discrimination_score(predicted, effects, truth.target_p),
        "vcc2025/mae": vcc.mean_absolute_error(predicted.profile_pg, effects.profile_pg),
    } | custom.custom_scores(profiles)


def discrimination_score(predicted: Predicted, effects: Effects, target_p: np.ndarray) -> np.ndarray:
    """`[p]` PDS with each side against its own control mean, not batch-matched, as the rule has it.

    With one candidate the rule always gives 1; that is no evidence, so the value is NaN.
    """
    if len(target_p) < 2:
        return np.full(len(target_p), np.nan)
    return vcc.perturbation_discrimination_score(
        predicted.profile_pg - predicted.control_g, effects.profile_pg - effects.control_g, target_p
    ).midrank


def _take(values_pg: np.ndarray, genes_pk: np.ndarray) -> np.ndarray:
    return np.take_along_axis(values_pg, genes_pk, axis=1)
