"""Numbers as text and as JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Rows as JSON: NaN becomes null."""
    return plain(frame.to_dict("records"))


def plain(value: Any) -> Any:
    """A JSON value without NaN, infinities or paths."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return str(value) if isinstance(value, Path) else value


def headline(rows: "pd.DataFrame", model: str, ranges: "pd.DataFrame") -> str:
    """The headline metrics of one model as a table of text."""
    from vc_eval.metrics import HEADLINES

    order = [name for name in HEADLINES if name in set(rows["metric"])]
    wanted = rows[rows["metric"].isin(order)].set_index("metric").loc[order].reset_index()
    return lines(wanted, model, "all held-out conditions", ranges)


def lines(rows: "pd.DataFrame", model: str, where: str, ranges: "pd.DataFrame") -> str:
    """Rows of one model as a table of text: value, interval, best baseline, half the data, dynamic range."""
    text = [f"{model}, {where} (value, 95 % interval; best baseline; half the data; dynamic range):"]
    range_of = dict(zip(ranges["metric"], ranges["median"], strict=True))
    for r in rows[~rows["metric"].str.endswith(("_lower", "_upper"))].itertuples():
        numbers = [
            f"{x:9.4f}" if x == x else f"{'-':>9}"
            for x in (r.value, r.lower, r.upper, r.baseline, r.ceiling, range_of.get(r.metric, float("nan")))
        ]
        text.append(
            f"  {r.metric:28} {numbers[0]}  {numbers[1]} to {numbers[2]}  {numbers[3]}  {numbers[4]}  {numbers[5]}"
        )
    return "\n".join(text)
