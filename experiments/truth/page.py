"""The page with the table of truth, put together from the tables of the parts."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from truth.verdicts import WORDS, judge

_HEAD = """# Decisions on real answers

What `vc discover` is worth: every verb on real answers and on planted ones, beside simple methods, and on shuffled labels.
Made by `uv run python experiments/decisions.py`; `--part NAME` reruns one part, whose table is in the folder `decisions`
beside this page. Intervals are 95 %, over seeds, folds or queries, whose number stands behind them; a number from one run has none.
"""
OURS = ("hits (ours)", "ours, told the essentials")
CONTROLS = (
    "random",
    "ours, permuted feedback",
    "told the essentials, permuted feedback",
    "core-essentials",
    "ridge on gene sets",
)


def render(tables: Path) -> str:
    """The page in Markdown, of the parts that have a table."""
    have = {fpath.stem: pd.read_csv(fpath) for fpath in sorted(tables.glob("*.csv")) if ".partial" not in fpath.name}
    goals = _table(
        "What was asked and what holds", "Judged by the tables below.", ("verb", "goal", "", "measured"), judge(have)
    )
    parts = [_HEAD, goals, WORDS.read_text()]
    rounds = [table for name, table in have.items() if name.startswith("next-")]
    if rounds:
        parts.append(_next(pd.concat(rounds, ignore_index=True)))
    parts += [make(have[name]) for name, make in _SECTIONS.items() if name in have]
    return "\n".join(parts)


def interval(values: Iterable[float], scale: float = 1.0, digits: int = 2) -> str:
    """Mean, 95 % bootstrap interval and number of values."""
    found = np.asarray([value for value in values if np.isfinite(value)], dtype=float) * scale
    if len(found) < 2:
        return f"{found.mean():.{digits}f} (one run)" if len(found) else "-"
    draws = np.random.default_rng(0).choice(found, (2000, len(found))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{found.mean():.{digits}f} ({low:.{digits}f} to {high:.{digits}f}; {len(found)})"


def _table(title: str, intro: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [f"## {title}", "", intro, ""] if title else [intro, ""]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _next(table: pd.DataFrame) -> str:
    found = _table(
        "next: percent of hits found",
        "From nothing, rounds of 128 genes (32 on choline). With essentials `out`, core-essential genes are not in the library.",
        ("screen", "essentials", "way of choosing", "after 1 round", "after 3", "after 5 (interval; seeds)"),
        (
            (screen, essentials, arm, f"{100 * group['round 1'].mean():.1f}", f"{100 * group['round 3'].mean():.1f}",
             interval(group["round 5"], 100, 1))
            for (screen, essentials, arm), group in table.groupby(["screen", "essentials", "arm"], sort=False)
        ),
    )  # fmt: skip
    wide = table.pivot_table(index=["screen", "essentials", "seed"], columns="arm", values="round 5")
    gains = []
    for (screen, essentials), group in wide.groupby(level=[0, 1]):
        for ours in OURS:
            for control in CONTROLS:
                if ours in group and control in group and (ours == OURS[0]) != control.startswith("told"):
                    both = (group[ours] - group[control]).dropna()
                    if len(both):
                        gains.append((screen, essentials, ours, control, interval(both, 100, 1)))
    return found + "\n" + _table(
        "", "Gain over a control with the same seed, percentage points:",
        ("screen", "essentials", "way of choosing", "over", "gain after 5 rounds"), gains,
    )  # fmt: skip


def _pairs(title: str, intro: str) -> Callable[[pd.DataFrame], str]:
    def section(table: pd.DataFrame) -> str:
        rows = (
            (
                test,
                method,
                interval(group["auprc"], digits=3),
                f"{group['chance'].mean():.3f}",
                interval(group["spearman"], digits=3),
            )
            for (test, method), group in table.groupby(["test", "method"], sort=False)
        )
        return _table(title, intro, ("test", "method", "average precision", "chance", "Spearman"), rows)

    return section


def _markers(table: pd.DataFrame) -> str:
    rows = (
        (row["test"], row["method"], str(row["rank"]), f"{100 * row['rank'] / row['n']:.2f} %")
        for _, row in table.iterrows()
    )
    return _table(
        "lethal: partner of a tumour marker in DepMap",
        "Rank of the known partner among 17,787 genes. Only the first method has seen the marker. The last takes the most correlated "
        "other column, whatever it names: MTAP is deleted with CDKN2A, so that column is the marker's in other words.",
        ("marker -> partner", "method", "rank", "of the list"),
        rows,
    )


def _profiles(table: pd.DataFrame) -> str:
    table = table.assign(hit1=table["rank"] <= 1, hit10=table["rank"] <= 10, mrr=1 / table["rank"])
    rows = (
        (test, method, interval(group["hit1"], digits=3), interval(group["hit10"], digits=3), interval(group["mrr"], digits=3),
         f"{group['chance10'].mean():.3f}")
        for (test, method), group in table.groupby(["test", "method"], sort=False)
    )  # fmt: skip
    return _table(
        "target, moa: is the right one found?",
        "Queries in brackets; chance is that of hit@10 in random order. `ours` removes the mean of all queries and of the library.",
        ("test", "method", "hit@1", "hit@10", "mean reciprocal rank", "chance"),
        rows,
    )


def _response(table: pd.DataFrame) -> str:
    rows = (
        (test, method, interval(group["spearman"], digits=3))
        for (test, method), group in table.groupby(["test", "method"], sort=False)
    )
    return _table(
        "biomarker, safety: response of what was left out",
        "Folds or drugs in brackets. The single feature is chosen on the training part.",
        ("test", "method", "Spearman"),
        rows,
    )


def _worlds(table: pd.DataFrame) -> str:
    rows = (
        (verb, group["measure"].iloc[0], interval(group["ours"]), f"{group['chance'].mean():.2f}", group["simplest"].iloc[0],
         interval(group["simple"]), f"{int((group['ours'] > group['simple']).sum())} of {len(group)}")
        for verb, group in table.groupby("verb", sort=False)
    )  # fmt: skip
    above = table.groupby("verb")[["ours", "chance", "simple"]].mean()
    count = int((above["ours"] > above["chance"]).sum()), int((above["ours"] > above["simple"]).sum())
    return _table(
        "Five simulated worlds: what was planted",
        f"On average over the worlds, above chance in {count[0]} of {len(above)} verbs and above the simple method in {count[1]}.",
        ("verb", "measure", "ours", "chance", "simple method", "its value", "worlds won"),
        rows,
    )


def _null(table: pd.DataFrame) -> str:
    rows = (
        (verb, f"{group['claimed'].iloc[0]:.2f}", interval(group["called"]))
        for verb, group in table.groupby("verb", sort=False)
    )
    return _table(
        "Shuffled labels: share of runs in which anything is called",
        "Nothing is there to be found, so every call is false: the share of runs with a call is the false-discovery rate.",
        ("verb", "claimed, at most", "measured"),
        rows,
    )


_SECTIONS: dict[str, Callable[[pd.DataFrame], str]] = {
    "lethal": _pairs(
        "lethal: K562 CRISPRi pairs", "Strong synergy is a score below -3. No features from fitness screens."
    ),
    "lethal-markers": _markers,
    "combo": _pairs(
        "combo: CRISPRa pairs and pairs of drugs",
        "Interactions of pairs that were left out: strong is below -3 (CRISPRa), the strongest tenth (drugs, expression), the "
        "lowest twentieth (fitness) or fifth (SK-MEL-133).",
    ),
    "profiles": _profiles,
    "response": _response,
    "worlds": _worlds,
    "null": _null,
}
