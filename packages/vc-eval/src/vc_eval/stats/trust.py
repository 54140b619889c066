"""Which metrics can tell a good prediction from a bad one on these data: their dynamic range (docs/metrics.md#ceilings)."""

from typing import TYPE_CHECKING

import numpy as np

from vc_eval.metrics import get_metric
from vc_eval.metrics.trust import dynamic_range_fraction
from vc_eval.roles import MEAN_BASELINE, MEAN_EFFECT, NO_CHANGE, SPLIT_HALF
from vc_eval.stats.summary import BEATS, make_cubes

if TYPE_CHECKING:
    import pandas as pd

    from vc_eval.stats.conditions import SplitScores

NEGATIVES = (MEAN_BASELINE, MEAN_EFFECT, NO_CHANGE)


def dynamic_ranges(splits: "list[SplitScores]") -> "pd.DataFrame":
    """Median over conditions of how far half of the cells moves each metric from the mean towards its best value.

    Args:
        splits: Scores with the rows `split_half` and one of the negative controls; without them nothing is returned.

    Returns:
        Columns dataset, split, metric, negative (the control compared with; no change where the mean has no value),
        median, above_zero (share of conditions) and n; metrics without a finite best value are left out.
    """
    import pandas as pd

    rows = []
    for cube in make_cubes(splits, []):
        if SPLIT_HALF not in cube.models:
            continue
        for name in cube.metrics:
            metric = get_metric(name)
            one_sided = metric.direction != "nearest" and np.isfinite(metric.best) and metric.aggregate == "mean"
            if not one_sided or name.startswith(BEATS) or name.endswith(("_lower", "_upper")):
                continue
            positive = cube.column(SPLIT_HALF, name)
            for negative in NEGATIVES:
                if negative not in cube.models:
                    continue
                fraction = dynamic_range_fraction(positive, cube.column(negative, name), metric.best)
                known = fraction[np.isfinite(fraction)]
                if known.size:
                    share = float((known > 0).mean())
                    rows.append((cube.dataset, cube.split, name, negative, float(np.median(known)), share, known.size))
                    break
    return pd.DataFrame(rows, columns=["dataset", "split", "metric", "negative", "median", "above_zero", "n"])
