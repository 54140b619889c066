"""Figures of arrays: predicted against measured, volcano, heat map, support map, calibration."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy.special

from vc_eval.errors import VcEvalError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MODEL, BASE, WRONG = "#12628f", "#8b9198", "#a43b2f"
VERDICTS = ("#0b4a6f", "#2f7fb0", "#8abddb", "#e9c46a", "#e3e1dc")  # from the best supported on
LEVEL = 0.95
UNIT = "log1p CP10k"
MOST_NAMED = 80
"""Genes of a support map up to which each has its name."""
COLUMNS, FEWEST_COLUMNS = 1200, 4
"""Of a map of more genes: columns that are drawn, and how many of them a rare pattern takes at least."""


def new_axes(axes: "Axes | None", width: float = 5.0, height: float = 4.5) -> "Axes":
    """The axes given, or those of a new figure in inches; without a window, whatever the user's settings."""
    if axes is not None:
        return axes
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise VcEvalError("plot: matplotlib is not installed; install vc-eval[plot].") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    made = figure.add_subplot()
    made.spines[["top", "right"]].set_visible(False)
    return made


def predicted_against_measured(
    predicted_g: np.ndarray, measured_g: np.ndarray, *, genes: Sequence[str] | None = None, label: int = 8,
    noise_sd_g: np.ndarray | None = None, unit: str = UNIT, axes: "Axes | None" = None,
) -> "Axes":  # fmt: skip
    """Predicted change (up) against measured change (across), one point a gene.

    Args:
        predicted_g: `[g]` predicted change.
        measured_g: `[g]` measured change.
        genes: `[g]` names, for labels.
        label: How many genes of largest change are named.
        noise_sd_g: `[g]` standard deviation of the measured change, drawn as bars.
        unit: Of changes.
        axes: Where to draw; default a new figure.

    Raises:
        VcEvalError: If shapes differ.
    """
    _same_shape("predicted_against_measured", predicted_g, measured_g)
    axes = new_axes(axes)
    r = np.corrcoef(predicted_g, measured_g)[0, 1] if np.ptp(predicted_g) > 0 and np.ptp(measured_g) > 0 else np.nan
    if noise_sd_g is not None:
        bars = {"fmt": "none", "ecolor": BASE, "elinewidth": 0.6, "alpha": 0.5, "zorder": 0.5}
        axes.errorbar(measured_g, predicted_g, xerr=noise_sd_g, **bars)
    axes.scatter(measured_g, predicted_g, s=9, color=MODEL, alpha=0.6, linewidths=0)
    reach = float(np.nanmax(np.abs([predicted_g, measured_g]))) * 1.05 or 1.0
    axes.plot([-reach, reach], [-reach, reach], color=BASE, linewidth=0.8, zorder=0)
    axes.set(xlabel=f"measured change ({unit})", ylabel=f"predicted change ({unit})", title=f"Pearson {r:.2f}")
    _name(axes, measured_g, predicted_g, np.maximum(np.abs(predicted_g), np.abs(measured_g)), genes, label)
    return axes


def volcano(
    delta_g: np.ndarray, sd_g: np.ndarray, *, genes: Sequence[str] | None = None, label: int = 10, width: float | None = None,
    unit: str = UNIT, axes: "Axes | None" = None,
) -> "Axes":  # fmt: skip
    """A predicted effect: change across, doubt up, 95 % intervals as bars where they leave 0 out.

    Args:
        delta_g: `[g]` predicted change.
        sd_g: `[g]` predicted standard deviation.
        genes: `[g]` names, for labels.
        label: How many genes are named.
        width: Half-width of the 95 % interval in standard deviations; default that of a Gaussian.
        unit: Of changes.
        axes: Where to draw; default a new figure.
    """
    _same_shape("volcano", delta_g, sd_g)
    axes = new_axes(axes)
    width = float(scipy.special.ndtri(0.5 + LEVEL / 2)) if width is None else width
    safe = np.where(sd_g > 0, sd_g, np.inf)
    # In logarithms and double precision: a clear effect's p value is 0 in single precision.
    z_g = np.abs(np.asarray(delta_g, np.float64)) / safe
    height = np.minimum(-(scipy.special.log_ndtr(-z_g) + np.log(2)) / np.log(10), 300)
    clear = np.abs(delta_g) > width * safe
    axes.scatter(delta_g[~clear], height[~clear], s=7, color=BASE, alpha=0.5, linewidths=0)
    if clear.any():
        axes.errorbar(
            delta_g[clear],
            height[clear],
            xerr=width * sd_g[clear],
            fmt="none",
            ecolor=MODEL,
            elinewidth=0.5,
            alpha=0.35,
        )
    axes.scatter(delta_g[clear], height[clear], s=10, color=MODEL, linewidths=0)
    axes.axvline(0, color=BASE, linewidth=0.8)
    axes.set(
        xlabel=f"predicted change ({unit}); bars: 95 % interval", ylabel="-log10 p of no change, by the model's own sd",
        title=f"{int(clear.sum())} of {len(delta_g)} genes: the 95 % interval leaves 0 out",
    )  # fmt: skip
    _name(axes, delta_g, height, np.where(clear, np.abs(delta_g), -1.0), genes, min(label, int(clear.sum())))
    return axes


def heat_map(
    delta_pg: np.ndarray,
    *,
    conditions: Sequence[str],
    genes: Sequence[str],
    n_genes: int = 60,
    n_conditions: int = 60,
    unit: str = UNIT,
    axes: "Axes | None" = None,
) -> "Axes":
    """Conditions by genes, both in the order of a clustering (average linkage, correlation distance).

    Args:
        delta_pg: `[p, g]` changes.
        conditions: `[p]` names.
        genes: `[g]` names.
        n_genes: How many genes of largest root mean square change are drawn.
        n_conditions: How many conditions of largest root mean square change are drawn.
        unit: Of changes.
        axes: Where to draw; default a new figure.

    Raises:
        VcEvalError: If names and changes differ in number.
    """
    if delta_pg.shape != (len(conditions), len(genes)):
        raise VcEvalError(
            f"heat_map: changes have shape {delta_pg.shape}, names {(len(conditions), len(genes))}; expected the same."
        )
    kept = _largest(delta_pg.T, n_conditions)
    top = _largest(delta_pg[kept], n_genes)
    part = delta_pg[np.ix_(kept, top)]
    rows, columns = _cluster(part), _cluster(part.T)
    drawn = part[np.ix_(rows, columns)]
    names = [short_name(conditions[kept[p]]) for p in rows]
    axes = new_axes(axes, width=max(6.0, 0.14 * drawn.shape[1] + 3), height=max(3.0, 0.15 * drawn.shape[0] + 1.8))
    bound = float(np.quantile(np.abs(drawn), 0.99)) or 1.0
    image = axes.imshow(drawn, aspect="auto", cmap="RdBu_r", vmin=-bound, vmax=bound, interpolation="nearest")
    axes.set_yticks(range(len(rows)), names, fontsize=7)
    axes.set_xticks(range(len(columns)), [short_name(genes[top[g]]) for g in columns], rotation=90, fontsize=7)
    axes.set_title(
        f"{_of(len(rows), len(conditions), 'conditions')}, {_of(len(columns), len(genes), 'genes')}", fontsize=10
    )
    axes.figure.colorbar(image, ax=axes, label=f"change ({unit})", shrink=0.8)
    return axes


def support_map(
    verdict_cg: np.ndarray,
    *,
    genes: Sequence[str],
    contexts: Sequence[str],
    names: Sequence[str],
    axes: "Axes | None" = None,
) -> "Axes":
    """Contexts by genes, coloured by how far training speaks about them.

    More than `MOST_NAMED` genes are drawn without names, in the order of what is known of them; a handful among thousands is
    drawn wider than its share, so that it can be seen, and counted in the legend.

    Args:
        verdict_cg: `[c, g]` position in `names` of each pair.
        genes: `[g]` names.
        contexts: `[c]` names.
        names: Verdicts, the best supported first; at most five.
        axes: Where to draw; default a new figure.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    verdict_cg = np.asarray(verdict_cg)
    named = len(genes) <= MOST_NAMED
    axes = new_axes(axes, width=max(7.0, 0.13 * len(genes) + 2.5) if named else 9.0, height=1.7 + 0.3 * len(contexts))
    colours = VERDICTS[: len(names)]
    axes.imshow(
        verdict_cg if named else _in_order(verdict_cg),
        aspect="auto",
        cmap=ListedColormap(colours),
        vmin=-0.5,
        vmax=len(colours) - 0.5,
        interpolation="nearest",
    )
    axes.set_yticks(range(len(contexts)), [short_name(name) for name in contexts])
    if named:
        axes.set_xticks(range(len(genes)), genes, rotation=90, fontsize=7)
    else:
        axes.set_xticks([])
        axes.set_xlabel(f"{len(genes):,} genes, in the order of what is known of them")
    handles = [
        Patch(facecolor=colour, edgecolor=BASE, label=f"{name} ({int((verdict_cg == at).sum()):,})")
        for at, (colour, name) in enumerate(zip(colours, names, strict=True))
        if (verdict_cg == at).any()
    ]
    title = "genes" if len(contexts) == 1 else "pairs of gene and context"
    axes.figure.legend(
        handles=handles, title=f"support (number of {title})", loc="outside upper center", ncols=3, frameon=False,
        fontsize=8, title_fontsize=8,
    )  # fmt: skip
    return axes


def _in_order(verdict_cg: np.ndarray) -> np.ndarray:
    """[c, w] the columns sorted and thinned to `COLUMNS`, each pattern over the contexts with at least a few of them."""
    pattern_cu, count_u = np.unique(verdict_cg, axis=1, return_counts=True)
    width_u = np.maximum(np.rint(count_u / count_u.sum() * COLUMNS), FEWEST_COLUMNS).astype(int)
    return np.repeat(pattern_cu, width_u, axis=1)


def _largest(values: np.ndarray, n: int) -> np.ndarray:
    """Columns of the largest root mean square, n at most, in their order."""
    return np.sort(np.argsort(-np.sqrt((values**2).mean(axis=0)), kind="stable")[:n])


def _of(n: int, total: int, what: str) -> str:
    return f"{n:,} {what}" if n == total else f"{n:,} of {total:,} {what} that change most"


def short_name(name: str, most: int = 28) -> str:
    """A name as a figure can bear it."""
    return name if len(name) <= most else f"{name[: most - 3]}..."


def calibration(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], *, axes: "Axes | None" = None) -> "Axes":
    """Share of measured changes inside the interval against the level promised.

    Args:
        curves: Model -> (levels, shares inside).
        axes: Where to draw; default a new figure.
    """
    axes = new_axes(axes)
    axes.plot([0, 1], [0, 1], color=BASE, linewidth=0.8)
    for name, (levels, inside) in curves.items():
        axes.plot(levels, inside, marker="o", markersize=3, linewidth=1.2, label=name)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="level promised", ylabel="share of measured changes inside")
    if curves:
        axes.legend(frameon=False, fontsize=8)
    return axes


def _cluster(values: np.ndarray) -> np.ndarray:
    """Order of the rows along an average-linkage tree of correlation distances; constant rows last."""
    from scipy.cluster.hierarchy import leaves_list, linkage

    moving = np.flatnonzero(np.ptp(values, axis=1) > 0)
    still = np.setdiff1d(np.arange(len(values)), moving)
    if len(moving) < 3:
        return np.concatenate([moving, still])
    return np.concatenate([moving[leaves_list(linkage(values[moving], "average", metric="correlation"))], still])


def _name(
    axes: "Axes", x_g: np.ndarray, y_g: np.ndarray, size_g: np.ndarray, genes: Sequence[str] | None, label: int
) -> None:
    """Write the names of the largest, each on the side of its point where it covers neither another name nor the edge."""
    if genes is None:
        return
    axes.figure.canvas.figure.draw_without_rendering()  # the layout decides where points come to lie
    frame, taken = axes.get_window_extent(), []
    for g in np.argsort(-size_g, kind="stable")[:label]:
        for dx, dy, side in ((4, 2, "left"), (-4, 2, "right"), (4, -8, "left"), (-4, -8, "right")):
            text = axes.annotate(
                str(genes[g]), (x_g[g], y_g[g]), xytext=(dx, dy), textcoords="offset points", fontsize=7, ha=side
            )
            text.set_in_layout(False)
            box = text.get_window_extent()
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


def _same_shape(what: str, a: np.ndarray, b: np.ndarray) -> None:
    if np.shape(a) != np.shape(b) or np.ndim(a) != 1:
        raise VcEvalError(f"{what}: expected two arrays of one shape [g], found {np.shape(a)} and {np.shape(b)}.")
