"""Whether genes go up or down as predicted (docs/metrics.md#profile-suite).

Three classes by a threshold on the natural-log delta make "unchanged" the right answer nearly everywhere, so accuracy
stands beside the share of the commonest class, balanced accuracy and macro F1. The sign on genes that really respond is
the plain question.
"""

import itertools

import numpy as np

from vc_eval.metrics.ranks import mean_defined, top_k
from vc_eval.metrics.registry import family

THRESHOLD = 0.25  # natural-log delta, about 28 % change
CLASSES = ("down", "unchanged", "up")


_metric = family(
    direction="higher", best=1.0, unit="share of gene and condition pairs", space="log1p_cp10k delta",
    reference="docs/metrics.md#profile-suite", aggregate="derived", excludes_target=True,
)  # fmt: skip

METRICS = (
    _metric("direction_accuracy_biojepa", "Direction accuracy, three classes", "Share of pairs in the right class of "
            "down, unchanged, up at 0.25.", "direction_majority, often above 0.9"),
    _metric("direction_accuracy_top50_biojepa", "Direction accuracy, top 50 genes", "The same over the 50 genes with the "
            "largest real |delta| of each condition.", "share of the commonest class among them"),
    _metric("direction_majority", "Share of the commonest class", "What always saying the commonest class scores.", "itself",
            direction="nearest"),
    _metric("direction_balanced_accuracy", "Direction, balanced accuracy", "Mean over the classes that occur of the share "
            "found.", "1/3"),
    _metric("direction_macro_f1", "Direction, macro F1", "Mean over classes of F1; a class that neither occurs nor is "
            "predicted is left out.", "below 1/3 for one class always"),
    *(
        _metric(f"direction_f1_{name}", f"Direction, F1 of {name}", f"Harmonic mean of precision and recall of {name}.",
                "0 if never predicted", undefined="class neither occurs nor is predicted")
        for name in CLASSES
    ),
    _metric("sign_accuracy_significant", "Sign of significant genes", "Share of really significant genes with the right "
            "sign of the delta; a predicted delta of 0 counts half.", "0.5", unit="share of genes", aggregate="mean",
            undefined="no significant gene"),
    *(
        _metric(f"precision_{way}_20", f"Precision of the 20 most {way}", f"Share of the 20 genes predicted to go {way} "
                f"most that really go {way} by more than 0.25.", f"share of genes that go {way}", unit="share of genes",
                aggregate="mean")
        for way in ("up", "down")
    ),
)  # fmt: skip


def classes(delta_pg: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
    """`[p, g]` 0 down, 1 unchanged, 2 up; the threshold itself counts as changed."""
    return 1 + (delta_pg >= threshold).astype(int) - (delta_pg <= -threshold).astype(int)


def class_scores(predicted_pg: np.ndarray, real_pg: np.ndarray, keep_pg: np.ndarray) -> dict[str, float]:
    """Accuracy, its trivial level, balanced accuracy and F1 over all kept pairs, and accuracy over the top 50 genes.

    Args:
        predicted_pg: `[p, g]` deltas.
        real_pg: `[p, g]` deltas.
        keep_pg: `[p, g]` bool.
    """
    a, b = classes(predicted_pg), classes(real_pg)
    table = np.zeros((3, 3))
    np.add.at(table, (b[keep_pg], a[keep_pg]), 1)
    real, called, right = table.sum(axis=1), table.sum(axis=0), np.diagonal(table)
    with np.errstate(invalid="ignore"):
        recall, f1 = right / real, 2 * right / (real + called)
    top = top_k(np.where(keep_pg, np.abs(real_pg), -np.inf), 50)
    kept = np.take_along_axis(keep_pg, top, axis=1)
    equal = np.take_along_axis(a, top, axis=1) == np.take_along_axis(b, top, axis=1)
    scores = {
        "direction_accuracy_biojepa": float(right.sum() / table.sum()),
        "direction_accuracy_top50_biojepa": float(equal[kept].mean()),
        "direction_majority": float(real.max() / table.sum()),
        "direction_balanced_accuracy": mean_defined(recall),
        "direction_macro_f1": mean_defined(f1),
    }
    return scores | {f"direction_f1_{name}": float(value) for name, value in zip(CLASSES, f1, strict=True)}


def accuracy_by_magnitude(
    predicted_pg: np.ndarray, real_pg: np.ndarray, keep_pg: np.ndarray, bins: tuple[float, ...]
) -> list[tuple[float, int]]:
    """Share in the right class and number of pairs, per bin `[low, high)` of the real |delta|."""
    equal, size = (classes(predicted_pg) == classes(real_pg))[keep_pg], np.abs(real_pg)[keep_pg]
    inside = [(size >= low) & (size < high) for low, high in itertools.pairwise(bins)]
    return [(float(equal[i].mean()) if i.any() else float("nan"), int(i.sum())) for i in inside]


def sign_accuracy(predicted_pg: np.ndarray, real_pg: np.ndarray, chosen_pg: np.ndarray) -> np.ndarray:
    """`[p]` share of the chosen genes with the right sign; a predicted 0 counts half, a real 0 is left out.

    Args:
        predicted_pg: `[p, g]` deltas.
        real_pg: `[p, g]` deltas.
        chosen_pg: `[p, g]` bool; really significant genes, target left out.
    """
    chosen_pg = chosen_pg & (real_pg != 0)
    credit = np.where(predicted_pg == 0, 0.5, np.sign(predicted_pg) == np.sign(real_pg))
    with np.errstate(invalid="ignore"):
        return np.where(chosen_pg, credit, 0).sum(axis=1) / chosen_pg.sum(axis=1)


def extreme_precision(
    predicted_pg: np.ndarray, real_pg: np.ndarray, keep_pg: np.ndarray, *, up: bool, k: int = 20
) -> np.ndarray:
    """`[p]` share of the k genes predicted to go up (or down) most that do so by more than the threshold."""
    sign = 1 if up else -1
    chosen = top_k(np.where(keep_pg, sign * predicted_pg, -np.inf), k)
    moved = np.take_along_axis(sign * real_pg >= THRESHOLD, chosen, axis=1)
    return (moved & np.take_along_axis(keep_pg, chosen, axis=1)).mean(axis=1)
