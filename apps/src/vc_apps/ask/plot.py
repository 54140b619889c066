"""`vc plot`: one figure from a contract, drawn by vc-eval."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Draw one figure of predictions-v1, effects-v1 (volcano, heatmap, measured) or scores (calibration, gain).

    For example:
      vc plot volcano answers/predictions.h5ad --condition "K562 | TP53" -o tp53.svg
      vc plot heatmap answers/predictions.h5ad -o map.png
      vc plot gain run -o gain.pdf
    """

    kind: tyro.conf.Positional[Literal["measured", "volcano", "heatmap", "calibration", "gain"]]
    """What to draw."""
    source: tyro.conf.Positional[Path]
    """predictions-v1, effects-v1, or a folder of scores-v1."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The figure: .svg, .png or .pdf."""
    condition: str | None = None
    """volcano, measured: which; default the first."""
    against: Path | None = None
    """measured: a file of the same kind with the measured profiles or effects."""
    model: str | None = None
    """gain: which; default the model in focus."""
    metric: str = "pearson_delta"
    """gain: of which metric."""
    overwrite: bool = False
    """Replace a figure that is there."""


def plot(settings: Plot) -> None:
    """Draw and write the figure.

    Raises:
        VcEvalError: If a file or a name is refused.
    """
    from vc_eval.cli import options
    from vc_eval.cli.plot import plot as draw

    draw(options.Plot(**dataclasses.asdict(settings)))
