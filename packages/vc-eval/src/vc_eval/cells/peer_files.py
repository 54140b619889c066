"""cell-eval's own result files, so that what reads them goes on working: `results.csv`, `agg_results.csv`, score files.

The columns, their order and the statistics are those of cell-eval 0.8.2 (docs/metrics.md#files).
"""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from vc_contracts.text.names import file_names, safe_table

from vc_eval.contracts import write_whole
from vc_eval.errors import ContractError, VcEvalError
from vc_eval.metrics.challenge2025 import scaled_score

if TYPE_CHECKING:
    import pandas as pd

VCC_COLUMNS = {"des": "overlap_at_N", "mae": "mae", "pds": "discrimination_score_l1"}
STATISTICS = ("count", "null_count", "mean", "std", "min", "25%", "50%", "75%", "max")
BEST_IS_ZERO = ("mae", "mse", "mae_delta", "mse_delta")
BEST_IS_ONE = (
    "overlap_at_N", "overlap_at_50", "overlap_at_100", "overlap_at_200", "overlap_at_500", "precision_at_N",
    "precision_at_50", "precision_at_100", "precision_at_200", "precision_at_500", "de_spearman_sig",
    "de_direction_match", "de_spearman_lfc_sig", "de_sig_genes_recall", "pr_auc", "roc_auc", "pearson_delta",
    "discrimination_score_l1", "discrimination_score_l2", "discrimination_score_cosine", "pearson_edistance",
    "clustering_agreement",
)  # fmt: skip


def peer_results(per_perturbation: "pd.DataFrame") -> "dict[str, pd.DataFrame]":
    """One table per context as cell-eval writes it: `perturbation` and one column per metric.

    Args:
        per_perturbation: Of a `RuleResult` of `vcc2025`, `vcc2025-leaderboard` or the profile `full`.
    """
    tables: dict[str, pd.DataFrame] = {}
    for context, part in per_perturbation.groupby("context", sort=True):
        names = part["metric"].str.rsplit("/", n=1).str[-1]
        part = part.assign(metric=names.map(VCC_COLUMNS).fillna(names))
        order = list(dict.fromkeys(part["metric"]))
        wide = part.pivot(index="perturbation", columns="metric", values="value").sort_index()
        tables[cast("str", context)] = wide[order].reset_index().rename_axis(columns=None)
    return tables


def describe(table: "pd.DataFrame") -> "pd.DataFrame":
    """`agg_results.csv` of a results table: nine statistics; NaN makes a mean NaN, quartiles are the nearest value."""
    import pandas as pd

    columns = {}
    for name in table.columns.drop("perturbation"):
        values = table[name].to_numpy(np.float64)
        ordered = np.sort(values)  # NaN last
        n = values.size
        quartiles = [ordered[_nearest(q, n)] for q in (0.25, 0.5, 0.75)]
        spread = float(np.std(values, ddof=1)) if n > 1 else np.nan
        known = values[~np.isnan(values)]
        ends = (known.min(), known.max()) if known.size else (np.nan, np.nan)
        columns[name] = [float(n), 0.0, float(values.mean()), spread, ends[0], *quartiles, ends[1]]
    return pd.DataFrame({"statistic": STATISTICS, **columns})


def _nearest(quantile: float, n: int) -> int:
    """Position of the value nearest to a quantile, halves up."""
    return int(np.floor((n - 1) * quantile + 0.5))


def write_peer_files(folder: Path, per_perturbation: "pd.DataFrame") -> list[str]:
    """Write `results.csv` and `agg_results.csv` into a folder that is being made, per context with its name in front.

    Returns:
        Their names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    tables = peer_results(per_perturbation)
    part_of = file_names(tables)
    for context, table in tables.items():
        prefix = f"{part_of[context]}_" if context else ""
        for name, content in (("results.csv", table), ("agg_results.csv", describe(table))):
            file = folder / (f"{prefix}{name}" if name == "results.csv" else f"agg_{prefix}results.csv")
            safe_table(content).to_csv(file, index=False)
            written.append(file.name)
    return written


def read_mean(path: str | Path) -> dict[str, float]:
    """The `mean` row of an `agg_results.csv`, by metric, in its order; an empty cell is NaN.

    Raises:
        ContractError: If the file is no such table.
    """
    path = Path(path)
    remedy = "Pass the agg_results.csv of `vc-eval cells --rule vcc2025` or of `cell-eval run`."
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(path, "file", "a table of aggregate results", f"none ({error})", remedy) from None
    if not rows or not rows[0] or rows[0][0] != "statistic":
        raise ContractError(path, "first column", "'statistic'", repr(rows[0][:1] if rows else []), remedy)
    means = [row for row in rows[1:] if row and row[0] == "mean"]
    if len(means) != 1 or len(means[0]) != len(rows[0]):
        raise ContractError(path, "statistic", "one whole row 'mean'", f"{len(means)}", remedy)
    try:
        values = [float(x) if x else np.nan for x in means[0][1:]]
    except ValueError as error:
        raise ContractError(path, "mean", "numbers", str(error), remedy) from None
    return dict(zip(rows[0][1:], values, strict=True))


def score_against_baseline(user: dict[str, float], baseline: dict[str, float]) -> list[tuple[str, float]]:
    """Scaled scores as `cell-eval score` orders them: errors first, `avg_score` last (docs/metrics.md#scaled-score).

    Args:
        user: Metric -> mean over perturbations.
        baseline: The same of the mean baseline; the same metrics in the same order.

    Returns:
        (metric, score) pairs; metrics that cell-eval does not score are left out.

    Raises:
        VcEvalError: If the metrics differ or none is scored.
    """
    if list(user) != list(baseline):
        differ = next(
            (f"{a!r} against {b!r}" for a, b in zip(user, baseline, strict=False) if a != b), f"{len(user)} against {len(baseline)} columns"
        )  # fmt: skip
        raise VcEvalError(
            f"score: both tables need the same metrics in the same order; found {differ}. Run both alike."
        )
    scored = [
        (name, float(scaled_score(np.asarray(user[name], np.float64), np.asarray(baseline[name], np.float64), best)))
        for best, names in ((0, BEST_IS_ZERO), (1, BEST_IS_ONE))
        for name in user
        if name in names
    ]
    if not scored:
        raise VcEvalError(f"score: none of the metrics {list(user)!r} is scored; expected e.g. overlap_at_N and mae.")
    return [*scored, ("avg_score", float(np.mean([value for _, value in scored])))]


def write_score(path: str | Path, scores: list[tuple[str, float]], *, overwrite: bool = False) -> None:
    """Write `metric,from_baseline` rows."""
    with (
        write_whole(path, overwrite=overwrite, make_parent=True) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file, lineterminator="\n").writerows([("metric", "from_baseline"), *scores])
