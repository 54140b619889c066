"""Examples of scores-v1."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from corpus.base import HEADER_FAULTS, Example, changed_header, header

SCORE_COLUMNS = {
    "model": "str", "dataset": "str", "split": "str", "metric": "str", "group": "str", "value": "float64",
    "lower": "float64", "upper": "float64", "n": "int64", "baseline": "float64", "ceiling": "float64",
    "metric_version": "str",
}  # fmt: skip


def scores() -> tuple[pd.DataFrame, dict]:
    """Two models on one metric and two groups; the group of a condition has no interval."""
    rows = [
        (
            model,
            "corpus",
            "by_perturbation",
            "pearson_delta",
            group,
            value,
            value - half,
            value + half,
            n,
            0.2,
            0.9,
            "1",
        )
        for model, value in (("anchored", 0.5), ("split_half", 0.9))
        for group, half, n in (("all", 0.125, 6), ("condition:K562|G2", np.nan, 1))
    ]
    table = pd.DataFrame(rows, columns=list(SCORE_COLUMNS)).astype(SCORE_COLUMNS)
    return table, {"contract": header("scores"), "summary": {"best": "anchored"}}


def _scores_examples() -> list[Example]:
    def maker(change: Callable) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            table, content = scores()
            changed = change(table, content)
            path.mkdir(parents=True, exist_ok=True)
            (changed if isinstance(changed, pd.DataFrame) else table).to_parquet(path / "scores.parquet", index=False)
            (path / "scores.json").write_text(json.dumps(content, indent=1, sort_keys=True))

        return make

    def damager(change: Callable[[Path], object]) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            maker(lambda t, c: None)(path)
            change(path)

        return make

    def newer_minor(table: pd.DataFrame, content: dict) -> pd.DataFrame:
        content |= {"contract": header("scores", "1.9") | {"unknown_key": 1}, "unknown_key": [None]}
        return table.assign(unknown_column="x")

    def cut(path: Path) -> None:
        blob = (path / "scores.parquet").read_bytes()
        (path / "scores.parquet").write_bytes(blob[: len(blob) // 2])

    broken = {
        **{
            name: (maker(lambda t, c, x=changes: c.update(contract=changed_header("scores", x))), words)
            for name, (changes, words) in HEADER_FAULTS.items()
        },
        "no_header": (maker(lambda t, c: c.pop("contract")), ("contract",)),
        **{
            f"missing_column_{c}": (maker(lambda t, _, c=c: t.drop(columns=c)), (c,))
            for c in SCORE_COLUMNS
        },
        "value_below_interval": (maker(lambda t, c: t.assign(lower=t["value"] + 0.01)), ("value",)),
        "value_above_interval": (maker(lambda t, c: t.assign(upper=t["value"] - 0.01)), ("value",)),
        "row_twice": (maker(lambda t, c: pd.concat([t, t.iloc[:1]])), ("row", "metric")),
        "no_json": (damager(lambda p: (p / "scores.json").unlink()), ("scores.json",)),
        "no_parquet": (damager(lambda p: (p / "scores.parquet").unlink()), ("scores.parquet",)),
        "json_that_is_none": (damager(lambda p: (p / "scores.json").write_text("{")), ("scores.json",)),
        "parquet_cut_in_half": (damager(cut), ("scores.parquet",)),
    }  # fmt: skip
    return [
        Example("scores", "plain", maker(lambda t, c: None)),
        Example("scores", "newer_minor_version", maker(newer_minor)),
        Example("scores", "without_intervals", maker(lambda t, c: t.assign(lower=np.nan, upper=np.nan))),
        *(Example("scores", name, make, words) for name, (make, words) in broken.items()),
    ]


EXAMPLES = _scores_examples()
