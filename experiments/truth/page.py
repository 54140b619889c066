"""The page with the table of truth."""

import numpy as np
import pandas as pd

_HEAD = """# Decisions on real answers

Made by `uv run python experiments/decisions.py`. Intervals are 95 %; a number from one run has none.
"""


def render(tables: dict[str, pd.DataFrame]) -> str:
    """The page in Markdown."""
    parts = [_HEAD]
    for name, table in tables.items():
        parts.append(_SECTIONS[name](table))
    return "\n".join(parts)


def _interval(values: pd.Series, scale: float = 1.0) -> str:
    values = values.to_numpy(float) * scale
    if len(values) < 2:
        return f"{values.mean():.2f} (one run)"
    draws = np.random.default_rng(0).choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{values.mean():.2f} ({low:.2f} to {high:.2f}; {len(values)})"


def _next(table: pd.DataFrame) -> str:
    lines = [
        "## next: percent of hits found after five rounds from nothing",
        "",
        "| screen | essentials | way of choosing | found (interval; seeds) |",
        "|---|---|---|---|",
    ]
    table = table.assign(last=[found[-1] for found in table["found"]])
    for (screen, essentials, arm), group in table.groupby(["screen", "essentials", "arm"], sort=False):
        lines.append(f"| {screen} | {essentials} | {arm} | {_interval(group['last'], 100)} |")
    lines += [
        "",
        "Gain of ours over a control, same seed, percentage points:",
        "",
        "| screen | essentials | over | gain |",
        "|---|---|---|---|",
    ]
    wide = table.pivot_table(index=["screen", "essentials", "seed"], columns="arm", values="last")
    for (screen, essentials), group in wide.groupby(level=[0, 1]):
        for control in ("random", "ours, permuted feedback", "core-essentials"):
            if control in group and group[["hits (ours)", control]].notna().all(axis=1).any():
                lines.append(
                    f"| {screen} | {essentials} | {control} | {_interval((group['hits (ours)'] - group[control]).dropna(), 100)} |"
                )
    return "\n".join(lines) + "\n"


def _measured(title: str, columns: tuple[str, ...]):
    def section(table: pd.DataFrame) -> str:
        lines = [
            f"## {title}",
            "",
            "| test | method | " + " | ".join(columns) + " |",
            "|---|---|" + "---|" * len(columns),
        ]
        for (test, method), group in table.groupby(["test", "method"], sort=False):
            lines.append(f"| {test} | {method} | " + " | ".join(_interval(group[column]) for column in columns) + " |")
        return "\n".join(lines) + "\n"

    return section


def _moa(table: pd.DataFrame) -> str:
    table = table.assign(hit1=table["rank"] <= 1, hit10=table["rank"] <= 10, mrr=1 / table["rank"])
    chance = 10 / table["n"].iloc[0]
    text = _measured(
        "target, moa: a knock-down's profile in one line, the library from the other", ("hit1", "hit10", "mrr")
    )(table)
    return text + f"\nChance of hit@10: {chance:.3f}.\n"


def _null(table: pd.DataFrame) -> str:
    lines = [
        "## Shuffled labels: share of runs in which anything is called",
        "",
        "| verb | claimed | measured |",
        "|---|---|---|",
    ]
    lines += [
        f"| {verb} | at most 0.10 | {_interval(group['called'])} |" for verb, group in table.groupby("verb", sort=False)
    ]
    return "\n".join(lines) + "\n"


_SECTIONS = {
    "next": _next,
    "lethal": _measured(
        "lethal: K562 CRISPRi pairs, strong synergy is a score below -3", ("auprc", "chance", "spearman")
    ),
    "moa": _moa,
    "breadth": _measured("Genes changed by an unseen knock-down in CD4 T cells, five folds", ("spearman",)),
    "null": _null,
}
