"""The page of all scores that were kept."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tyro
from contexts import LINES
from kept import METRICS
from models import MODELS

PUBLISHED = (
    ("pearson_delta", "all", "Pearson of the change", "0.216"),
    ("centroid_top1", "all", "nearest centroid is the right one", "0.034 (chance 0.001)"),
    ("beat_pearson/no_change", "all", "beats the control profile, by Pearson of profiles", "0.009"),
    ("r2_top50_abs", "all", "R2 of the top 50 genes, of profiles", "0.816"),
    ("pearson_delta", "combo", "Pearson of the change, combinations", "0.286 (additive 0.781)"),
    ("uncertainty/ece_biojepa", "all", "ECE as the seed computes it", "0.572"),
)
INTRODUCTION = """# BioJEPA as published, repaired, and beside the rest

Made by `experiments/biojepa/quality.py`. `biojepa_faithful` is the published v0.6 with its faults, `biojepa` the repaired one
(`docs/decisions/0004-biojepa-repairs.md`), `anchored` the model they have to be compared with. All see the same training
conditions and write the same kind of file, which vc-eval scores; intervals are 95 %, resampled by perturbation. "beats": share
of conditions with a smaller squared error. The Spearman correlation ranks realised errors by predicted ones.
"""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Make the page of all scores that were kept."""

    keep: tyro.conf.Positional[Path]
    out: tyro.conf.Positional[Path]


def page(args: Page) -> None:
    """Write the page of all scores that were kept."""
    runs = sorted(
        path for path in args.keep.glob("*.json") if path.stem != "contexts" and not path.stem.startswith("ladder-")
    )
    text = [INTRODUCTION]
    for path in runs:
        text += screen_section(path)
    text += published_section(runs)
    if (args.keep / "contexts.json").exists():
        text += contexts_section(args.keep / "contexts.json")
    args.out.write_text("\n".join(text) + "\n")
    print(f"wrote {args.out}")


def read(path: Path) -> tuple[dict, pd.DataFrame, pd.DataFrame]:
    """Facts, summary and paired differences of a run."""
    tables = (pd.read_parquet(path.with_suffix(f".{kind}.parquet")) for kind in ("summary", "paired"))
    return json.loads(path.read_text()), *tables


def how(facts: dict) -> str:
    """Where numbers come from."""
    return f"`{facts['command']}`, commit {facts['commit']}, {facts['finished']}, {facts['minutes']:.0f} minutes on 2 shared cores."


def screen_section(path: Path) -> list[str]:
    """Every model on one screen."""
    facts, summary, paired = read(path)
    train, test, genes = facts["sizes"]
    steps = ", ".join(f"{stage} {n}" for stage, n in zip(("pretrain", "ac", "decode"), facts["steps"], strict=True))
    best = facts["best"]["mse_delta"], facts["best"]["pearson_delta"]
    metrics = {**METRICS, "beat/no_change": ("beats no_change", 1), f"beat/{best[0]}": (f"beats {best[0]}", 1)}
    text = [
        f"## {path.stem}",
        "",
        how(facts),
        "",
        f"{facts['splits']} splits, each with a seed of its own; {train} training and {test} held-out conditions of the last one, "
        f"{genes} genes. BioJEPA: preset `{facts['preset']}`, {facts['parameters']:,} parameters (repaired), updates: {steps}; "
        f"training took {facts['seconds']['biojepa_faithful']:.0f} s as published and {facts['seconds']['biojepa']:.0f} s repaired. "
        f"The best baselines out of fold on training conditions are {best[0]} (MSE) and {best[1]} (Pearson).",
        "",
        *table(summary, [*facts["models"], *facts["baselines"], "split_half"], metrics, set(facts["models"])),
        "",
        "Paired gain (positive: the first is better) with its 95 % interval; bold where it excludes 0.",
        "",
    ]
    pairs = [
        (model, other)
        for model in ("biojepa", "biojepa_faithful")
        for other in dict.fromkeys([*best[::-1], "anchored"])
    ]
    pairs.append(("biojepa", "biojepa_faithful"))
    text += paired_table(paired, [*pairs, *(("anchored", name) for name in dict.fromkeys(best[::-1]))])
    return [*text, "", *verdicts(paired, [(model, other) for model, other in pairs]), ""]


def table(summary: pd.DataFrame, rows: list[str], metrics: dict, with_interval: set[str]) -> list[str]:
    """Means over held-out conditions; intervals for our models only, or the table cannot be read."""
    own = summary[summary["group"] == "all"].set_index(["model", "metric"])
    text = ["| model | " + " | ".join(label for label, _ in metrics.values()) + " |", "|---" * (len(metrics) + 1) + "|"]
    for model in rows:
        cells = []
        for metric, (_, scale) in metrics.items():
            if (model, metric) not in own.index:
                cells.append("-")
                continue
            found = own.loc[(model, metric), ["value", "lower", "upper"]].to_numpy(float) * scale
            cells.append(shown(*found) if model in with_interval else number(found[0]))
        text.append(f"| {f'**{model}**' if model in with_interval else model} | " + " | ".join(cells) + " |")
    return text


def paired_table(paired: pd.DataFrame, pairs: list[tuple[str, str]]) -> list[str]:
    """Differences of pairs of models."""
    metrics = {name: label for name, label in METRICS.items() if name in set(paired["metric"])}
    text = ["| | " + " | ".join(label for label, _ in metrics.values()) + " |", "|---" * (len(metrics) + 1) + "|"]
    own = paired.set_index(["model", "baseline", "metric"])
    for model, other in pairs:
        if model == other:
            continue
        cells = []
        for metric, (_, scale) in metrics.items():
            gain, lower, upper = (
                own.loc[(model, other, metric), ["difference", "lower", "upper"]].to_numpy(float) * scale
            )
            mark = "**" if lower > 0 or upper < 0 else ""
            cells.append(f"{mark}{gain:+.3f}{mark} [{lower:+.3f}, {upper:+.3f}]" if np.isfinite(gain) else "-")
        text.append(f"| {model} over {other} | " + " | ".join(cells) + " |")
    return text


def verdicts(paired: pd.DataFrame, pairs: list[tuple[str, str]]) -> list[str]:
    """One line per pair: where the first wins and loses beyond the interval."""
    own, text = paired.set_index(["model", "baseline"]), []
    for model, other in pairs:
        rows = own.loc[[(model, other)]]
        won = [METRICS[name][0] for name in rows.loc[rows["lower"] > 0, "metric"]]
        lost = [METRICS[name][0] for name in rows.loc[rows["upper"] < 0, "metric"]]
        text.append(
            f"- {model} against {other}: wins {', '.join(won) or 'nothing'}; loses {', '.join(lost) or 'nothing'}."
        )
    return text


def published_section(runs: list[Path]) -> list[str]:
    """The published table beside the nearest quantity here."""
    columns = [(path.stem, model, read(path)[1]) for path in runs for model in MODELS]
    text = [
        "## Beside the published table of BioJEPA v0.6",
        "",
        "The published run has 20 million parameters, 3.3 million cells and 10,000 genes, on splits that are not reproduced "
        "here; these are small models on small screens. So a row compares what a number looks like, not who is better.",
        "",
        "| quantity | published v0.6 | "
        + " | ".join(f"{model}, {name.split('_')[0]}" for name, model, _ in columns)
        + " |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for metric, group, label, published in PUBLISHED:
        cells = []
        for _, model, summary in columns:
            own = summary[(summary["model"] == model) & (summary["metric"] == metric) & (summary["group"] == group)]
            cells.append(number(float(own["value"].iloc[0])) if len(own) else "-")
        text.append(f"| {label} (`{metric}`) | {published} | " + " | ".join(cells) + " |")
    return [*text, ""]


def contexts_section(path: Path) -> list[str]:
    """The encoder as a description of cell lines."""
    facts, summary, paired = read(path)
    train, test, genes = facts["sizes"]
    rest = [(name, other) for name in LINES[1:] for other in ("none",)] + [
        (LINES[1], "pert_mean"),
        ("none", "pert_mean"),
    ]
    return [
        "## The encoder as a description of cell lines",
        "",
        how(facts),
        "",
        f"`anchored` on {facts['worlds']} simulated world{'s' * (facts['worlds'] > 1)} of six lines, each line held out in turn: {train} training and {test} "
        f"held-out conditions of a split, {genes} genes, {facts['splits']} splits. `none`: lines are described by their control "
        f"profiles. The encoder (preset `tiny`, {facts['steps']} updates of masked pretraining) never sees a perturbed cell of the "
        "held-out line; its vectors come by `vc-model encode` and `--contexts`.",
        "",
        *table(summary, [*LINES, *facts["baselines"], "split_half"], METRICS, set(LINES)),
        "",
        "Paired gain over control profiles, and over the mean of the same perturbation in other lines.",
        "",
        *paired_table(paired, rest),
        "",
        *verdicts(paired, [(name, "none") for name in LINES[1:]]),
        "",
        "What a linear map, fitted on half of the control cells of all lines, reads off the vectors of the other half.",
        "",
        "| vectors of single cells | right line | R2 of log depth | effective rank |",
        "|---|---|---|---|",
        *(
            f"| {name} | {found['line']:.2f} | {found['depth']:.2f} | {found['rank']:.1f} |"
            for name, found in facts["probes"].items()
        ),
        "",
    ]


def number(value: float) -> str:
    """Three decimals, or a dash."""
    return f"{value:.3f}" if np.isfinite(value) else "-"


def shown(value: float, lower: float, upper: float) -> str:
    """A value with its interval."""
    return f"{value:.3f} [{lower:.3f}, {upper:.3f}]" if np.isfinite([value, lower, upper]).all() else number(value)
