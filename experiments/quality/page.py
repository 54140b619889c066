"""The page of one screen: gates, means, paired gains and the ablation ladder; and all pages of a folder beside all gates.

uv run python experiments/quality/page.py docs/log    # the table of docs/log/quality.md, and that of docs/results.md
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import tyro
from ladder import FINAL, LADDER, MEAN, MODEL, NAMELESS, NULL, ORACLE, SPLIT_HALF
from scoring import METRICS
from sources import name_of
from vc_eval.metrics import calibration
from vc_eval.stats.differences import compare, rank_correlations
from vc_eval.stats.gates import Names, Verdict, judge
from vc_model.baselines import BASELINES

HEADER = "| gate | verdict | measured |"


def page(source: str, scores: pd.DataFrame, facts: dict) -> str:
    """The page of one screen."""
    final = FINAL
    models = [*LADDER, *BASELINES, MEAN, NULL, NAMELESS, SPLIT_HALF, ORACLE]
    models = [model for model in models if model in set(scores["model"])]
    mean = scores.groupby("model")[list(METRICS)].mean()
    trains, tests = zip(*facts["sizes"], strict=True)
    text = [
        f"# Quality on {name_of(source)}",
        "",
        f"`{facts['command']}`",
        "",
        f"{len(trains)} splits, {facts['seeds']} seeds of the model and shuffles of the null run, {min(trains)}-{max(trains)} "
        f"training and {min(tests)}-{max(tests)} held-out conditions, {facts['genes']} genes, in {facts['space']}. Commit "
        f"{facts['commit']}, {facts['finished']}, {facts['minutes']:.1f} minutes.",
        "",
        "## Gates",
        "",
        "The best baseline is the one with the best out-of-fold score on training conditions, for each metric.",
        "",
        *as_table(
            judge(
                scores,
                pd.DataFrame(facts["validation"]),
                Names(final, NULL, NAMELESS, SPLIT_HALF, ORACLE),
                shuffled=facts["shuffled"],
            )
        ),
        "",
        "## Means over held-out conditions",
        "",
        "| model | " + " | ".join(label for label, _ in METRICS.values()) + " | coverage error | CPU s |",
        "|---" * (len(METRICS) + 3) + "|",
    ]
    cpu = facts["seconds"]
    for model in models:
        own = scores[scores["model"] == model]
        cells = [number(mean.loc[model, name] * scale) for name, (_, scale) in METRICS.items()]
        covered = own[[f"coverage_{level}" for level in range(9)]].mean().to_numpy()
        cells.append(number(calibration.coverage_error(covered)))
        cells.append(f"{cpu[model]:.1f}" if cpu.get(model, 0) > 0 else "-")
        text.append(f"| {model.replace(MODEL, f'**{MODEL}**')} | " + " | ".join(cells) + " |")
    text += [
        "",
        "Coverage error: mean over central intervals of 10 to 90 % of |share inside - level|. "
        f"Spearman correlation of predicted and realised error of `{MODEL}`: {number(rank_correlations(scores, final)[0][0])}.",
        "",
        f"## {MODEL} against each baseline",
        "",
        "Mean paired gain (positive: ours is better) with its 95 % interval; bold where the interval excludes 0.",
        "",
        "| baseline | " + " | ".join(label for label, _ in METRICS.values()) + " |",
        "|---" * (len(METRICS) + 1) + "|",
    ]
    lost = []
    for baseline in BASELINES:
        cells = []
        for metric, (label, scale) in METRICS.items():
            gain, lower, upper, n = compare(scores, metric, baseline, final)
            cells.append(signed(gain * scale, lower * scale, upper * scale, n))
            if upper < 0:
                lost.append(f"{baseline} ({label})")
        text.append(f"| {baseline} | " + " | ".join(cells) + " |")
    text += ["", f"Lost beyond the interval: {', '.join(lost) or 'nothing'}.", "", "## Ablation ladder", ""]
    text += ["Gain of each step over the one before.", ""]
    text += ["| step | " + " | ".join(label for label, _ in METRICS.values()) + " |", "|---" * (len(METRICS) + 1) + "|"]
    steps = [step for step in LADDER if step in models]
    pairs = [(steps[i], steps[i + 1]) for i in range(len(steps) - 1)] + [
        ("mean_effect", MEAN),
        (MEAN, NAMELESS),
        (NAMELESS, NULL),
    ]
    for first, second in pairs:
        cells = []
        for metric, (_, scale) in METRICS.items():
            gain, lower, upper, n = compare(scores, metric, first, second)
            cells.append(signed(gain * scale, lower * scale, upper * scale, n))
        text.append(f"| {second if second in LADDER else f'{second}, over {first}'} | " + " | ".join(cells) + " |")
    return "\n".join(text) + "\n"


def number(value: float) -> str:
    """Three decimals, or a dash."""
    return f"{value:.3f}" if np.isfinite(value) else "-"


def signed(gain: float, lower: float, upper: float, n: int) -> str:
    """A gain with its interval; bold where it excludes 0."""
    if n == 0:
        return "-"
    mark = "**" if lower > 0 or upper < 0 else ""
    return f"{mark}{gain:+.3f}{mark} [{lower:+.3f}, {upper:+.3f}]"


def as_table(verdicts: list[Verdict]) -> list[str]:
    """Lines of the table of one page."""
    name = {True: "pass", False: "**miss**", None: "-"}
    return [HEADER, "|---|---|---|", *(f"| {v.gate} | {name[v.passed]} | {v.measured} |" for v in verdicts)]


def summary(folder: Path) -> str:
    """All pages of the folder beside all gates."""
    rows, gates = {}, []
    for fpath in sorted(folder.glob("quality-*.md")):
        lines = fpath.read_text().splitlines()
        if HEADER not in lines:
            continue
        start = lines.index(HEADER) + 2
        cells = [line.strip("|").split("|") for line in lines[start:] if line.startswith("|")]
        own = {}
        for cell in cells:
            if len(cell) != 3 or cell[1].strip() not in ("pass", "**miss**", "-"):
                break
            own[cell[0].strip()] = cell[1].strip()
        rows[fpath.stem.removeprefix("quality-")] = own
        gates += [gate for gate in own if gate not in gates]
    text = ["| screen | " + " | ".join(gates) + " |", "|---" * (len(gates) + 1) + "|"]
    for name, own in rows.items():
        text.append(f"| [{name}](quality-{name}.md) | " + " | ".join(own.get(gate, "-") for gate in gates) + " |")
    return "\n".join(text) + "\n"


def gains(folder: Path) -> str:
    """What every page says of the model against the best baseline, bold where better clear of 0."""
    text = ["| screen | Pearson of the change | MSE of the change x 1000 |", "|---|---|---|"]
    for fpath in sorted(folder.glob("quality-*.md")):
        cells = []
        for gate in ("Pearson delta better", "MSE better"):
            found = re.search(rf"\| {gate} \| (.*?) \| against (\w+) (\S+) (\[.*?\])", fpath.read_text())
            verdict, baseline, gain, interval = found.groups()
            cells.append(f"{f'**{gain}**' if verdict == 'pass' else gain} {interval} over {baseline}")
        text.append(f"| [{fpath.stem.removeprefix('quality-')}]({fpath}) | {' | '.join(cells)} |")
    return "\n".join(text) + "\n"


def tables(folder: Path) -> None:
    """Print both tables of a folder of pages."""
    print(f"{summary(folder)}\n{gains(folder)}")


if __name__ == "__main__":
    tyro.cli(tables, config=(tyro.conf.PositionalRequiredArgs,))
