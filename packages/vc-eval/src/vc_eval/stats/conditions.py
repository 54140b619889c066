"""What scoring hands on: values condition by condition, and the changes that pages and figures draw."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd


@dataclass(frozen=True, kw_only=True)
class LineDeltas:
    """Measured and predicted deltas of one cell line, for drawing."""

    cell_line: str
    perturbations: list[str]
    genes: np.ndarray
    measured_pg: np.ndarray
    noise_sd_pg: np.ndarray
    predicted: dict[str, np.ndarray]
    """Model -> `[p, g]` float32."""


@dataclass(frozen=True, kw_only=True)
class SplitScores:
    """Scores of all models on one split."""

    dataset: str
    split: str
    models: list[str]
    """Scored predictions, in the order given."""
    conditions: pd.DataFrame
    """Tidy: model, cell_line, perturbation, kind (single or combo), metric, value, reason (why NaN, else empty)."""
    deltas: list[LineDeltas]
    effects: dict[tuple[str, str], float] = field(default_factory=dict)
    """(cell line, perturbation) -> strength of the measured effect (`controls.effect_sizes`)."""
    notes: dict
    """What was held out, what was left out and why, gaps and settings; JSON."""
