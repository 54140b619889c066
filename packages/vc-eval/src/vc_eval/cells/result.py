"""What scoring one prediction under one rule gives: tidy tables, and where the numbers come from."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

PER_PERTURBATION = ("context", "perturbation", "metric", "value", "lower", "upper", "reason")
AGGREGATE = ("context", "metric", "value", "n", "n_undefined")


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
