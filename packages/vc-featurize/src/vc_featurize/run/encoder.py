"""What an encoder of sequences is: a name for what it does, a width, and a function from texts to vectors."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class SequenceEncoder(Protocol):
    """Anything that turns prepared texts (sequences, SMILES) into vectors of one width.

    Attributes:
        identity: What decides the numbers: `id`, `revision`, `pooling`, `dtype`, `licence` and whatever else does.
            Two runs with equal identity and equal texts give equal bytes.
        dim: Width of the vectors.
    """

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the numbers."""
        ...

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        ...

    def prepare(self, text: str) -> tuple[str | None, str]:
        """The text as the encoder wants it and a note, or None and the reason why it cannot be encoded."""
        ...

    def length(self, text: str) -> int:
        """Tokens that a prepared text costs; batches are filled by this."""
        ...

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of prepared texts: float32 `[n, dim]`."""
        ...
