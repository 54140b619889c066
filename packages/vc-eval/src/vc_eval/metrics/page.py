"""The page of all metrics, docs/metrics.md, made from the registry: name, definition, range, direction, chance, source."""

from vc_eval.metrics import REGISTRY, beat
from vc_eval.metrics.registry import Metric

SHARED = {
    "scale": ("What a matrix holds", "A value with a fractional part above 0.001 anywhere makes a matrix log1p; without one it holds counts, and every cell is scaled to the median total of its side and log1p is taken. Negative or non-finite values, and fractions beside values of 15 or more, are refused. This is how cell-eval 0.8.2 decides."),
    "differential-expression": ("Differential expression", "Two-sided Mann-Whitney U of a perturbation's cells against the control cells of the same side, gene by gene: normal approximation with tie and continuity correction. Benjamini-Hochberg over the genes of one perturbation. The fold change is log2 of expm1(mean log1p) over that of the control, without pseudocount: x/0 is infinite, 0/0 is 0. Significant means a q value below 0.05 in float32."),
    "des": ("DES", "With k significant genes in truth: the share of them among the k significant predicted genes of largest absolute log2 fold change. The target gene stays in, signs do not count. Ties follow gene order; lower and upper span all orders."),
    "pds": ("PDS", "1 - r/N, where r is the position of the own measured change among all N by L1 distance to the predicted one, the perturbed gene left out. Ties count half."),
    "mae": ("MAE", "Mean over genes of the absolute difference of predicted and measured mean log1p profiles."),
    "files": ("Files of cell-eval", "results.csv holds one row a perturbation, agg_results.csv nine statistics of each column; a NaN makes a mean NaN."),
    "mean-baseline": ("Mean baseline", "One profile, the unweighted mean over labels (the control among them) of each label's mean, repeated in every cell. Identical cells have no spread, which inflates their calls: it is the zero of scaled scores, not a model."),
    "scaled-score": ("Scaled score", "Errors: 1 - value/baseline. Scores: (value - baseline)/(1 - baseline). Clipped below at 0. The challenge score is the mean of DES, PDS and MAE so scaled."),
    "archive": ("Archive", "What the upload client takes: the cells as zstd-compressed h5ad and a watermark in an uncompressed tar, the gene list checked and in its order."),
    "leaderboard": ("Leaderboard of 2025", "cell-eval 0.6.6 with pdex 0.1.27: one Benjamini-Hochberg over all pairs, and fold changes of zero or infinity replaced by 1/20 and 20."),
    "halves": ("Split halves", "Each label's cells are cut into two disjoint halves of floor(n/2) cells; one predicts the other, raw."),
    "vcc2025": ("Virtual Cell Challenge 2025", "Differential expression, DES, PDS and MAE as above, on cells, each side against its own controls; equal to cell-eval 0.8.2 with pdex 0.3.0."),
    "vcc2026": ("Virtual Cell Challenge 2026", "Six members on raw counts, both sides tested against the real control, panel-wide exclusion of perturbed genes, scaled between the mean response and a replicate; equal to cell-eval2 0.20.0."),
    "full-profile": ("Full profile", "The metrics of cell-eval's profile full, with its names and definitions."),
    "profile-suite": ("Profile and embedding metrics", "Metrics of mean profiles, retrieval, mechanisms, calibration and embeddings, in the form that the BioJEPA evaluation uses and, where that form can be gained by a trivial answer, in a repaired form beside it. A name that ends in _biojepa is the published form."),
    "controls": ("Controls in every table", "No change, the mean effect and labels exchanged know nothing of a single perturbation; one half of the cells predicting the other knows what can be known."),
    "systematic": ("Shared response", "What all perturbations do alike. Systema subtracts the mean training change from both sides before it correlates them, so that predicting the mean earns nothing."),
    "weighted": ("Weights", "Squared, min-max scaled absolute Welch t of a perturbation against all other perturbed cells, normalised to 1 over genes; from the truth alone."),
    "ceilings": ("Ceiling and dynamic range", "One half of the cells predicts the other: a raw value, lower than what all cells could give where cells are few, so a model can lie above it. Spearman-Brown, 2r/(1 + r), extrapolates correlations only. The interpolated duplicate keeps a half where it is significant and takes the mean elsewhere. Dynamic range is how far a half moves a metric from the mean towards its best value."),
    "ranks": ("Ranks", "Position of the own profile among all candidates; ties count half, and the number of candidates is stated."),
    "population": ("Populations of cells", "Energy distance and maximum mean discrepancy with unbiased estimators."),
}  # fmt: skip
"""Anchor -> (heading, what it is): what several metrics share and the code cites."""


def anchor_of(name: str) -> str:
    """Anchor of a metric on the page: `vcc2025/des` -> `vcc2025-des`."""
    return "metric-" + "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")


def markdown() -> str:
    """The whole page."""
    metrics = sorted(
        [*REGISTRY.values(), *(make("BASELINE") for make, _, _ in beat.FAMILIES.values())], key=lambda m: m.name
    )
    lines = [
        "# Metrics", "",
        "Every number that vc-eval computes. Made by `vc-eval list --markdown`; change the registry, not this page.", "",
        "## What several metrics share", "",
    ]  # fmt: skip
    for anchor, (title, text) in SHARED.items():
        lines += [f"({anchor})=", f"### {title}", "", text, ""]
    lines += ["## Each metric", ""]
    for metric in metrics:
        lines += _entry(metric)
    return "\n".join(lines).rstrip() + "\n"


def _entry(metric: Metric) -> list[str]:
    target = " The perturbed gene is left out." if metric.excludes_target else ""
    facts = [
        f"better: {metric.direction}", f"best: {metric.best:g}", f"chance: {metric.chance}", f"unit: {metric.unit}",
        *([f"of: {metric.space}"] if metric.space else []), *([f"no value: {metric.undefined}"] if metric.undefined else []),
        f"version: {metric.version}", f"source: {metric.reference}",
    ]  # fmt: skip
    return [
        f"({anchor_of(metric.name)})=", f"### `{metric.name}`", "", f"**{metric.title}.** {metric.definition}{target}", "",
        "; ".join(facts).replace("|", "\\|") + ".", "",
    ]  # fmt: skip
