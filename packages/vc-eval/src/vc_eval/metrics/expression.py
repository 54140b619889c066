"""How close a predicted effect is to the measured one, gene by gene.

All work on deltas in log1p_cp10k (predicted: against the model's own control row; measured: batch-matched, against the
evaluation controls). The perturbed genes themselves are left out, as docs/metrics.md#profile-suite and D7 ask.
"""

import numpy as np

from vc_eval.metrics.registry import Metric

CONSTANT = 1e-6  # a delta whose spread is below float32 rounding of log1p values says nothing

METRICS = (
    Metric(
        name="pearson_delta", title="Pearson of change", direction="higher", best=1.0, unit="log1p_cp10k delta",
        chance="0 for noise",
        definition="Pearson correlation over all genes of predicted and measured delta. The mean training effect alone "
        "often reaches 0.4 to 0.7 where perturbations share a response.",
        reference="docs/metrics.md#profile-suite; Ahlmann-Eltze, Huber and Anders 2025", excludes_target=True, headline=True,
        correlation=True, undefined="constant prediction or truth",
    ),
    Metric(
        name="pearson_systema", title="Pearson of change, mean effect removed", direction="higher", best=1.0, chance="0",
        unit="log1p_cp10k delta",
        definition="Pearson correlation over all genes after the mean training delta is subtracted from both sides.",
        reference="docs/metrics.md#systematic; Systema 2025", excludes_target=True, correlation=True,
        undefined="constant prediction or truth",
    ),
    Metric(
        name="mse_delta", title="Squared error of change", direction="lower", best=0.0, unit="(log1p_cp10k)^2",
        chance="as no_change", definition="Mean over genes of (predicted - measured delta)^2.",
        reference="docs/metrics.md#profile-suite; at the level of conditions", excludes_target=True, headline=True,
    ),
    Metric(
        name="r2_top50_delta", title="R2 of the top 50 genes", direction="higher", best=1.0, chance="0 or less",
        unit="log1p_cp10k delta",
        definition="R2 of the delta over the 50 genes with the largest measured |delta|.",
        reference="docs/metrics.md#profile-suite", excludes_target=True, headline=True, undefined="constant truth",
    ),
    Metric(
        name="r2_top50_test_delta", title="R2 of the top 50 genes by test", direction="higher", best=1.0,
        chance="0 or less", unit="log1p_cp10k delta",
        definition="R2 of the delta over the 50 genes with the smallest measured p value, then the largest |delta|.",
        reference="docs/metrics.md#profile-suite", excludes_target=True, undefined="constant truth",
    ),
    Metric(
        name="r2_top50_abs", title="R2 of the top 50 genes, absolute", direction="higher", best=1.0,
        chance="the value of no_change, often above 0.9", unit="log1p_cp10k",
        definition="R2 of expression itself over the 50 genes with the largest measured |delta|; for comparison only.",
        reference="docs/metrics.md#profile-suite (the published definition)", excludes_target=True, undefined="constant truth",
    ),
)  # fmt: skip


def pearson(a_pg: np.ndarray, b_pg: np.ndarray, keep_pg: np.ndarray) -> np.ndarray:
    """`[p]` Pearson correlation of each row over the kept genes; NaN where a side is constant.

    Args:
        a_pg: `[p, g]`.
        b_pg: `[p, g]`.
        keep_pg: `[p, g]` bool.
    """
    n = keep_pg.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        a = np.where(keep_pg, a_pg - (np.where(keep_pg, a_pg, 0).sum(1) / n)[:, None], 0)
        b = np.where(keep_pg, b_pg - (np.where(keep_pg, b_pg, 0).sum(1) / n)[:, None], 0)
        norm_a, norm_b = np.sqrt(np.einsum("pg,pg->p", a, a)), np.sqrt(np.einsum("pg,pg->p", b, b))
        r = np.einsum("pg,pg->p", a, b) / (norm_a * norm_b)
    r[~((norm_a > CONSTANT * np.sqrt(n)) & (norm_b > CONSTANT * np.sqrt(n)))] = np.nan
    return np.clip(r, -1, 1)


def mean_squared_error(a_pg: np.ndarray, b_pg: np.ndarray, keep_pg: np.ndarray) -> np.ndarray:
    """`[p]` mean squared difference of each row over the kept genes."""
    return (np.where(keep_pg, a_pg - b_pg, 0) ** 2).sum(axis=1) / keep_pg.sum(axis=1)


def r2(predicted_pk: np.ndarray, measured_pk: np.ndarray) -> np.ndarray:
    """`[p]` 1 - sum (predicted - measured)^2 / sum (measured - its mean)^2 of each row; NaN where measured is constant."""
    error = ((predicted_pk - measured_pk) ** 2).sum(axis=1)
    spread = ((measured_pk - measured_pk.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > CONSTANT**2 * measured_pk.shape[1], 1 - error / spread, np.nan)
