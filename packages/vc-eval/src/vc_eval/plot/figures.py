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
    noise_sd_g: np.ndarray | None = None, axes: "Axes | None" = None,
) -> "Axes":  # fmt: skip
    """Predicted change (up) against measured change (across), one point a gene.

    Args:
        predicted_g: `[g]` predicted change, log1p CP10k.
        measured_g: `[g]` measured change.
        genes: `[g]` names, for labels.
        label: How many genes of largest change are named.
        noise_sd_g: `[g]` standard deviation of the measured change, drawn as bars.
        axes: Where to draw; default a new figure.

    Raises:
        VcEvalError: If shapes differ.
    """
    _same_shape("predicted_against_measured", predicted_g, measured_g)
    axes = new_axes(axes)
    r = np.corrcoef(predicted_g, measured_g)[0, 1] if np.ptp(predicted_g) > 0 and np.ptp(measured_g) > 0 else np.nan
    if noise_sd_g is not None:
        axes.errorbar(measured_g, predicted_g, xerr=noise_sd_g, fmt="none", ecolor=BASE, elinewidth=0.6, alpha=0.5)
    axes.scatter(measured_g, predicted_g, s=9, color=MODEL, alpha=0.6, linewidths=0)
    reach = float(np.nanmax(np.abs([predicted_g, measured_g]))) * 1.05 or 1.0
    axes.plot([-reach, reach], [-reach, reach], color=BASE, linewidth=0.8, zorder=0)
    _name(axes, measured_g, predicted_g, np.maximum(np.abs(predicted_g), np.abs(measured_g)), genes, label)
    axes.set(xlabel="measured change (log1p CP10k)", ylabel="predicted change (log1p CP10k)", title=f"Pearson {r:.2f}")
    return axes


def volcano(
    delta_g: np.ndarray, sd_g: np.ndarray, *, genes: Sequence[str] | None = None, label: int = 10, width: float | None = None,
    axes: "Axes | None" = None,
) -> "Axes":  # fmt: skip
    """A predicted effect: change across, doubt up, 95 % intervals as bars where they leave 0 out.

    Args:
        delta_g: `[g]` predicted change.
        sd_g: `[g]` predicted standard deviation.
        genes: `[g]` names, for labels.
        label: How many genes are named.
        width: Half-width of the 95 % interval in standard deviations; default that of a Gaussian.
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
    _name(axes, delta_g, height, np.where(clear, np.abs(delta_g), -1.0), genes, min(label, int(clear.sum())))
    axes.set(
        xlabel="predicted change (log1p CP10k)", ylabel="-log10 p of no change, by the model's own sd",
        title=f"{int(clear.sum())} of {len(delta_g)} genes: the 95 % interval leaves 0 out",
    )  # fmt: skip
    return axes


def heat_map(
    delta_pg: np.ndarray,
    *,
    conditions: Sequence[str],
    genes: Sequence[str],
    n_genes: int = 60,
    axes: "Axes | None" = None,
) -> "Axes":
    """Conditions by genes, both in the order of a clustering (average linkage, correlation distance).

    Args:
        delta_pg: `[p, g]` changes.
        conditions: `[p]` names.
        genes: `[g]` names.
        n_genes: Genes drawn: those that change most.
        axes: Where to draw; default a new figure.

    Raises:
        VcEvalError: If names do not fit the shape.
    """
    if delta_pg.shape != (len(conditions), len(genes)):
        raise VcEvalError(
            f"heat_map: changes have shape {delta_pg.shape}, names {(len(conditions), len(genes))}; expected the same."
        )
    top = np.sort(np.argsort(-np.sqrt((delta_pg**2).mean(axis=0)), kind="stable")[:n_genes])
    part = delta_pg[:, top]
    rows, columns = _cluster(part), _cluster(part.T)
    drawn = part[np.ix_(rows, columns)]
    axes = new_axes(axes, width=max(5.0, 0.16 * drawn.shape[1] + 2), height=max(3.0, 0.2 * drawn.shape[0] + 1.6))
    bound = float(np.quantile(np.abs(drawn), 0.99)) or 1.0
    image = axes.imshow(drawn, aspect="auto", cmap="RdBu_r", vmin=-bound, vmax=bound, interpolation="nearest")
    axes.set_yticks(range(len(rows)), [conditions[p] for p in rows], fontsize=7)
    axes.set_xticks(range(len(columns)), [genes[top[g]] for g in columns], rotation=90, fontsize=6)
    axes.figure.colorbar(image, ax=axes, label="change (log1p CP10k)", shrink=0.7)
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

    Args:
        verdict_cg: `[c, g]` position in `names` of each pair.
        genes: `[g]` names.
        contexts: `[c]` names.
        names: Verdicts, the best supported first; at most five.
        axes: Where to draw; default a new figure.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    axes = new_axes(axes, width=max(5.0, min(0.16 * len(genes) + 2, 24)), height=1.8 + 0.3 * len(contexts))
    colours = VERDICTS[: len(names)]
    axes.imshow(
        verdict_cg,
        aspect="auto",
        cmap=ListedColormap(colours),
        vmin=-0.5,
        vmax=len(colours) - 0.5,
        interpolation="nearest",
    )
    axes.set_yticks(range(len(contexts)), contexts)
    if len(genes) <= 120:
        axes.set_xticks(range(len(genes)), genes, rotation=90, fontsize=6)
    else:
        axes.set_xlabel(f"{len(genes):,} genes")
    handles = [
        Patch(facecolor=colour, edgecolor=BASE, label=f"{name} ({int((verdict_cg == at).sum()):,})")
        for at, (colour, name) in enumerate(zip(colours, names, strict=True))
        if (verdict_cg == at).any()
    ]
    axes.figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return axes


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
    if genes is None:
        return
    for g in np.argsort(-size_g, kind="stable")[:label]:
        axes.annotate(str(genes[g]), (x_g[g], y_g[g]), xytext=(3, 2), textcoords="offset points", fontsize=7)


def _same_shape(what: str, a: np.ndarray, b: np.ndarray) -> None:
    if np.shape(a) != np.shape(b) or np.ndim(a) != 1:
        raise VcEvalError(f"{what}: expected two arrays of one shape [g], found {np.shape(a)} and {np.shape(b)}.")
