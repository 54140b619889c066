"""vc-eval: scores for perturbation predictions.

Two ways in. Cells against cells under a named rule: `score_pair`, on AnnData, files or `make_cells` of arrays. Mean profiles
on a split: `score_split` (all models), `summarise` (means, intervals, ceilings) and `write_report`. Both end in `scores-v1`.
"""

import importlib

__version__ = "0.1.0"

_FRONT_DOOR = {
    "score_pair": "vc_eval.cells.rules",
    "Settings": "vc_eval.cells.settings",
    "RuleResult": "vc_eval.cells.result",
    "register_rule": "vc_eval.cells.rules",
    "open_cells": "vc_eval.cells.inputs",
    "make_cells": "vc_eval.cells.inputs",
    "summarise_pair": "vc_eval.stats.pair",
    "compare_scores": "vc_eval.stats.compare",
    "write_baseline": "vc_eval.vcc2025.baseline",
    "Metric": "vc_eval.metrics.registry",
    "Profiles": "vc_eval.metrics.custom",
    "register_metric": "vc_eval.metrics.custom",
    "score_split": "vc_eval.split.score",
    "summarise": "vc_eval.stats.summary",
    "paired_differences": "vc_eval.stats.summary",
    "SplitScores": "vc_eval.stats.conditions",
    "write_report": "vc_eval.report.page",
    "read_screen": "vc_eval.contracts",
    "read_splits": "vc_eval.contracts",
    "read_predictions": "vc_eval.contracts",
    "read_scores": "vc_eval.contracts",
    "write_scores": "vc_eval.contracts",
    "VcEvalError": "vc_eval.errors",
    "ContractError": "vc_eval.errors",
}
__all__ = sorted(["__version__", *_FRONT_DOOR])


def __getattr__(name: str) -> object:
    """Import a front-door name on first use, so that importing the package costs nothing."""
    if name not in _FRONT_DOOR:
        raise AttributeError(f"module 'vc_eval' has no attribute {name!r}")
    return getattr(importlib.import_module(_FRONT_DOOR[name]), name)
