"""Scoring rules by name: each scores one prediction against one real data set, both given as cells.

A rule is a function `score_pair(pred, real, *, settings) -> RuleResult` on two AnnData objects, which may be backed by
a file. Rules are never mixed: every result says its rule, the rule's version and every setting that moved a number.
A rule of your own is one call of `register_rule`; one that reads X in blocks says so by the attribute `streams = True` on its
function, others are given cells whose X is in memory.
"""

import importlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vc_eval.errors import VcEvalError

if TYPE_CHECKING:
    import anndata
    import pandas as pd

PER_PERTURBATION = ("context", "perturbation", "metric", "value", "lower", "upper", "reason")
AGGREGATE = ("context", "metric", "value", "n", "n_undefined")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a user may set; a rule says in its provenance what it used."""

    pert_col: str = "target_gene"
    """Column of `obs` that names the perturbation."""
    control: str = "non-targeting"
    """Label of control cells in that column."""
    context_col: str | None = None
    """Column of `obs` that names the context (cell line or type); contexts are scored one by one. None: one context."""
    seed: int = 0
    """Root seed of whatever the rule draws."""
    n_threads: int | None = None
    """Threads of the kernels; None means every core. No number depends on it."""
    cache: Path | None = None
    """Folder in which results of the real side are kept, by content hash; None keeps nothing."""
    memory_mb: int = 4096
    """Memory for cell values at a time; more data is read in several passes over the file."""
    allow_counts: bool = False
    """Take the values as they are (vcc2025: no normalisation, no log; means are then means)."""
    progress: bool = False
    """Show progress bars."""
    controls: bool = False
    """Also score what every table needs beside a prediction: no change, mean effect, shuffled labels, halves of the
    real cells (`vc_eval.split.controls`)."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of one rule only, by name; a rule refuses those it does not know."""

    def as_dict(self) -> dict[str, Any]:
        """Settings that can move a number, for provenance; no path, no thread count."""
        return {
            k: v
            for k, v in asdict(self).items()
            if k not in ("n_threads", "cache", "memory_mb", "progress", "controls")
        }


@dataclass(frozen=True, kw_only=True)
class RuleResult:
    """Scores of one prediction under one rule."""

    per_perturbation: "pd.DataFrame"
    """Tidy, columns `PER_PERTURBATION`: `context` ("" with one context), `perturbation`, `metric` (as
    "vcc2025/des"), `value` (NaN where undefined), `lower` and `upper` (what the value could be over all orders of
    ties; equal to it without ties, NaN where undefined) and `reason` (why NaN, else "")."""
    aggregate: "pd.DataFrame"
    """Tidy, columns `AGGREGATE`: one row per context and metric, with `context` "" for the overall number: `value`,
    `n` perturbations behind it, `n_undefined` left out."""
    provenance: dict[str, Any]
    """JSON: at least `rule`, `rule_version`, `package_version`, `settings`, and what the rule normalised or refused."""
    controls: "dict[str, RuleResult]" = field(default_factory=dict)
    """Name -> result of what the table needs beside the prediction, where `Settings.controls` asked for it."""
    effects: "pd.DataFrame | None" = None
    """Columns `context`, `perturbation`, `size`: how strong each perturbation is (`controls.effect_sizes`)."""


ScorePair = Callable[..., RuleResult]

_RULES: dict[str, str | ScorePair] = {
    "vcc2025": "vc_eval.vcc2025.cells:score_pair",
    "vcc2025-leaderboard": "vc_eval.vcc2025.cells:score_pair_leaderboard",
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
    from vc_eval.cells.inputs import load_cells, open_cells, refuse_profiles

    score = get_rule(rule)
    read = open_cells if getattr(score, "streams", False) else load_cells
    pred = read(pred)
    refuse_profiles(pred)
    prepared = not (isinstance(real, str | Path) or hasattr(real, "obs"))  # a real side the rule measured before
    return score(pred, real if prepared else read(real), settings=settings or Settings())
