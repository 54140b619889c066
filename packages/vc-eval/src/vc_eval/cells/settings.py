"""What a user may set for scoring cells."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


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
    real cells (`vc_eval.cells.controls`)."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of one rule only, by name; a rule refuses those it does not know."""

    def as_dict(self) -> dict[str, Any]:
        """Settings that can move a number, for provenance; no path, no thread count."""
        return {
            k: v
            for k, v in asdict(self).items()
            if k not in ("n_threads", "cache", "memory_mb", "progress", "controls")
        }
