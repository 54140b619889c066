"""How the encoders of one perturbation agree: guide sequence, target, structure, and their fusion (docs/metrics.md#profile-suite).

Cosines in an anisotropic space are far from 0 for any pair, so gaps against mismatched pairs stand beside means. The
suite's "cross-modality" consistency compares guides of one target with each other, within one modality.
"""

import numpy as np

from vc_eval.metrics.ranks import auroc, cosine_matrix, cosine_rows, mean_defined
from vc_eval.metrics.registry import family

_metric = family(direction="higher", best=1.0, unit="cosine", space="action embeddings", aggregate="derived")

METRICS = (
    _metric("paired_cosine_biojepa", "Cosine of known pairs", "Mean cosine of sequence and target action of known pairs.",
            "that of mismatched pairs, not 0", "D29"),
    _metric("paired_cosine_gap", "Cosine of known pairs, gap", "Mean cosine of known pairs minus that of mismatched ones.",
            "0", "D29", best=2.0),
    *(
        _metric(f"alignment_mrr_{way}", f"Retrieval {text}, reciprocal rank", f"Mean 1/rank of the first right one, {text}, "
                "by cosine; ties midrank.", "H_N/N or more with several right ones", "D30", unit="reciprocal rank")
        for way, text in (("forward", "sequence to target"), ("backward", "target to sequence"))
    ),
    _metric("same_target_ratio_biojepa", "Guides of one target, ratio", "Mean cosine of guides of one target over that of "
            "guides of different ones.", "1", "D31", best=float("inf"), unit="ratio"),
    _metric("same_target_gap", "Guides of one target, gap", "Difference of the same two means.", "0", "D31", best=2.0),
    _metric("same_target_auroc", "Guides of one target, AUROC", "Chance that a pair of one target is more alike than one of "
            "different targets.", "0.5", "D31", unit="area under the curve"),
    _metric("cross_modality_auroc", "Two modalities of one target, AUROC", "The same over pairs of one item of each "
            "modality.", "0.5", "D31", unit="area under the curve"),
    _metric("fused_to_sequence_cosine", "Fused and sequence action, cosine", "Mean cosine of fused and sequence-only action; "
            "1 means the target branch is ignored.", "none", "D32", direction="nearest", best=0.5),
    _metric("fused_to_target_cosine", "Fused and target action, cosine", "Mean cosine of fused and target-only action.",
            "none", "D32", direction="nearest", best=0.5),
    _metric("modality_gap_ratio", "Modality gap", "Distance of the two modality centroids over the mean distance of items to "
            "their own centroid.", "0 if mixed", "D34", direction="lower", best=0.0, unit="ratio"),
    _metric("ablation_drop", "Drop without a branch", "Score in full minus score with one branch left out.", "0 if unused",
            "D32, D34", unit="as the score", best=float("inf")),
    _metric("missing_modality_robustness", "Left without a branch", "Score with one branch left out over the score in full.",
            "none", "D34", unit="ratio"),
    _metric("slot_degradation", "Change with the number of perturbations", "Slope of a score on the number of perturbations "
            "applied together.", "0", "D34", unit="score per perturbation", best=0.0, direction="nearest"),
)  # fmt: skip


def paired_cosine(sequence_pd: np.ndarray, target_pd: np.ndarray) -> dict[str, float]:
    """Mean cosine of known pairs (equal rows) and its gap to all mismatched ones."""
    cosine = cosine_matrix(sequence_pd, target_pd)
    own = np.diagonal(cosine)
    n = len(own)
    others = (cosine.sum() - own.sum()) / (n * (n - 1)) if n > 1 else float("nan")
    return {"paired_cosine_biojepa": float(own.mean()), "paired_cosine_gap": float(own.mean() - others)}


def alignment_retrieval(
    sequence_nd: np.ndarray, sequence_target_n: np.ndarray, target_md: np.ndarray, target_m: np.ndarray
) -> dict[str, float]:
    """Reciprocal rank of the first right item, from sequences to targets and back; several right ones are allowed.

    Args:
        sequence_nd: `[n, d]` sequence actions.
        sequence_target_n: `[n]` target of each sequence.
        target_md: `[m, d]` target actions.
        target_m: `[m]` target of each.
    """
    cosine = cosine_matrix(sequence_nd, target_md)
    right = np.asarray(sequence_target_n)[:, None] == np.asarray(target_m)[None, :]
    return {
        "alignment_mrr_forward": _mrr(cosine, right),
        "alignment_mrr_backward": _mrr(cosine.T, right.T),
    }


def _mrr(similarity: np.ndarray, right: np.ndarray) -> float:
    """Mean 1/rank of the best right column over rows that have one; wrong columns as near count half a place."""
    with_any = right.any(axis=1)
    similarity, right = similarity[with_any], right[with_any]
    best = np.where(right, similarity, -np.inf).max(axis=1, keepdims=True)
    ahead, level = ((similarity > best) & ~right).sum(axis=1), ((similarity == best) & ~right).sum(axis=1)
    return float((1 / (1 + ahead + level / 2)).mean()) if with_any.any() else float("nan")


def same_target(action_nd: np.ndarray, target_n: np.ndarray) -> dict[str, float]:
    """Ratio, gap and AUROC of cosines of pairs with one target against pairs with different ones, in one modality."""
    i, j = np.triu_indices(len(action_nd), 1)
    values = cosine_matrix(action_nd, action_nd)[i, j]
    same = np.asarray(target_n)[i] == np.asarray(target_n)[j]
    if not 0 < same.sum() < same.size:
        return dict.fromkeys(("same_target_ratio_biojepa", "same_target_gap", "same_target_auroc"), float("nan"))
    within, between = float(values[same].mean()), float(values[~same].mean())
    return {
        "same_target_ratio_biojepa": within / between if between != 0 else float("nan"),
        "same_target_gap": within - between,
        "same_target_auroc": auroc(values, same),
    }


def cross_modality_auroc(a_nd: np.ndarray, target_n: np.ndarray, b_md: np.ndarray, target_m: np.ndarray) -> float:
    """AUROC of cosine for one target over pairs of an item of each modality (guide and drug, say)."""
    same = np.asarray(target_n)[:, None] == np.asarray(target_m)[None, :]
    return auroc(cosine_matrix(a_nd, b_md).ravel(), same.ravel())


def fused_cosines(fused_pd: np.ndarray, sequence_pd: np.ndarray, target_pd: np.ndarray) -> dict[str, float]:
    """Mean cosine of the fused action with each branch alone, rows aligned."""
    return {
        "fused_to_sequence_cosine": float(cosine_rows(fused_pd, sequence_pd).mean()),
        "fused_to_target_cosine": float(cosine_rows(fused_pd, target_pd).mean()),
    }


def modality_gap_ratio(a_nd: np.ndarray, b_md: np.ndarray) -> float:
    """Distance of centroids over the mean distance of items to the centroid of their modality."""
    centres = [np.mean(x, axis=0) for x in (a_nd, b_md)]
    spread = np.mean([np.linalg.norm(x - c, axis=1).mean() for x, c in zip((a_nd, b_md), centres, strict=True)])
    return float(np.linalg.norm(centres[0] - centres[1]) / spread) if spread > 0 else float("nan")


def ablation(full: np.ndarray, without: np.ndarray) -> dict[str, float]:
    """Drop and remaining share of a score when a branch is left out, from values per condition, pairs with NaN dropped."""
    defined = ~(np.isnan(full) | np.isnan(without))
    a, b = mean_defined(np.asarray(full)[defined]), mean_defined(np.asarray(without)[defined])
    return {"ablation_drop": a - b, "missing_modality_robustness": b / a if a else float("nan")}


def slot_degradation(value_n: np.ndarray, n_slots_n: np.ndarray) -> float:
    """Least-squares slope of a score on the number of perturbations of a condition; NaN where that never differs."""
    defined = ~np.isnan(value_n)
    x, y = np.asarray(n_slots_n, np.float64)[defined], np.asarray(value_n)[defined]
    x = x - x.mean() if x.size else x
    return float((x * y).sum() / (x**2).sum()) if (x**2).sum() > 0 else float("nan")
