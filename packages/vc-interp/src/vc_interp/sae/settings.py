"""What can be chosen about a sparse autoencoder. Light to import."""

from dataclasses import dataclass
from typing import Literal

from vc_interp.errors import InputError

Architecture = Literal["batchtopk", "topk", "jumprelu", "standard"]


@dataclass(frozen=True, kw_only=True)
class SaeSettings:
    """One training run."""

    architecture: Architecture = "batchtopk"
    """How sparsity is made: k features a row on average, exactly k, a learnt threshold each, or an L1 penalty."""
    features: int = 0
    """f; 0: twice the width."""
    k: float = 8.0
    """Active features of a row (topk, batchtopk), or the number that jumprelu and standard are drawn to."""
    l1: float = 1.0
    """Weight of the L1 penalty at the start (standard); it then rises or falls until k features are active."""
    whiten: bool = False
    """Give every direction of the activations the same variance before they are learnt (and undo it in the weights): for what
    perturbations do where cells and lines differ far more."""
    passes: float = 0.0
    """Passes over the rows; 0: as many as make 4,000 steps, at least 1."""
    batch: int = 1024
    """Rows of a step."""
    lr: float = 3e-3
    """Peak rate of Adam; falls linearly to 0 over the last fifth."""
    dead_window: int = 200
    """Steps without firing after which a feature counts as dead and is revived (topk, batchtopk)."""
    save_every: int = 500
    """Steps between saves."""
    seed: int = 0
    """Of initial weights and of the order of rows."""
    device: str = "cpu"
    """Where it is trained; on cpu the same run gives the same bytes."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, naming the field.

        Raises:
            InputError: If a number is out of its range.
        """
        low = {"features": 0, "k": 1e-9, "passes": 0, "batch": 1, "lr": 1e-12, "save_every": 1, "dead_window": 1}
        for name, least in low.items():
            if not getattr(self, name) >= least:
                raise InputError(
                    f"--{name.replace('_', '-')}: expected {least:g} or more, found {getattr(self, name)}."
                )
        if self.architecture == "topk" and (self.k < 1 or self.k != int(self.k)):
            raise InputError(f"--k: expected a whole number of features for topk, found {self.k:g}. Or use batchtopk.")

    def n_features(self, width: int) -> int:
        """F for activations of a width."""
        return self.features or 2 * width

    def n_steps(self, n_rows: int) -> int:
        """Steps of the run."""
        per_pass = max(1, n_rows // min(self.batch, n_rows))
        return max(1, round(self.passes * per_pass)) if self.passes else max(4000, per_pass)
