"""The few kinds of figure that answers need."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREEN, GREY, ORANGE, RED = "#1f6f54", "#8c959f", "#bc6c00", "#b42318"
N_NAMED = 12
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
    if (head["support"] != "supported").any():
        # Above the axes, where no point can be.
        axes.legend(
            frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(_COLOUR), borderaxespad=0
        )


def cloud(
    axes: "Axes", x_n: np.ndarray, y_n: np.ndarray, marked: Sequence[int], names: Sequence[str], labels: tuple[str, str]
) -> None:
    """All entries as points, the chosen ones marked, the first of them named."""
    axes.scatter(x_n, y_n, s=6, color=GREY, alpha=0.5, lw=0, rasterized=len(x_n) > 3000)
    marked = list(marked)
    axes.scatter(x_n[marked], y_n[marked], s=18, color=GREEN, lw=0)
    name_beside(axes, [(x_n[entry], y_n[entry], _short(names[entry])) for entry in marked[:N_NAMED]])
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])


def name_beside(axes: "Axes", points: list[tuple[float, float, str]]) -> None:
    """Names in a column right of the axes, in the order of their points' heights, each with a thin line to its point."""
    points = sorted(points, key=lambda point: -point[1])
    for number, (x, y, name) in enumerate(points):
        height = 0.98 - number / max(N_NAMED, 1)
        axes.annotate(
            name,
            (x, y),
            xytext=(1.04, height),
            textcoords="axes fraction",
            fontsize=8,
            va="top",
            arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.5, "shrinkB": 2},
        )


def _short(text: str, most: int = 28) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
