"""Pairs of perturbations against the sum of their single effects (docs/metrics.md#profile-suite).

The measured singles of the test set make the additive baseline stronger than anything a model may use, so the sum of the
model's own singles stands beside it. Singles measured against one control share its noise: give deltas from disjoint
control halves.
"""

from collections.abc import Collection

import numpy as np

from vc_eval.metrics import expression
from vc_eval.metrics.ranks import top_k
from vc_eval.metrics.registry import family

NEAR_ONE = 0.1  # a fitted size within it of 1 counts as additive


_metric = family(
    direction="higher", best=1.0, unit="correlation", space="log1p_cp10k delta",
    reference="docs/metrics.md#profile-suite", excludes_target=True, undefined="constant",
)  # fmt: skip

METRICS = (
    _metric("combo_pearson", "Pearson of change, pairs", "Pearson over genes of predicted and measured delta of a pair.",
            "compare with combo_additive_pearson", correlation=True),
    _metric("combo_additive_pearson", "Pearson of the additive baseline", "Pearson of the sum of measured single deltas "
            "with that of the pair; not a score of the model.", "none"),
    _metric("combo_model_additive_pearson", "Pearson of the model's own sum", "Pearson of the sum of the model's single "
            "deltas with that of the pair.", "none"),
    _metric("combo_mse", "Squared error of change, pairs", "Mean over genes of (predicted - measured delta)^2 of a pair.",
            "compare with combo_additive_mse", direction="lower", best=0.0, unit="(log1p_cp10k)^2", undefined=""),
    _metric("combo_additive_mse", "Squared error of the additive baseline", "The same for the sum of measured singles.",
            "none", direction="lower", best=0.0, unit="(log1p_cp10k)^2", undefined=""),
    _metric("combo_beats_additive", "Beats the additive baseline", "1 where the squared error is below that of the sum of "
            "measured singles; ties are losses.", "0.5", unit="share of pairs", undefined=""),
    _metric("combo_pearson_nonadditive", "Pearson on non-additive genes", "Pearson of predicted and measured delta over "
            "the 20 genes where the pair differs most from the sum of singles.", "0"),
    _metric("combo_interaction_accuracy", "Type of interaction", "1 where the fitted size says the same of prediction and "
            "truth: weaker than the sum, additive within 0.1, stronger.", "share of the commonest type",
            unit="share of pairs", undefined="a single without effect, or both alike"),
)  # fmt: skip


def combination_scores(
    predicted_pg: np.ndarray, measured_pg: np.ndarray, first_pg: np.ndarray, second_pg: np.ndarray, keep_pg: np.ndarray,
    *, predicted_first_pg: np.ndarray | None = None, predicted_second_pg: np.ndarray | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Every combination metric per pair, `{metric: [p]}`.

    Args:
        predicted_pg: `[p, g]` predicted delta of each pair.
        measured_pg: `[p, g]` measured delta of each pair.
        first_pg: `[p, g]` measured delta of its first single.
        second_pg: `[p, g]` measured delta of its second single.
        keep_pg: `[p, g]` bool; both targets left out.
        predicted_first_pg: `[p, g]` the model's first single.
        predicted_second_pg: `[p, g]` the model's second single.
    """
    additive_pg = first_pg + second_pg
    genes = top_k(np.where(keep_pg, np.abs(measured_pg - additive_pg), -np.inf), 20)
    take = [np.take_along_axis(x, genes, axis=1) for x in (predicted_pg, measured_pg, keep_pg)]
    mse = expression.mean_squared_error(predicted_pg, measured_pg, keep_pg)
    additive_mse = expression.mean_squared_error(additive_pg, measured_pg, keep_pg)
    types = [interaction_type(x, first_pg, second_pg, keep_pg) for x in (predicted_pg, measured_pg)]
    scores = {
        "combo_pearson": expression.pearson(predicted_pg, measured_pg, keep_pg),
        "combo_additive_pearson": expression.pearson(additive_pg, measured_pg, keep_pg),
        "combo_mse": mse,
        "combo_additive_mse": additive_mse,
        "combo_beats_additive": (mse < additive_mse).astype(float),
        "combo_pearson_nonadditive": expression.pearson(*take),
        "combo_interaction_accuracy": np.where(
            np.isnan(types[0]) | np.isnan(types[1]), np.nan, (types[0] == types[1]).astype(float)
        ),
    }
    if predicted_first_pg is not None and predicted_second_pg is not None:
        scores["combo_model_additive_pearson"] = expression.pearson(
            predicted_first_pg + predicted_second_pg, measured_pg, keep_pg
        )
    return scores


def by_unseen(
    scores: dict[str, np.ndarray], pairs: list[tuple[str, str]], trained: Collection[str]
) -> dict[int, dict[str, np.ndarray]]:
    """The scores of pairs of which 0, 1 and 2 genes were never perturbed in training; strata without pairs are empty.

    Args:
        scores: `{metric: [p]}`.
        pairs: `[p]` the two targets of each pair.
        trained: Targets that training holds, alone or in combinations.
    """
    unseen_p = np.array([sum(target not in trained for target in set(pair)) for pair in pairs], dtype=int)
    return {k: {name: value_p[unseen_p == k] for name, value_p in scores.items()} for k in range(3)}


def interaction_size(
    pair_pg: np.ndarray, first_pg: np.ndarray, second_pg: np.ndarray, keep_pg: np.ndarray
) -> np.ndarray:
    """`[p]` root mean square of c1, c2 in the least-squares fit pair = c1 first + c2 second; 1 for a plain sum.

    NaN where the singles are too alike, or too small, to be told apart.

    References:
        Norman et al. (2019), Science 365, the fit behind their genetic interaction map.
    """
    first, second, pair = (np.where(keep_pg, x, 0.0) for x in (first_pg, second_pg, pair_pg))
    aa, bb, ab = (np.einsum("pg,pg->p", x, y) for x, y in ((first, first), (second, second), (first, second)))
    ay, by = np.einsum("pg,pg->p", first, pair), np.einsum("pg,pg->p", second, pair)
    determinant = aa * bb - ab**2
    with np.errstate(divide="ignore", invalid="ignore"):
        c1, c2 = (bb * ay - ab * by) / determinant, (aa * by - ab * ay) / determinant
    return np.where(determinant > 1e-9 * aa * bb, np.sqrt((c1**2 + c2**2) / 2), np.nan)


def interaction_type(
    pair_pg: np.ndarray, first_pg: np.ndarray, second_pg: np.ndarray, keep_pg: np.ndarray
) -> np.ndarray:
    """`[p]` -1 weaker than the sum, 0 additive, 1 stronger; NaN where the fit is not defined."""
    size = interaction_size(pair_pg, first_pg, second_pg, keep_pg)
    return np.where(np.isnan(size), np.nan, (size > 1 + NEAR_ONE).astype(float) - (size < 1 - NEAR_ONE))
