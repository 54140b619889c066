"""Whether the genes that move most are found: lists of genes, for effects that are known as ranks or scores.

A list has no size of an effect, so nothing here depends on one: only on the order that a prediction gives the genes.
"""

import numpy as np

from vc_eval.metrics.ranks import FLAT, auroc
from vc_eval.metrics.registry import Metric

TOP = 100


def _overlap_of(way: str, move: str) -> Metric:
    return Metric(
        name=f"overlap_{way}100", title=f"Overlap of the 100 most {way}", direction="higher", best=1.0,
        chance="100 / genes; as mean_effect where perturbations share a response", unit="share of 100 genes", space="effects, any",
        definition=f"Share of the 100 genes that {move} most among the 100 predicted to {move} most; ties by position.",
        reference="docs/metrics.md#profile-suite", excludes_target=True, headline=True,
        undefined=f"fewer than 100 genes {move}",
    )  # fmt: skip


METRICS = (
    _overlap_of("up", "rise"),
    _overlap_of("down", "fall"),
    Metric(
        name="auroc_up100", title="AUROC of the 100 most up", direction="higher", best=1.0, chance="0.5",
        unit="probability", space="effects, any",
        definition="Chance that one of the 100 genes that rise most is predicted to rise more than another gene.",
        reference="docs/metrics.md#profile-suite", excludes_target=True, undefined="fewer than 100 genes rise",
    ),
    Metric(
        name="spearman_effect", title="Rank correlation of change", direction="higher", best=1.0, chance="0 for noise",
        unit="ranks of genes", space="effects, any", definition="Spearman correlation over all genes of predicted and measured effect.",
        reference="docs/metrics.md#profile-suite", excludes_target=True, undefined="constant prediction or truth",
    ),
)  # fmt: skip


def list_scores(predicted_pg: np.ndarray, measured_pg: np.ndarray, keep_pg: np.ndarray) -> dict[str, np.ndarray]:
    """Value of every metric of lists per condition, `{metric: [p]}`; NaN where undefined.

    Args:
        predicted_pg: `[p, g]` scores, greater means up.
        measured_pg: `[p, g]` likewise; 0 for genes that are not listed.
        keep_pg: `[p, g]` bool; false for the perturbed gene.
    """
    predicted_pg, measured_pg = (np.where(keep_pg, x_pg, 0.0) for x_pg in (predicted_pg, measured_pg))
    up, down = (_overlap(sign * predicted_pg, sign * measured_pg) for sign in (1, -1))
    top_pg = _listed(measured_pg)
    area = np.array([auroc(x_g, y_g) if y_g.any() else np.nan for x_g, y_g in zip(predicted_pg, top_pg, strict=True)])
    rank = _spearman(predicted_pg, measured_pg, keep_pg)
    return {"overlap_up100": up, "overlap_down100": down, "auroc_up100": area, "spearman_effect": rank}


def _listed(measured_pg: np.ndarray) -> np.ndarray:
    """`[p, g]` bool, the 100 genes that rise most; none where fewer rise."""
    enough = (measured_pg > 0).sum(axis=1) >= TOP
    listed = np.zeros(measured_pg.shape, bool)
    if measured_pg.shape[1] >= TOP:
        np.put_along_axis(listed, np.argsort(-measured_pg, axis=1, kind="stable")[:, :TOP], True, axis=1)
    return listed & enough[:, None]


def _overlap(predicted_pg: np.ndarray, measured_pg: np.ndarray) -> np.ndarray:
    listed = _listed(measured_pg)
    chosen = np.argsort(-predicted_pg, axis=1, kind="stable")[:, :TOP]
    hits = np.take_along_axis(listed, chosen, axis=1).sum(axis=1) / TOP
    return np.where(listed.any(axis=1), hits, np.nan)


def _spearman(predicted_pg: np.ndarray, measured_pg: np.ndarray, keep_pg: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata  # heavy to import

    values = np.full(len(predicted_pg), np.nan)
    for row, (a_g, b_g, keep_g) in enumerate(zip(predicted_pg, measured_pg, keep_pg, strict=True)):
        a, b = rankdata(a_g[keep_g]), rankdata(b_g[keep_g])
        a, b = a - a.mean(), b - b.mean()
        size = float(np.sqrt((a @ a) * (b @ b)))
        if size > FLAT * len(a) ** 3:
            values[row] = a @ b / size
    return values
