"""Paired statistics over held-out conditions of several splits, resampled by perturbation.

A frame of scores has one row per held-out condition, split, model and seed; scores of several seeds of one model are
averaged condition by condition first. The gates of `vc_eval.stats.gates` stand on these numbers.
"""

from typing import TYPE_CHECKING

import numpy as np

from vc_eval.metrics import calibration, get_metric
from vc_eval.stats.bootstrap import cluster_means, cluster_weights, interval

if TYPE_CHECKING:
    import pandas as pd

KEYS = ["split", "cell_line", "perturbation"]
N_BOOT = 2000
N_LEVELS = 9  # central intervals of 10 to 90 %

type Estimate = tuple[float, float, float]
"""A number and its 95 % interval: (value, lower, upper)."""


def resampled(quantity: "pd.Series") -> Estimate:
    """Mean of a quantity per condition and its 95 % interval, resampled by perturbation.

    Args:
        quantity: One value per condition, indexed by `split`, `cell_line` and `perturbation`. With fewer than three
            perturbations, the same perturbation in another line counts as another one.
    """
    import pandas as pd

    keys = quantity.index.to_frame(index=False)
    units = ["perturbation", "cell_line"] if keys["perturbation"].nunique() < 3 else ["perturbation"]
    cluster, names = pd.factorize(pd.MultiIndex.from_frame(keys[units]), sort=True)
    means = cluster_means(quantity.to_numpy()[:, None], cluster, cluster_weights(len(names), N_BOOT, 0))
    lower, upper = interval(means.point, means.draws, len(names))
    return float(means.point[0]), float(lower[0]), float(upper[0])


def compare(scores: "pd.DataFrame", metric: str, first: str, second: str) -> tuple[float, float, float, int]:
    """Mean paired gain of the second over the first (positive: better), its 95 % interval, and the conditions."""
    import pandas as pd

    wide = scores.groupby([*KEYS, "model"])[metric].mean().unstack("model").reindex(columns=[first, second]).dropna()
    if wide.empty:
        return np.nan, np.nan, np.nan, 0
    gain = get_metric(metric).gain
    gain_n = gain(wide[second].to_numpy()) - gain(wide[first].to_numpy())
    return *resampled(pd.Series(gain_n, wide.index)), len(wide)


def calibrated(scores: "pd.DataFrame", model: str) -> tuple[list[Estimate], ...]:
    """Coverage error with the noise of the held-out cells and with the planned one; ranks (see `rank_correlations`)."""
    errors = [coverage_error(scores, model, prefix) for prefix in ("coverage", "planned_coverage")]
    return errors, rank_correlations(scores, model)


def coverage_error(scores: "pd.DataFrame", model: str, prefix: str) -> Estimate:
    """Coverage error with its 95 % interval."""
    import pandas as pd

    own = scores[scores["model"] == model].groupby(KEYS)[[f"{prefix}_{level}" for level in range(N_LEVELS)]].mean()
    cluster, names = pd.factorize(own.index.get_level_values("perturbation"), sort=True)
    means = cluster_means(own.to_numpy(), cluster, cluster_weights(len(names), N_BOOT, 0))
    found = calibration.coverage_error(means.point)
    lower, upper = np.quantile(calibration.coverage_error(means.draws), [0.025, 0.975]) if len(names) > 1 else (0, 1)
    return float(found), float(lower), float(upper)


def rank_correlations(scores: "pd.DataFrame", model: str) -> list[Estimate]:
    """Mean over splits of how well errors are ranked, each with its 95 % interval, resampled by perturbation.

    The realised squared error by the predicted one, by that and the planned noise, and by the planned noise; and the
    realised one less the noise of the held-out cells, which estimates the error against the true effect, by the
    predicted one.
    """
    own = scores[scores["model"] == model].groupby(KEYS).mean(numeric_only=True)
    square, planned, error = own["predicted_error"] ** 2, own["planned_noise"], own["mse_delta"]
    pairs = ((square, error), (square + planned, error), (planned, error), (square, error - own["noise"]))
    return [_mean_rank(own.assign(said=said, found=found)) for said, found in pairs]


def _mean_rank(own: "pd.DataFrame") -> Estimate:
    import pandas as pd

    cluster, names = pd.factorize(own.index.get_level_values("perturbation"), sort=True)
    weights = cluster_weights(len(names), N_BOOT, 0)
    ranks, draws = [], []
    for _, part in own.assign(cluster=cluster).groupby("split"):
        said, found = part["said"].to_numpy(), part["found"].to_numpy()
        ranks.append(calibration.error_rank_correlation(said, found))
        draws.append(calibration.error_rank_correlation_draws(said, found, weights[:, part["cluster"].to_numpy()]))
    if not np.isfinite(ranks).any():
        return np.nan, np.nan, np.nan
    point, draws = np.nanmean(ranks), np.array(draws)
    # A resample may hold too few conditions of a split; it is then the mean of the others.
    found = np.isfinite(draws)
    mean_b = np.divide(
        np.where(found, draws, 0).sum(axis=0), found.sum(axis=0), where=found.any(axis=0), out=np.full(N_BOOT, np.nan)
    )
    lower, upper = interval(np.array([point]), mean_b[:, None], len(names))
    return float(point), float(lower[0]), float(upper[0])
