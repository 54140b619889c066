"""What a row of a table of scores is: a model, a baseline, or a reference that is neither; and the names of our own rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vc_eval.errors import ContractError

NO_CHANGE, MEAN_EFFECT = "no_change", "mean_effect"
SHUFFLED, SPLIT_HALF, DUPLICATE = "shuffled_labels", "split_half", "interpolated_duplicate"
MEAN_BASELINE = "cell_eval_mean"
"""cell-eval's mean baseline (docs/metrics.md#mean-baseline): identical cells; what the challenge score is scaled against."""
SPLIT_HALF_SB = "split_half_sb"
"""Split-half correlations extrapolated to whole data by Spearman-Brown; correlations only."""
REFERENCES = (SPLIT_HALF, SPLIT_HALF_SB, DUPLICATE, SHUFFLED)
"""Rows of a table that are neither a model nor a baseline."""
RESERVED = (MEAN_BASELINE, *REFERENCES)
"""Names that no prediction may have."""
MODEL, BASELINE, REFERENCE = "model", "baseline", "reference"
ROLES = (MODEL, BASELINE, REFERENCE)
"""What a predictions-v1 file may say that it is, in `uns["role"]`; a file that says nothing counts as a model."""


def role_of(uns: Mapping[str, Any], source: str | Path) -> str | None:
    """The role that a prediction file states, None where it states none.

    Raises:
        ContractError: If it states another than `ROLES`.
    """
    role = uns.get("role")
    if role is None:
        return None
    if str(role) not in ROLES:
        raise ContractError(
            source, "uns['role']", f"one of {', '.join(ROLES)}", repr(str(role)), "Write the file with a known role."
        )
    return str(role)
