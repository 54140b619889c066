"""Scoring rules by name: each scores one prediction against one real data set, both given as cells.

A rule is a function `score_pair(pred, real, *, settings) -> RuleResult` on two AnnData objects, which may be backed by
a file. Rules are never mixed: every result says its rule, the rule's version and every setting that moved a number.
A rule of your own is one call of `register_rule`; one that reads X in blocks says so by the attribute `streams = True` on its
function, others are given cells whose X is in memory.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vc_eval.cells.inputs import load_cells, open_cells, refuse_profiles
from vc_eval.cells.result import RuleResult
from vc_eval.cells.settings import Settings
from vc_eval.errors import VcEvalError

if TYPE_CHECKING:
    import anndata

ScorePair = Callable[..., RuleResult]

_RULES: dict[str, str | ScorePair] = {
    "vcc2025": "vc_eval.vcc2025.rule:score_pair",
    "vcc2025-leaderboard": "vc_eval.vcc2025.rule:score_pair_leaderboard",
    "vcc2026": "vc_eval.vcc2026:score_pair",
}
PROFILES: dict[str, str] = {
    "full": "vc_eval.cells.profiles:score_full",
    "bio": "vc_eval.cells.profiles:score_bio",
}
"""Sets of metrics that are no competition rule; the same signature and result as a rule."""


def rule_names() -> list[str]:
    """Names of all rules."""
    return list(_RULES)


def get_rule(name: str) -> ScorePair:
    """The scoring function of a rule or profile, imported on first use.

    Raises:
        VcEvalError: If no rule and no profile has that name.
    """
    known = _RULES | PROFILES
    if name not in known:
        raise VcEvalError(f"rule: expected one of {', '.join(known)}, found {name!r}.")
    rule = known[name]
    if isinstance(rule, str):
        module, _, function = rule.partition(":")
        rule = getattr(importlib.import_module(module), function)
    return rule


def register_rule(name: str, rule: str | ScorePair) -> None:
    """Add a rule of your own.

    Args:
        name: Not taken yet.
        rule: `score_pair(pred, real, *, settings) -> RuleResult`, or "module:function" to import on first use.

    Raises:
        VcEvalError: If the name is taken.
    """
    if name in _RULES or name in PROFILES:
        raise VcEvalError(f"rule: {name!r} is taken; expected a new name.")
    _RULES[name] = rule


def score_pair(
    pred: "str | Path | anndata.AnnData",
    real: "str | Path | anndata.AnnData",
    *,
    rule: str = "vcc2025",
    settings: Settings | None = None,
) -> RuleResult:
    """Score predicted cells against real cells under a named rule.

    Args:
        pred: Predicted cells `[n, g]`, perturbations in `obs`; a path is opened without loading X.
        real: Real cells `[m, g]`, the same genes and perturbations; AnnData or path. What a rule prepared of them
            (`vcc2026.prepare_real`) is handed on to it.
        rule: One of `rule_names` or `PROFILES`.
        settings: Default settings if None.

    Raises:
        VcEvalError: If the rule is unknown or refuses the input.
    """
    score = get_rule(rule)
    read = open_cells if getattr(score, "streams", False) else load_cells
    pred = read(pred)
    refuse_profiles(pred)
    prepared = not (isinstance(real, str | Path) or hasattr(real, "obs"))  # a real side the rule measured before
    return score(pred, real if prepared else read(real), settings=settings or Settings())
