"""vc-eval: scores for perturbation predictions.

Two ways in. Cells against cells under a named rule: `score_pair`, on AnnData, files or `make_cells` of arrays. Mean profiles
on a split: `score_split` (all models), `summarise` (means, intervals, ceilings) and `write_report`. Both end in `scores-v1`.
"""

from typing import Any

from vc_contracts.lazy import fetch

__version__ = "0.1.0"

_FRONT_DOOR = {
    "score_pair": "cells.rules",
    "Settings": "cells.settings",
    "RuleResult": "cells.result",
    "register_rule": "cells.rules",
    "open_cells": "cells.inputs",
    "make_cells": "cells.inputs",
    "summarise_pair": "stats.pair",
    "compare_scores": "stats.compare",
    "write_baseline": "vcc2025.baseline",
    "Metric": "metrics.registry",
    "Profiles": "metrics.custom",
    "register_metric": "metrics.custom",
    "score_split": "split.score",
    "summarise": "stats.summary",
    "paired_differences": "stats.summary",
    "SplitScores": "stats.conditions",
    "write_report": "report.page",
    "read_screen": "contracts",
    "read_splits": "contracts",
    "read_predictions": "contracts",
    "read_scores": "contracts",
    "write_scores": "contracts",
    "VcEvalError": "errors",
    "ContractError": "errors",
}
__all__ = sorted(["__version__", *_FRONT_DOOR])


def __getattr__(name: str) -> Any:
    """Import a front-door name on first use, so that importing the package costs nothing."""
    return fetch(__name__, _FRONT_DOOR, name)


def __dir__() -> list[str]:
    return list(__all__)
