"""The answer to a question: a ranked table, what it rests on, and the one figure that shows the decision."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from vc_contracts.text.names import safe_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ("rank", "name", "effect", "low", "high", "evidence", "doubts", "support")
"""What every table holds, first; a verb adds columns of its own after these."""


@dataclass(frozen=True, eq=False)
class Decision:
    """An answer.

    Attributes:
        verb: Which question.
        question: The question in one sentence.
        answer: The answer in one or two sentences; says so when there is none.
        table: Ranked rows, `COLUMNS` first: `effect` with its interval `low`, `high`; `evidence` what it rests on;
            `doubts` reasons not to believe it; `support` one of supported, extrapolation, no support.
        draw: Draws the figure on one pair of axes.
        caption: What the figure shows.
        facts: Numbers and settings that belong to the answer.
        doubts: Reasons to doubt the whole answer.
        called: Whether anything is claimed; False: nothing stands out from chance.
    """

    verb: str
    question: str
    answer: str
    table: pd.DataFrame
    draw: "Callable[[Axes], None]"
    caption: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    called: bool = True

    def write(self, dpath: Path) -> None:
        """Write `table.parquet`, `table.csv`, `answer.json` and `page.html` into an existing folder."""
        from vc_model.plan.page import render_page

        self.table.to_parquet(dpath / "table.parquet", index=False)
        safe_table(self.table).to_csv(dpath / "table.csv", index=False)
        (dpath / "answer.json").write_text(json.dumps(self.record(), indent=2) + "\n")
        (dpath / "page.html").write_text(render_page(self))

    def record(self) -> dict[str, Any]:
        """The answer without its table, of types that JSON knows."""
        names = ("verb", "question", "answer", "called", "caption")
        facts = json.loads(json.dumps(dict(self.facts), default=str))
        return {name: getattr(self, name) for name in names} | {"facts": facts, "doubts": list(self.doubts)}


def ranged(names: Sequence[str], effect_n: np.ndarray, sd_n: np.ndarray) -> dict[str, Any]:
    """Columns `name`, `effect`, `low` and `high`: effects with a Gaussian interval of 90%."""
    return {"name": list(names), "effect": effect_n, "low": effect_n - 1.645 * sd_n, "high": effect_n + 1.645 * sd_n}


def rank_table(rows: Mapping[str, Any], order: Any) -> pd.DataFrame:
    """A table in the given order, ranked from 1, with the common columns first.

    Args:
        rows: Column -> values, one per entry; holds every one of `COLUMNS` but `rank`.
        order: Positions of the entries, best first; may leave some out.
    """
    table = pd.DataFrame(dict(rows)).iloc[list(order)].reset_index(drop=True)
    table.insert(0, "rank", range(1, len(table) + 1))
    return table[[*COLUMNS, *(name for name in table.columns if name not in COLUMNS)]]
