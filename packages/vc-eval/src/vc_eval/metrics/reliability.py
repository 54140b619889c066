"""Whether a stated uncertainty says where the errors are (docs/metrics.md#profile-suite).

Uncertainty compared over several data sets just finds the noisy one: call these within a data set. The suite's ECE is
kept for comparison; it is free of scale and ruled by outliers, so it says little about calibration.
"""

import numpy as np

from vc_eval.metrics.ranks import pearson, spearman
from vc_eval.metrics.registry import family

LEVELS = tuple(round(0.05 * k, 2) for k in range(1, 20))


_metric = family(
    prefix="uncertainty/", direction="lower", best=0.0, unit="share",
    space="log1p_cp10k delta", reference="docs/metrics.md#profile-suite", aggregate="derived",
)  # fmt: skip

METRICS = (
    _metric("ece_biojepa", "ECE of min-max scaled values", "Sum over 10 equal-width bins of scaled uncertainty of the share "
            "of cells times |mean scaled uncertainty - mean scaled error|.", "below 0.5"),
    _metric("coverage_error_19", "Coverage error, 19 levels", "Mean over levels 0.05 to 0.95 of |share of truths inside the "
            "central interval - level|.", "up to 0.5"),
    _metric("nll", "Negative log likelihood", "Mean of that of the truth under the predicted normal distribution.",
            "that of the overall spread", best=-float("inf"), unit="nats"),
    _metric("crps", "Continuous ranked probability score", "Mean of that of the predicted normal distribution.",
            "that of the overall spread", unit="log1p_cp10k"),
    _metric("variance_ratio", "Squared error over variance", "Mean squared error over mean predicted variance.", "none",
            direction="nearest", best=1.0, unit="ratio"),
    _metric("ause", "Area under the sparsification error", "Mean gap between the error left when the most uncertain go "
            "first and when the worst go first, over that of a random order.", "1", unit="ratio"),
    *(
        _metric(f"risk_at_{share}", f"Error at {share} % coverage", f"Mean error of the {share} % most certain.",
                "the mean error", unit="as the error")
        for share in (50, 80)
    ),
    _metric("pearson", "Uncertainty and error, Pearson", "Pearson of predicted uncertainty and error.", "0",
            direction="higher", best=1.0, unit="correlation"),
    _metric("spearman", "Uncertainty and error, Spearman", "Spearman of predicted uncertainty and error.", "0",
            direction="higher", best=1.0, unit="correlation"),
    _metric("monotonicity", "Uncertainty and error, monotone steps", "Share of the 9 steps between 10 percentile bins of "
            "uncertainty at which the mean error rises.", "0.5", direction="higher", best=1.0),
)  # fmt: skip


def error_scores(uncertainty_n: np.ndarray, error_n: np.ndarray) -> dict[str, float]:
    """Everything that needs only an uncertainty and an error per item.

    Args:
        uncertainty_n: `[n]` greater is less certain; any scale.
        error_n: `[n]` error of each item, 0 or more.
    """
    scores = {
        "ece_biojepa": ece_biojepa(uncertainty_n, error_n),
        "ause": ause(uncertainty_n, error_n),
        "risk_at_50": selective_risk(uncertainty_n, error_n, 0.5),
        "risk_at_80": selective_risk(uncertainty_n, error_n, 0.8),
        "pearson": pearson(uncertainty_n, error_n),
        "spearman": spearman(uncertainty_n, error_n),
        "monotonicity": monotonicity(uncertainty_n, error_n),
    }
    return {f"uncertainty/{name}": value for name, value in scores.items()}


def normal_scores(predicted: np.ndarray, sd: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """Everything that needs a predicted mean and standard deviation, pooled over all given values.

    Args:
        predicted: Means, any shape.
        sd: Standard deviations, above 0, same shape.
        real: Truth; measurement noise belongs into `sd` if the truth is noisy.
    """
    from scipy.special import ndtr, ndtri

    z = (np.asarray(real) - predicted) / sd
    error = (np.asarray(real) - predicted) ** 2
    nll = 0.5 * (np.log(2 * np.pi) + z**2) + np.log(sd)
    crps = sd * (z * (2 * ndtr(z) - 1) + 2 * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) - 1 / np.sqrt(np.pi))
    widths = ndtri(0.5 + np.array(LEVELS) / 2)
    inside = np.array([(np.abs(z) <= width).mean() for width in widths])
    scores = {
        "nll": float(nll.mean()),
        "crps": float(crps.mean()),
        "variance_ratio": float(error.mean() / np.mean(np.square(sd))),
        "coverage_error_19": float(np.abs(inside - np.array(LEVELS)).mean()),
    }
    return {f"uncertainty/{name}": value for name, value in scores.items()}


def ece_biojepa(uncertainty_n: np.ndarray, error_n: np.ndarray, n_bins: int = 10) -> float:
    """Gap of min-max scaled uncertainty and error over equal-width bins of uncertainty; NaN where one is constant."""
    if np.ptp(uncertainty_n) == 0 or np.ptp(error_n) == 0:
        return float("nan")
    u, e = ((x - np.min(x)) / np.ptp(x) for x in (np.asarray(uncertainty_n), np.asarray(error_n)))
    bins = np.minimum((u * n_bins).astype(int), n_bins - 1)
    n = np.bincount(bins, minlength=n_bins)
    sums = [np.bincount(bins, weights=x, minlength=n_bins) for x in (u, e)]
    return float(np.abs(sums[0] - sums[1])[n > 0].sum() / u.size)


def monotonicity(uncertainty_n: np.ndarray, error_n: np.ndarray, n_bins: int = 10) -> float:
    """Share of steps between percentile bins of uncertainty at which the mean error rises; NaN below one item a bin."""
    if len(uncertainty_n) < n_bins:
        return float("nan")
    order = np.argsort(uncertainty_n, kind="stable")
    means = [np.asarray(error_n)[part].mean() for part in np.array_split(order, n_bins)]
    return float((np.diff(means) > 0).mean())


def ause(uncertainty_n: np.ndarray, error_n: np.ndarray) -> float:
    """Sparsification error: 0 if the most uncertain are the worst, 1 if the order is random; NaN if errors are equal.

    The mean error of what is left is averaged over all numbers removed, minus the same for the best order, over that of
    the mean error minus the best order. Items of equal uncertainty share their mean error, so ties cannot help.
    """
    uncertainty_n, error_n = np.asarray(uncertainty_n), np.asarray(error_n, np.float64)
    _, code = np.unique(uncertainty_n, return_inverse=True)
    shared = (np.bincount(code, weights=error_n) / np.bincount(code))[code]
    left = np.arange(1, error_n.size + 1)
    kept = (np.cumsum(shared[np.argsort(uncertainty_n, kind="stable")]) / left).mean()
    best = (np.cumsum(np.sort(error_n)) / left).mean()
    room = error_n.mean() - best
    return float((kept - best) / room) if room > 0 else float("nan")


def selective_risk(uncertainty_n: np.ndarray, error_n: np.ndarray, coverage: float) -> float:
    """Mean error of the most certain share of items; at least one."""
    n = max(1, round(coverage * len(uncertainty_n)))
    return float(np.asarray(error_n)[np.argsort(uncertainty_n, kind="stable")[:n]].mean())
