"""From conditions to scores-v1: means over conditions, bootstrap intervals, best baseline and ceiling beside each value.

Splits of one data set are pooled; conditions of one perturbation, in whatever split or cell line, stay together when
resampled. Undefined values (NaN) are left out of means and counted through `n`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from vc_eval.contracts import SCORE_KEY, SCORE_TYPES
from vc_eval.errors import VcEvalError
from vc_eval.metrics import beat, calibration, get_metric, reliability
from vc_eval.metrics import challenge2025 as vcc
from vc_eval.metrics.uncertainty import LEVELS
from vc_eval.roles import MEAN_BASELINE, SPLIT_HALF, SPLIT_HALF_SB
from vc_eval.stats.bootstrap import BootstrapMeans, cluster_means, cluster_weights, interval
from vc_eval.stats.conditions import SplitScores

if TYPE_CHECKING:
    from collections.abc import Iterable

TERCILES = ("weak", "medium", "strong")
MIN_PER_TERCILE = 3
BEATS = tuple(f"{family}/" for family in beat.FAMILIES)
CHALLENGE_RULES = ("vcc2025", "vcc2025-leaderboard")
CHALLENGE_MEMBERS = ("des", "pds", "mae")
COVERAGES = tuple(f"calibration/coverage_{level}" for level in LEVELS)


@dataclass(frozen=True, kw_only=True)
class Cube:
    """Scores of one data set as one array: conditions x models x metrics."""

    dataset: str
    split: str
    index: pd.DataFrame
    """One row per condition: split, cell_line, perturbation, kind."""
    models: list[str]
    metrics: list[str]
    values: np.ndarray
    """`[n, models, metrics]`, NaN where undefined."""
    given: np.ndarray
    """`[models, metrics]` bool; whether the model has the metric at all."""
    effect: np.ndarray | None = None
    """`[n]` strength of each condition, NaN where unknown."""

    def column(self, model: str, metric: str) -> np.ndarray:
        """`[n]` values of one model and metric."""
        return self.values[:, self.models.index(model), self.metrics.index(metric)]

    def groups(self) -> dict[str, np.ndarray]:
        """Group name -> bool per condition: all, the kinds, the cell lines, thirds by strength of the effect."""
        groups = {"all": np.ones(len(self.index), bool)}
        for key in ("kind", "cell_line"):
            for name in sorted(set(self.index[key])):
                groups[name] = (self.index[key] == name).to_numpy()
        if self.effect is not None and np.isfinite(self.effect).sum() >= MIN_PER_TERCILE * len(TERCILES):
            known = np.flatnonzero(np.isfinite(self.effect))
            order = known[np.argsort(self.effect[known], kind="stable")]
            for name, part in zip(TERCILES, np.array_split(order, len(TERCILES)), strict=True):
                if name not in groups:  # a cell line may be called so
                    groups[name] = np.isin(np.arange(len(self.effect)), part)
        return groups


def summarise(splits: list[SplitScores], *, baselines: list[str], seed: int, n_boot: int = 2000) -> pd.DataFrame:
    """Scores in the layout of scores-v1.

    Groups are `all`, `single`, `combo`, each cell line, `weak`, `medium` and `strong` (thirds of nine or more conditions
    by strength of the measured effect) and each condition. `baseline` is the value of the best of the
    baselines on the same metric and group, `ceiling` that of `split_half`.

    Args:
        splits: From `score_split`; several of one data set are pooled.
        baselines: Names of the models that are baselines; `beat/<name>` is made for each.
        seed: Seed of the bootstrap.
        n_boot: Resamples.

    Raises:
        VcEvalError: If a baseline was not scored.
    """
    frames = []
    for cube in make_cubes(splits, baselines):
        for group, mask in cube.groups().items():
            frames.append(_group_rows(cube, group, mask, baselines, seed, n_boot))
        frames.append(_condition_rows(cube, baselines))
    scores = pd.concat(frames, ignore_index=True)
    scores["metric_version"] = [get_metric(name).version for name in scores["metric"]]
    return scores[list(SCORE_TYPES)].sort_values(SCORE_KEY, kind="stable", ignore_index=True)


def paired_differences(
    splits: list[SplitScores],
    *,
    models: list[str],
    baselines: list[str],
    metrics: list[str],
    seed: int,
    n_boot: int = 2000,
) -> pd.DataFrame:
    """Mean paired difference of each model to each baseline over all conditions, turned so that positive is better.

    Args:
        splits: From `score_split`.
        models: Models to compare.
        baselines: Baselines to compare them with.
        metrics: Names; `vcc2025/overall` is a difference of scores, the others are means of differences over the
            conditions where both have a value.
        seed: Seed of the bootstrap.
        n_boot: Resamples.

    Returns:
        Columns dataset, split, model, baseline, metric, difference, lower, upper, n.
    """
    rows = []
    for cube in make_cubes(splits, baselines):
        cluster, weights = _clusters(cube, np.ones(len(cube.index), bool), seed, n_boot)
        pairs = [(m, b, k) for m in models for b in baselines for k in metrics if m != b]
        if not pairs:
            continue
        columns = []
        for model, baseline, metric in pairs:
            if metric.endswith("/overall"):
                columns.append(np.full(len(cube.index), np.nan))
            else:
                gain = get_metric(metric).gain
                columns.append(gain(cube.column(model, metric)) - gain(cube.column(baseline, metric)))
        means = cluster_means(np.stack(columns, axis=1), cluster, weights)
        challenge = _challenge(cube, _means(cube, np.ones(len(cube.index), bool), cluster, weights))
        for k, (model, baseline, metric) in enumerate(pairs):
            if metric.endswith("/overall"):
                scores = [challenge[cube.models.index(name)][metric] for name in (model, baseline)]
                means.point[k], means.draws[:, k] = scores[0][0] - scores[1][0], scores[0][1] - scores[1][1]
                means.n[k] = scores[0][2]
        lower, upper = interval(means.point, means.draws, weights.shape[1])
        for k, (model, baseline, metric) in enumerate(pairs):
            rows.append(
                (cube.dataset, cube.split, model, baseline, metric, means.point[k], lower[k], upper[k], means.n[k])
            )
    names = ["dataset", "split", "model", "baseline", "metric", "difference", "lower", "upper", "n"]
    return pd.DataFrame(rows, columns=names)


def undefined_counts(splits: list[SplitScores]) -> list[dict]:
    """How many conditions have no value, by model, metric and reason."""
    frame = pd.concat([s.conditions for s in splits], ignore_index=True)
    frame = frame[frame["value"].isna()]
    counts = frame.groupby(["model", "metric", "reason"], sort=True).size()
    return [
        {"model": m, "metric": k, "reason": r, "conditions": int(n)}
        for (m, k, r), n in cast("Iterable[Any]", counts.items())
    ]


def make_cubes(splits: list[SplitScores], baselines: list[str]) -> list[Cube]:
    """One cube per data set, with the beat metrics against the baselines added.

    Raises:
        VcEvalError: If there is no split, a baseline was not scored, or pooled splits hold different models.
    """
    if not splits:
        raise VcEvalError("summarise: expected at least one scored split, found none.")
    cubes = []
    for dataset in sorted({s.dataset for s in splits}):
        pooled = [s for s in splits if s.dataset == dataset]
        for name in baselines:
            if any(name not in s.models and name != MEAN_BASELINE for s in pooled):
                raise VcEvalError(
                    f"summarise: the baseline {name!r} was not scored on {dataset!r}; scored were "
                    f"{', '.join(pooled[0].models)}. Add its predictions or leave it out."
                )
        effects = (
            pd.concat([pd.Series(s.effects, dtype=float) for s in pooled]) if any(s.effects for s in pooled) else None
        )
        frame = pd.concat(
            [s.conditions.assign(split=f"{k}:{s.split}") for k, s in enumerate(pooled)], ignore_index=True
        )
        keys = ["split", "cell_line", "perturbation", "kind"]
        codes, index = pd.factorize(pd.MultiIndex.from_frame(frame[keys]), sort=True)
        index = index.to_frame(index=False)
        index.columns = keys
        models = list(dict.fromkeys(frame["model"]))
        metrics = [m for m in dict.fromkeys(frame["metric"]) if not m.startswith(BEATS)]
        values = np.full((len(index), len(models), len(metrics)), np.nan)
        own = ~frame["metric"].str.startswith(BEATS).to_numpy()
        model_code = pd.Categorical(frame["model"], models).codes
        metric_code = pd.Categorical(frame["metric"], metrics).codes
        values[codes[own], model_code[own], metric_code[own]] = frame["value"].to_numpy()[own]
        given = np.zeros(values.shape[1:], bool)
        given[model_code[own], metric_code[own]] = True
        added, added_given = _beats(frame, codes, models, metrics, values, baselines)
        cubes.append(
            Cube(
                dataset=dataset,
                split="+".join(dict.fromkeys(s.split for s in pooled)),
                index=index,
                models=models,
                metrics=[*metrics, *added],
                values=np.concatenate([values, *added.values()], axis=2) if added else values,
                given=np.concatenate([given, *added_given], axis=1) if added else given,
                effect=None if effects is None else _effects_of(index, effects),
            )
        )
    return cubes


def _effects_of(index: pd.DataFrame, effects: pd.Series) -> np.ndarray:
    """`[n]` strength of each condition; the mean where several splits measured it."""
    known = effects.groupby(level=[0, 1]).mean().to_dict()
    keys = zip(index["cell_line"], index["perturbation"], strict=True)
    return np.array([known.get(key, np.nan) for key in keys])


def _beats(
    frame: pd.DataFrame,
    codes: np.ndarray,
    models: list[str],
    metrics: list[str],
    values: np.ndarray,
    baselines: list[str],
) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """`beat/` and its kin of every model against every baseline; those of the half data come from the ceiling."""
    added: dict[str, np.ndarray] = {}
    given = []
    for family, (_, metric, wins) in beat.FAMILIES.items():
        if metric not in metrics:
            continue
        base = values[:, :, metrics.index(metric)]
        for name in baselines:
            rival = base[:, models.index(name)]
            result = np.full((*base.shape, 1), np.nan)
            present = np.zeros((base.shape[1], 1), bool)
            for m, model in enumerate(models):
                if model in (SPLIT_HALF, SPLIT_HALF_SB):
                    rows = ((frame["model"] == model) & (frame["metric"] == f"{family}/{name}")).to_numpy()
                    result[codes[rows], m, 0] = frame["value"].to_numpy()[rows]
                    present[m] = rows.any()
                elif model != name:
                    result[:, m, 0] = wins(base[:, m], rival)
                    present[m] = True
            added[f"{family}/{name}"] = result
            given.append(present)
    return added, given


def _clusters(cube: Cube, mask: np.ndarray, seed: int, n_boot: int) -> tuple[np.ndarray, np.ndarray]:
    """Cluster of each condition and the weights of clusters in each resample.

    Clusters are perturbations; where a screen holds fewer of them than cell lines (one drug in several contexts), the
    cell lines are what varies, and are resampled instead.
    """
    fewer = cube.index["perturbation"].nunique() < cube.index["cell_line"].nunique()
    codes, names = pd.factorize(cube.index["cell_line" if fewer else "perturbation"][mask], sort=True)
    return codes, cluster_weights(len(names), n_boot, seed)


def _means(cube: Cube, mask: np.ndarray, cluster: np.ndarray, weights: np.ndarray) -> BootstrapMeans:
    """Means of every (model, metric), flattened in that order."""
    return cluster_means(cube.values[mask].reshape(int(mask.sum()), -1), cluster, weights)


def _challenge(cube: Cube, means: BootstrapMeans) -> list[dict[str, tuple]]:
    """Per model the scaled challenge scores and their mean: {metric: (point, draws, n)}; NaN where a member is.

    Empty without the members of a rule or without the mean baseline they are scaled against.
    """
    n_metrics = len(cube.metrics)
    result: list[dict[str, tuple]] = [{} for _ in cube.models]
    for rule in CHALLENGE_RULES:
        names = [f"{rule}/{member}" for member in CHALLENGE_MEMBERS]
        if MEAN_BASELINE not in cube.models or not set(names) <= set(cube.metrics):
            continue
        at = [cube.metrics.index(name) for name in names]
        base = cube.models.index(MEAN_BASELINE) * n_metrics
        for m, scores in enumerate(result):
            parts = []
            for name, k in zip(names, at, strict=True):
                j, b = m * n_metrics + k, base + k
                user = np.concatenate([means.point[j : j + 1], means.draws[:, j]])
                baseline = np.concatenate([means.point[b : b + 1], means.draws[:, b]])
                score = vcc.scaled_score(user, baseline, get_metric(name).best)
                score[np.isnan(user) | np.isnan(baseline)] = np.nan
                scores[f"{name}_scaled"] = (score[0], score[1:], means.n[j])
                parts.append(score)
            overall = vcc.overall_score(*parts)
            scores[f"{rule}/overall"] = (overall[0], overall[1:], min(means.n[m * n_metrics + k] for k in at))
    return result


def _calibration(
    cube: Cube, means: BootstrapMeans, mask: np.ndarray, cluster: np.ndarray, weights: np.ndarray
) -> list[dict[str, tuple]]:
    """Per model the coverage error and the rank correlation of predicted and realised error, where it states an sd."""
    result: list[dict[str, tuple]] = [{} for _ in cube.models]
    if COVERAGES[0] not in cube.metrics:
        return result
    at = [cube.metrics.index(name) for name in COVERAGES]
    for m, model in enumerate(cube.models):
        if not cube.given[m, at[0]]:
            continue
        columns = [m * len(cube.metrics) + k for k in at]
        n = means.n[columns[0]]
        result[m]["calibration/coverage_error"] = (
            float(calibration.coverage_error(means.point[columns])), calibration.coverage_error(means.draws[:, columns]), n
        )  # fmt: skip
        predicted = cube.column(model, "calibration/predicted_error")[mask]
        realised = np.sqrt(cube.column(model, "mse_delta")[mask])
        draws = calibration.error_rank_correlation_draws(predicted, realised, weights[:, cluster])
        result[m]["calibration/spearman"] = (calibration.error_rank_correlation(predicted, realised), draws, n)
        kept = np.isfinite(predicted) & np.isfinite(realised)
        if kept.sum() >= 3:
            unknown = np.full(len(weights), np.nan)
            for name, measure in (("ause", reliability.ause), ("ece_biojepa", reliability.ece_biojepa)):
                result[m][f"uncertainty/{name}"] = (measure(predicted[kept], realised[kept]), unknown, int(kept.sum()))
    return result


def _group_rows(cube: Cube, group: str, mask: np.ndarray, baselines: list[str], seed: int, n_boot: int) -> pd.DataFrame:
    cluster, weights = _clusters(cube, mask, seed, n_boot)
    means = _means(cube, mask, cluster, weights)
    lower, upper = interval(means.point, means.draws, weights.shape[1])
    shape = (len(cube.models), len(cube.metrics))
    m, k = np.nonzero(cube.given)
    rows = pd.DataFrame({
        "model": np.array(cube.models, object)[m], "metric": np.array(cube.metrics, object)[k],
        "value": means.point.reshape(shape)[m, k], "lower": lower.reshape(shape)[m, k],
        "upper": upper.reshape(shape)[m, k], "n": means.n.reshape(shape)[m, k],
    })  # fmt: skip
    derived = []
    calibrated = _calibration(cube, means, mask, cluster, weights)
    for model, challenge, calibration_scores in zip(cube.models, _challenge(cube, means), calibrated, strict=True):
        if model == SPLIT_HALF_SB:
            continue
        for metric, (point, draws, n) in (challenge | calibration_scores).items():
            low, high = interval(np.array([point]), draws[:, None], weights.shape[1])
            derived.append((model, metric, point, low[0], high[0], n))
    if derived:
        rows = pd.concat([rows, pd.DataFrame(derived, columns=rows.columns)], ignore_index=True)
    rows = rows.assign(dataset=cube.dataset, split=cube.split, group=group)
    best, ceiling = {}, {}
    for metric, part in rows.groupby("metric"):
        known = part[part["model"].isin(baselines) & part["value"].notna()]
        if len(known):
            best[metric] = known["value"].to_numpy()[
                np.argmax(get_metric(cast("str", metric)).gain(known["value"].to_numpy()))
            ]
        half = part["value"][part["model"] == SPLIT_HALF]
        if len(half):
            ceiling[metric] = half.iloc[0]
    rows["baseline"] = rows["metric"].map(best).astype(float)
    rows["ceiling"] = rows["metric"].map(ceiling).astype(float)
    return rows


def _condition_rows(cube: Cube, baselines: list[str]) -> pd.DataFrame:
    """One row per model, metric and condition: the mean over splits, without interval."""
    names = "condition:" + cube.index["cell_line"] + "|" + cube.index["perturbation"]
    codes, groups = pd.factorize(names, sort=True)
    defined = np.isfinite(cube.values)
    total, count = (np.zeros((len(groups), *cube.values.shape[1:])) for _ in range(2))
    np.add.at(total, codes, np.where(defined, cube.values, 0.0))
    np.add.at(count, codes, defined)
    with np.errstate(invalid="ignore"):
        value = total / count
    gain = np.stack([get_metric(name).gain(value[:, :, k]) for k, name in enumerate(cube.metrics)], axis=2)
    base = [cube.models.index(name) for name in baselines]
    best = np.full((len(groups), len(cube.metrics)), np.nan)
    if base:
        ranked = np.where(np.isnan(gain[:, base]), -np.inf, gain[:, base])
        best = np.take_along_axis(value[:, base], ranked.argmax(axis=1)[:, None], axis=1)[:, 0]
    half = value[:, cube.models.index(SPLIT_HALF)] if SPLIT_HALF in cube.models else np.full_like(best, np.nan)
    g, m, k = np.nonzero(np.broadcast_to(cube.given, value.shape))
    return pd.DataFrame({
        "model": np.array(cube.models, object)[m], "dataset": cube.dataset, "split": cube.split,
        "metric": np.array(cube.metrics, object)[k], "group": np.array(groups, object)[g], "value": value[g, m, k],
        "lower": np.nan, "upper": np.nan, "n": count[g, m, k].astype(np.int64), "baseline": best[g, k],
        "ceiling": half[g, k],
    })  # fmt: skip
