"""vc-eval: scores for perturbation predictions.

Reads `screen-v1`, `splits-v1` and `predictions-v1`; writes `scores-v1` and one self-contained report page.
The front door is `score_split` (one split, all models), `summarise` (means, intervals, ceilings) and `write_report`.
"""

import importlib

_FRONT_DOOR = {
    "score_split": "vc_eval.score",
    "summarise": "vc_eval.summary",
    "paired_differences": "vc_eval.summary",
    "SplitScores": "vc_eval.score",
    "write_report": "vc_eval.report",
    "read_screen": "vc_eval.contracts",
    "read_splits": "vc_eval.contracts",
    "read_predictions": "vc_eval.contracts",
    "read_scores": "vc_eval.contracts",
    "write_scores": "vc_eval.contracts",
    "VcEvalError": "vc_eval.errors",
    "ContractError": "vc_eval.errors",
}
__all__ = sorted(_FRONT_DOOR)


def __getattr__(name: str) -> object:
    """Import a front-door name on first use, so that importing the package costs nothing."""
    if name not in _FRONT_DOOR:
        raise AttributeError(f"module 'vc_eval' has no attribute {name!r}")
    return getattr(importlib.import_module(_FRONT_DOOR[name]), name)
