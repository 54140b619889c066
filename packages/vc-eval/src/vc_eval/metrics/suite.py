"""Every metric of expression profiles at once: the BioJEPA suite (docs/metrics.md#profile-suite) and its trust measures (E3).

One call gives what can be computed from mean profiles: per condition, or for all conditions together. Metrics of cells,
embeddings, combinations and retrieval banks take other inputs; call their functions.
"""

from dataclasses import dataclass, replace

import numpy as np

from vc_eval.metrics import (
    direction,
    discrimination,
    expression,
    profiles,
    ranking,
    retrieval,
    severity,
    trust,
    weighted,
)

SETS = ("all", "variable", "significant")


@dataclass(frozen=True, kw_only=True)
class ProfileInputs:
    """Predicted and measured profiles of the conditions of one cell line, log1p_cp10k."""

    predicted_pg: np.ndarray
    """`[p, g]` predicted mean profiles."""
    real_pg: np.ndarray
    """`[p, g]` measured mean profiles."""
    predicted_delta_pg: np.ndarray
    """`[p, g]` predicted change."""
    real_delta_pg: np.ndarray
    """`[p, g]` measured change, batch-matched."""
    control_g: np.ndarray
    """`[g]` mean profile of the control."""
    keep_pg: np.ndarray
    """`[p, g]` bool; false for perturbed genes."""
    train_delta_g: np.ndarray | None = None
    """`[g]` mean training delta, the reference of Systema."""
    q_value_pg: np.ndarray | None = None
    """`[p, g]` adjusted p values of the measured change."""
    noise_p: np.ndarray | None = None
    """`[p]` sampling variance of the measured delta, summed over genes."""
    n_cells_p: np.ndarray | None = None
    """`[p]` cells."""
    weight_pg: np.ndarray | None = None
    """`[p, g]` from `weighted.weights`."""
    variable_g: np.ndarray | None = None
    """`[g]` bool; highly variable genes, for the second gene set."""


def profile_suite(inputs: ProfileInputs) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """All profile metrics, by name as registered: values per condition `{name: [p]}`, and values over all conditions.

    Args:
        inputs: Whatever is None leaves the metrics that need it out.
    """
    a, b, keep = inputs.predicted_delta_pg, inputs.real_delta_pg, inputs.keep_pg
    accuracy, top1 = discrimination.centroid_scores(a, b, ~keep)
    everything = np.ones(keep.shape, bool)
    values = {
        "pearson_delta": expression.pearson(a, b, keep),
        "mse_delta": expression.mean_squared_error(a, b, keep),
        "mse_over_no_change": profiles.mse_over_no_change(a, b, keep),
        "pearson_top20": profiles.pearson_top(a, b, keep),
        "r2_all_biojepa": profiles.r2_biojepa(inputs.predicted_pg, inputs.real_pg),
        "r2_top50_biojepa": profiles.r2_top50_biojepa(inputs.predicted_pg, inputs.real_pg, b),
        "r2_delta": profiles.r2_delta(a, b, keep),
        "r2_delta_zero": profiles.r2_delta(a, b, keep, centred=False),
        "beat_no_change_biojepa": profiles.beat_no_change_biojepa(
            inputs.predicted_pg, inputs.real_pg, inputs.control_g
        ),
        "centroid_accuracy": accuracy,
        "centroid_top1": top1,
        "centroid_top1_biojepa": discrimination.centroid_scores(a, b, ~everything)[1],
        "nir": retrieval.nir(a, b),
        "rank_rmse": retrieval.rank_among_predictions(a, b),
        "rank_cosine": retrieval.rank_among_predictions(a, b, cosine=True),
        "precision_at_20_signed": ranking.precision_at_k(a, b, keep, 20, signed=True),
        "ndcg_at_20": ranking.ndcg_at_k(a, b, keep),
        "ndcg_at_20_graded": ranking.ndcg_at_k(a, b, keep, graded=True),
        "deg_jaccard": ranking.deg_jaccard(a, b, keep),
        "deg_jaccard_biojepa": ranking.deg_jaccard(a, b, everything),
        "precision_up_20": direction.extreme_precision(a, b, keep, up=True),
        "precision_down_20": direction.extreme_precision(a, b, keep, up=False),
        "systematic_cosine": trust.systematic_variation(b, keep)[0],
    }
    values |= {f"precision_at_{k}": ranking.precision_at_k(a, b, keep, k) for k in ranking.KS}
    values["precision_at_20_over_random"] = ranking.over_random(values["precision_at_20"], keep, 20)
    if inputs.train_delta_g is not None:
        a_centred, b_centred = a - inputs.train_delta_g, b - inputs.train_delta_g
        values["pearson_systema"] = expression.pearson(a_centred, b_centred, keep)
        accuracy, top1 = discrimination.centroid_scores(a_centred, b_centred, ~keep, cosine=True)
        values |= {"centroid_accuracy_cosine": accuracy, "centroid_top1_cosine": top1}
    if inputs.q_value_pg is not None:
        significant = (inputs.q_value_pg < 0.05) & keep
        values["pearson_top20_test"] = profiles.pearson_top(a, b, keep, q_value_pg=inputs.q_value_pg)
        values["sign_accuracy_significant"] = direction.sign_accuracy(a, b, significant)
        values["precision_at_significant"] = ranking.precision_at_significant(a, significant, keep)
    if inputs.weight_pg is not None:
        mean_g = inputs.real_pg.mean(axis=0)
        values["wmse"] = weighted.wmse(inputs.predicted_pg, inputs.real_pg, inputs.weight_pg)
        values["r2_weighted_delta"] = weighted.r2_weighted_delta(
            inputs.predicted_pg, inputs.real_pg, mean_g, inputs.weight_pg
        )
    totals = severity.severity(a, b, noise_p=inputs.noise_p, n_cells_p=inputs.n_cells_p)
    totals |= {name: value for name, (value, _) in severity.mae_by_magnitude(a, b, keep).items()}
    totals |= direction.class_scores(a, b, keep)
    totals["dispersion_ratio"] = trust.dispersion_ratio(a, b, real_noise_p=inputs.noise_p)
    totals["systematic_share"] = trust.systematic_variation(b, keep)[1]
    return values, totals


def suite_by_gene_set(inputs: ProfileInputs) -> dict[str, tuple[dict[str, np.ndarray], dict[str, float]]]:
    """`profile_suite` over all genes, over variable ones and over significant ones, as far as those are given.

    The gene set narrows `keep_pg`; forms that look at all genes by definition (`_biojepa`, ranks among predictions) are
    the same in each.
    """
    kept = {"all": inputs.keep_pg}
    if inputs.variable_g is not None:
        kept["variable"] = inputs.keep_pg & inputs.variable_g
    if inputs.q_value_pg is not None:
        kept["significant"] = inputs.keep_pg & (inputs.q_value_pg < 0.05)
    return {name: profile_suite(replace(inputs, keep_pg=keep_pg)) for name, keep_pg in kept.items()}
