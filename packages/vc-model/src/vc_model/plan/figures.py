"""The few kinds of figure that answers need."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREEN, GREY, ORANGE, RED = "#1f6f54", "#8c959f", "#bc6c00", "#b42318"
_COLOUR = {"supported": GREEN, "extrapolation": ORANGE, "no support": RED}


def ranked_intervals(axes: "Axes", table: pd.DataFrame, label: str, n: int = 20, zero: float | None = 0.0) -> None:
    """The first rows of a ranked table as points with intervals, the best on top; colour is the verdict on support."""
    head = table.head(n).iloc[::-1]
    at = np.arange(len(head))
    for verdict, colour in _COLOUR.items():
        rows = (head["support"] == verdict).to_numpy()
        if rows.any():
            part = head[rows]
            width = np.abs(part[["low", "high"]].to_numpy(float).T - part["effect"].to_numpy(float))
            axes.errorbar(part["effect"], at[rows], xerr=width, fmt="o", color=colour, ms=4, lw=1.2, label=verdict)
    axes.set_yticks(at, [_short(str(name)) for name in head["name"]], fontsize=8)
    if zero is not None:
        axes.axvline(zero, color=GREY, lw=0.8, ls=":")
    axes.set_xlabel(label)
    if len(head):
        axes.legend(frameon=False, fontsize=8, loc="lower right")


def cloud(
    axes: "Axes", x_n: np.ndarray, y_n: np.ndarray, marked: Sequence[int], names: Sequence[str], labels: tuple[str, str]
) -> None:
    """All entries as points, the chosen ones marked, the first of them named."""
    axes.scatter(x_n, y_n, s=6, color=GREY, alpha=0.5, lw=0, rasterized=len(x_n) > 3000)
    marked = list(marked)
    axes.scatter(x_n[marked], y_n[marked], s=18, color=GREEN, lw=0)
    for entry in marked[:12]:
        axes.annotate(
            _short(names[entry]), (x_n[entry], y_n[entry]), fontsize=8, xytext=(3, 3), textcoords="offset points"
        )
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])


def _short(text: str, most: int = 28) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
