"""What every table holds beside the predictions: controls that know nothing, and halves of the data that know what can be known.

All come from the real side alone (docs/metrics.md#controls), most of them in closed form from one ranking of the real cells:

- `no_change`: every perturbation predicted by the control cells themselves.
- `mean_effect`: cell-eval's mean baseline of the very data that are scored, as identical cells.
- `shuffled_labels`: every perturbation predicted by the real cells of another one.
- `split_half`: one half of the real cells predicts the other, raw.
- `interpolated_duplicate`: the same half, its profile kept where it is significant and drawn to the mean elsewhere.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vc_eval.metrics import challenge2025 as vcc
from vc_eval.metrics.trust import interpolated_duplicate
from vc_eval.rank import de
from vc_eval.roles import DUPLICATE, MEAN_EFFECT, NO_CHANGE, SHUFFLED, SPLIT_HALF

if TYPE_CHECKING:
    import pandas as pd

    from vc_eval.cells.ranked import RankedSide


def draw_halves(labels_n: np.ndarray, seed: int) -> np.ndarray:
    """`[n]` half 0 or 1 of each cell, 2 for neither: floor(n/2) cells of every label in each, as cell-eval draws them.

    Args:
        labels_n: `[n]` labels; an empty one leaves the cell out.
        seed: Of the draw.

    References:
        docs/metrics.md#halves.
    """
    rng = np.random.default_rng(seed)
    half_n = np.full(labels_n.size, 2, np.int8)
    for label in sorted(set(labels_n) - {""}):
        cells = rng.permutation(np.flatnonzero(labels_n == label))
        half = cells.size // 2
        half_n[cells[:half]], half_n[cells[half : 2 * half]] = 0, 1
    return half_n


def control_pairs(real: "RankedSide", seed: int) -> "dict[str, tuple[RankedSide, RankedSide]]":
    """Name -> (prediction, truth) of every control that these data allow.

    Args:
        real: Real cells, with halves where there are enough cells.
        seed: Of the shuffled labels.
    """
    n, n_control = real.sizes[:-1], float(real.sizes[-1])
    means = {name: getattr(real, name) for name in ("mean_lg", "mean_log_lg")}
    flat: dict[str, Any] = {name: np.repeat(mean[-1:], len(mean), axis=0) for name, mean in means.items()}
    no_ties = np.zeros_like(real.ties)  # of no consequence: the statistic is at its mean, so p is 1
    pairs = {
        NO_CHANGE: (
            replace(real, twice_u=np.outer(n, np.full(len(real.genes), n_control)), ties=no_ties, **flat),
            real,
        ),
        MEAN_EFFECT: (_mean_effect(real), real),
    }
    if len(real.labels) > 1:
        pairs[SHUFFLED] = (_shuffled(real, seed), real)
    if real.halves is not None:
        truth, prediction = real.halves
        pairs[SPLIT_HALF] = (prediction, truth)
        q_value_pg = prediction.table().q_value_pg
        drawn: dict[str, Any] = {}
        for name in means:
            mean_lg = getattr(prediction, name)
            profile_pg = interpolated_duplicate(mean_lg[:-1], mean_lg[:-1].mean(axis=0), q_value_pg)
            drawn[name] = np.vstack([profile_pg, mean_lg[-1:]])
        pairs[DUPLICATE] = (replace(prediction, **drawn), truth)
    return pairs


def _mean_effect(real: "RankedSide") -> "RankedSide":
    twice_u, ties = de.rank_tiles(real.placed, real.sizes[:-1])
    profile_g = vcc.mean_baseline(real.mean_lg).astype(np.float32).astype(np.float64)
    log_g = profile_g if real.mean_log_lg is real.mean_lg else np.log1p(profile_g)
    return replace(
        real, twice_u=twice_u, ties=ties,
        mean_lg=_over_controls(profile_g, real.mean_lg), mean_log_lg=_over_controls(log_g, real.mean_log_lg),
    )  # fmt: skip


def _over_controls(profile_g: np.ndarray, mean_lg: np.ndarray) -> np.ndarray:
    return np.vstack([np.repeat(profile_g[None], len(mean_lg) - 1, axis=0), mean_lg[-1:]])


def shuffle(n: int, seed: int) -> np.ndarray:
    """`[n]` another item for each of two or more, each given once."""
    order = np.random.default_rng(seed).permutation(n)
    other = np.empty(n, int)
    other[order] = np.roll(order, 1)
    return other


def _shuffled(real: "RankedSide", seed: int) -> "RankedSide":
    other = shuffle(len(real.labels), seed)
    rows = np.append(other, len(other))  # the control stays
    return replace(
        real, twice_u=real.twice_u[other], ties=real.ties[other], sizes=real.sizes[rows], mean_lg=real.mean_lg[rows],
        mean_log_lg=real.mean_log_lg[rows],
    )  # fmt: skip


def effect_sizes(table: de.DeTable, delta_pg: np.ndarray) -> np.ndarray:
    """`[p]` by which perturbations are cut into weak, medium and strong: significant genes, then the norm of the change.

    Args:
        table: Of the real cells.
        delta_pg: `[p, g]` measured change.
    """
    norm_p = np.linalg.norm(delta_pg, axis=1)
    return table.significant_pg.sum(axis=1) + norm_p / (1 + norm_p)


def effect_frame(context: str, real: "RankedSide") -> "pd.DataFrame":
    """Strength of every perturbation of one context, for `RuleResult.effects`."""
    import pandas as pd

    sizes = effect_sizes(real.table(), real.mean_lg[:-1] - real.mean_lg[-1])
    return pd.DataFrame({"context": context, "perturbation": real.labels, "size": sizes})
