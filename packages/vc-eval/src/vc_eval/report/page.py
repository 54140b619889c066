"""One self-contained report page: the model beside every baseline and the ceiling, with intervals, drill-down, provenance.

The page holds its data as JSON and draws it with plain JavaScript; it loads nothing and works from a file. This file
decides what the page says; `templates/report.html` decides how it looks.
"""

import base64
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from vc_eval.contracts import write_whole
from vc_eval.errors import VcEvalError
from vc_eval.metrics import HEADLINES, get_metric
from vc_eval.metrics.uncertainty import LEVELS
from vc_eval.roles import MEAN_BASELINE, REFERENCES, SPLIT_HALF
from vc_eval.stats.summary import BEATS, CHALLENGE_RULES, paired_differences, undefined_counts
from vc_eval.stats.trust import dynamic_ranges

if TYPE_CHECKING:
    from vc_eval.stats.conditions import SplitScores

MAX_GENES = 1000  # genes drawn per condition
MAX_DRAWN_BYTES = 4_000_000  # of all drawn points together; more models or conditions mean fewer genes each
DELTA_SCALE = 1000  # drawn deltas are whole thousandths


def write_report(
    path: str | Path,
    *,
    summary: pd.DataFrame,
    splits_scores: "list[SplitScores]",
    meta: dict,
    overwrite: bool = False,
) -> None:
    """Write the report page.

    Args:
        path: The HTML file.
        summary: From `summarise`.
        splits_scores: The scores `summary` was made from.
        meta: `model` (the one in focus; default the first that is no baseline), `baselines` (names), `seed` and `n_boot`
            of the bootstrap, and for the provenance, as far as known: `command`, `hashes` (file name -> sha256),
            `versions` (package -> version).
        overwrite: Replace a page that is there.

    Raises:
        VcEvalError: If the model in focus was not scored.
    """
    import jinja2

    page = jinja2.Environment(
        loader=jinja2.PackageLoader("vc_eval.report", "templates"), autoescape=True, undefined=jinja2.StrictUndefined
    ).get_template("report.html")
    content = report_content(summary, splits_scores, meta)
    data = json.dumps(content["data"], separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    with write_whole(Path(path), overwrite=overwrite, make_parent=True) as temporary:
        temporary.write_text(page.render(**content | {"data": data}), encoding="utf-8")


def scores_from_table(table: pd.DataFrame, notes: dict) -> "list[SplitScores]":
    """The conditions behind a scores-v1 table, as `write_report` wants them; without the profiles that are drawn.

    Args:
        table: From `contracts.read_scores`.
        notes: What the writer kept about data and rule; may be empty.
    """
    from vc_eval.stats.conditions import SplitScores

    rows = table[table["group"].str.startswith("condition:")]
    names = rows["group"].str.removeprefix("condition:").str.split("|", n=1, expand=True)
    splits = []
    for (dataset, split), part in rows.groupby(["dataset", "split"], sort=True):
        own = names.loc[part.index]
        conditions = pd.DataFrame({
            "model": part["model"], "cell_line": own[0], "perturbation": own[1],
            "kind": np.where(own[1].str.contains("+", regex=False), "combo", "single"), "metric": part["metric"],
            "value": part["value"], "reason": np.where(part["value"].isna(), "undefined", ""),
        })  # fmt: skip
        models = [m for m in dict.fromkeys(part["model"]) if m not in (MEAN_BASELINE, *REFERENCES)]
        splits.append(
            SplitScores(
                dataset=dataset, split=split, models=models, conditions=conditions.reset_index(drop=True), deltas=[],
                notes={"rule": split} | notes,
            )
        )  # fmt: skip
    return splits


def report_content(summary: pd.DataFrame, splits_scores: "list[SplitScores]", meta: dict) -> dict:
    """Everything the page says, as plain values; `data` is what its script draws."""
    baselines = list(meta.get("baselines", []))
    scored = list(dict.fromkeys(name for s in splits_scores for name in s.models))
    others = [name for name in scored if name not in baselines]
    model = meta.get("model") or (others or scored)[0]
    if model not in scored:
        raise VcEvalError(f"report: the model {model!r} was not scored; scored were {', '.join(scored)}.")
    order = [model, *(m for m in others if m != model), *(b for b in scored if b in baselines and b != model)]
    order += [MEAN_BASELINE, *REFERENCES]
    table = summary[~summary["group"].str.startswith("condition:")]
    many = table["dataset"].nunique() > 1
    table = table.assign(group=table["dataset"] + " / " + table["group"] if many else table["group"])
    groups = list(dict.fromkeys(sorted(table["group"], key=lambda g: (g.split(" / ")[:-1], not g.endswith("all"), g))))
    scores = _scores(table, order)
    rival = _best(scores[groups[0]], "mse_delta", baselines, model)
    metrics = [*HEADLINES, *([f"beat/{rival}"] if rival else [])]
    metrics = [name for name in metrics if name in scores[groups[0]]]
    if not metrics:  # a rule or profile without headlines of the package
        metrics = [
            k for k in scores[groups[0]] if not k.endswith(("_lower", "_upper", "_scaled")) and not k.startswith(BEATS)
        ]
    seed, n_boot = int(meta.get("seed", 0)), int(meta.get("n_boot", 2000))
    paired = paired_differences(
        splits_scores, models=[model], baselines=[b for b in baselines if b != model],
        metrics=[name for name in metrics if not name.startswith(BEATS) and _has_conditions(splits_scores, name)],
        seed=seed, n_boot=n_boot,
    )  # fmt: skip
    data = {
        "model": model,
        "baselines": baselines,
        "models": order,
        "groups": groups,
        "metrics": [_describe(name) for name in metrics],
        "scores": {g: {k: v for k, v in scores[g].items() if k in metrics} for g in groups},
        "best": {g: {k: _best(scores[g], k, baselines, model) for k in metrics} for g in groups},
        "paired": [_finite(row) for row in paired.to_dict("records")],
        "levels": list(LEVELS),
        "coverage": _coverage(scores[groups[0]], order),
        "scatter": _scatter(splits_scores, model),
        "conditions": _conditions(summary, splits_scores, model, metrics),
    }
    names = list(dict.fromkeys(table["metric"]))
    names.sort(key=lambda name: (name not in metrics, name.startswith(BEATS), name))
    notes = [s.notes for s in splits_scores]
    return {
        "data": data,
        "model": model,
        "datasets": list(dict.fromkeys(s.dataset for s in splits_scores)),
        "splits": [{"dataset": s.dataset, "split": s.split, **s.notes} for s in splits_scores],
        "cards": _cards(data, paired, rival),
        "definitions": [_describe(name) for name in names if not name.startswith(BEATS) or name.endswith(f"/{rival}")],
        "undefined": undefined_counts(splits_scores),
        "ranges": _ranges(splits_scores, metrics),
        "n_boot": n_boot,
        "drawn_genes": data["scatter"]["n_genes"],
        "provenance": {
            "seed": seed,
            "command": meta.get("command", ""),
            "hashes": meta.get("hashes", {}),
            "versions": {"vc-eval": version("vc-eval"), "numpy": np.__version__} | meta.get("versions", {}),
            "rule": notes[0]["rule"],
            "config": meta.get("config", {}),
        },
    }


def _ranges(splits_scores: "list[SplitScores]", shown: list[str]) -> list[dict]:
    """Dynamic range of every metric, those of the table first, the clearest first."""
    frame = dynamic_ranges(splits_scores)
    rows = [row | {"title": get_metric(row["metric"]).title} for row in frame.to_dict("records")]
    return sorted(rows, key=lambda row: (row["metric"] not in shown, -row["median"], row["metric"]))


def _has_conditions(splits_scores: "list[SplitScores]", metric: str) -> bool:
    """Whether a metric can be compared condition by condition; the challenge score is compared as a whole."""
    return metric in {f"{rule}/overall" for rule in CHALLENGE_RULES} or all(
        (s.conditions["metric"] == metric).any() for s in splits_scores
    )


def _scores(table: pd.DataFrame, order: list[str]) -> dict:
    """Group -> metric -> model -> [value, lower, upper, n]; None where there is none."""
    scores: dict = {}
    known = table[table["model"].isin(order)]
    columns = (known[c].tolist() for c in ("group", "metric", "model", "value", "lower", "upper", "n"))
    for group, metric, model, *numbers in zip(*columns, strict=True):
        scores.setdefault(group, {}).setdefault(metric, {})[model] = [_round(x) for x in numbers]
    return scores


def _best(scores: dict, metric: str, baselines: list[str], model: str) -> str | None:
    """The baseline with the best value of a metric; None if none has one."""
    values = {b: scores.get(metric, {}).get(b, [None])[0] for b in baselines if b != model}
    values = {b: v for b, v in values.items() if v is not None}
    return (
        max(values, key=lambda b: float(get_metric(metric).gain(np.asarray(values[b], np.float64)))) if values else None
    )


def _describe(name: str) -> dict:
    metric = get_metric(name)
    return {
        "name": name, "title": metric.title, "direction": metric.direction, "chance": metric.chance,
        "best": metric.best if np.isfinite(metric.best) else "without limit",
        "unit": metric.unit, "definition": metric.definition, "reference": metric.reference, "version": metric.version,
        "excludes_target": metric.excludes_target,
    }  # fmt: skip


def _cards(data: dict, paired: pd.DataFrame, rival: str | None) -> list[dict]:
    """The three numbers that matter: correlation, beat rate against the strongest baseline, challenge score."""
    group = data["groups"][0]
    cards = []
    for name in ("pearson_delta", f"beat/{rival}", "vcc2025/overall"):
        values = data["scores"][group].get(name, {})
        own = values.get(data["model"])
        if own is None:
            continue
        best = data["best"][group].get(name)
        verdict = ""
        if name.startswith(BEATS):
            verdict = _against(
                0.5,
                own[1],
                own[2],
                ("wins more often than it loses", "loses more often than it wins", "wins about as often as it loses"),
            )
        elif best is not None:
            row = paired[(paired["metric"] == name) & (paired["baseline"] == best)].iloc[0]
            words = (f"better than {best}", f"worse than {best}", f"not told apart from {best}")
            verdict = _against(0.0, row["lower"], row["upper"], words)
        cards.append({
            **_describe(name), "value": own[0], "lower": own[1], "upper": own[2], "n": own[3], "verdict": verdict,
            "best_name": None if name.startswith(BEATS) else best,
            "best_value": None if name.startswith(BEATS) or best is None else values[best][0],
            "ceiling": values.get(SPLIT_HALF, [None])[0],
        })  # fmt: skip
    return cards


def _against(zero: float, lower: float | None, upper: float | None, words: tuple[str, str, str]) -> str:
    if lower is None or upper is None or not (np.isfinite(lower) and np.isfinite(upper)):
        return "too few perturbations for an interval"
    return words[0] if lower > zero else words[1] if upper < zero else words[2]


def _coverage(scores: dict, order: list[str]) -> dict:
    names = [f"calibration/coverage_{level}" for level in LEVELS]
    models = [m for m in order if scores.get(names[0], {}).get(m, [None])[0] is not None]
    return {m: [scores[name][m][0] for name in names] for m in models}


def _scatter(splits_scores: "list[SplitScores]", model: str) -> dict:
    """Measured and predicted deltas of the most affected genes of every condition, packed as 16-bit whole numbers."""
    lines = [(s, line) for s in splits_scores for line in s.deltas]
    n_arrays = sum(len(line.perturbations) * (len(line.predicted) + 3) for _, line in lines)
    n_genes = int(np.clip(MAX_DRAWN_BYTES / max(n_arrays, 1) / (2 * 4 / 3), 100, MAX_GENES))
    if not lines:
        return {"genes": [], "n_genes": 0, "scale": DELTA_SCALE, "conditions": []}
    genes = np.unique(np.concatenate([line.genes for _, line in lines]))
    repeated = len({s.split for s in splits_scores}) < len(splits_scores)
    conditions = []
    for k, (scores, line) in enumerate(lines):
        position = np.searchsorted(genes, line.genes)
        frame = scores.conditions
        rows = (frame["cell_line"] == line.cell_line) & (frame["metric"] == "pearson_delta")
        r = frame[rows].set_index(["model", "perturbation"])["value"]
        prefix = "" if len(splits_scores) == 1 else f"{scores.split}{f' #{k + 1}' if repeated else ''} · "
        for p, perturbation in enumerate(line.perturbations):
            size = np.maximum(np.abs(line.measured_pg[p]), np.abs(line.predicted[model][p]))
            top = np.sort(np.argsort(-size, kind="stable")[:n_genes])
            conditions.append({
                "label": f"{prefix}{line.cell_line} | {perturbation}",
                "targets": perturbation.split("+"),
                "genes": _pack(position[top], np.uint32),
                "measured": _pack_delta(line.measured_pg[p, top]),
                "noise": _pack_delta(line.noise_sd_pg[p, top]),
                "predicted": {name: _pack_delta(delta_pg[p, top]) for name, delta_pg in line.predicted.items()},
                "r": {name: _round(r[name, perturbation]) for name in line.predicted},
            })  # fmt: skip
    return {"genes": genes.tolist(), "n_genes": n_genes, "scale": DELTA_SCALE, "conditions": conditions}


def _conditions(summary: pd.DataFrame, splits_scores: "list[SplitScores]", model: str, metrics: list[str]) -> dict:
    """Metric -> rows [condition, model, best baseline, half the data, noise of measuring] of every condition."""
    own = summary[(summary["model"] == model) & summary["group"].str.startswith("condition:")]
    noise: dict[str, list[float]] = {}
    for scores in splits_scores:
        for line in scores.deltas:
            for name, sd_g in zip(line.perturbations, line.noise_sd_pg, strict=True):
                key = f"{line.cell_line}|{name}"
                noise.setdefault(key, []).append(float(np.sqrt(np.mean(sd_g.astype(np.float64) ** 2))))
    many = own["dataset"].nunique() > 1
    rows: dict[str, list] = {}
    for metric in metrics:
        part = own[own["metric"] == metric]
        columns = (part[c].tolist() for c in ("dataset", "group", "value", "baseline", "ceiling"))
        rows[metric] = [
            [
                (f"{dataset} / " if many else "") + group.removeprefix("condition:").replace("|", " | ", 1),
                *(_round(x) for x in numbers), _round(float(np.mean(noise.get(group.removeprefix("condition:"), [np.nan])))),
            ]
            for dataset, group, *numbers in zip(*columns, strict=True)
        ]  # fmt: skip
    return rows


def _pack_delta(values: np.ndarray) -> str:
    return _pack(np.clip(np.rint(values * DELTA_SCALE), -32767, 32767), np.int16)


def _pack(values: np.ndarray, dtype: type) -> str:
    return base64.b64encode(np.asarray(values).astype(np.dtype(dtype).newbyteorder("<")).tobytes()).decode()


def _round(value: float) -> float | int | None:
    if isinstance(value, int | np.integer):
        return int(value)
    return float(f"{value:.5g}") if np.isfinite(value) else None


def _finite(row: dict) -> dict:
    return {key: value if isinstance(value, str) else _round(value) for key, value in row.items()}
