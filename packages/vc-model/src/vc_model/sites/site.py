"""What a site is: rows of activations with their identities, and the way from there to expression."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vc_model.predictor import Fitted


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows of activations.

    Attributes:
        values_nd: [n, d] float32.
        names: n row identities, unique over the whole site.
        cell_line: n cell lines.
        perturbation: n labels, `control` for nothing done.
    """

    values_nd: np.ndarray
    names: tuple[str, ...]
    cell_line: tuple[str, ...]
    perturbation: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class OfModel[F: Fitted]:
    """What every site says of the model that it lies in."""

    fitted: F

    @property
    def model(self) -> str:
        """The model's name."""
        return self.fitted.name

    @property
    def genes(self) -> tuple[str, ...]:
        """The model's genes."""
        return self.fitted.contexts.genes


class Site(Protocol):
    """A named place in a fitted model, over a list of conditions."""

    @property
    def name(self) -> str:
        """Where it is, e.g. `backbone/state`."""
        ...

    @property
    def model(self) -> str:
        """The model's name."""
        ...

    @property
    def kind(self) -> str:
        """What a row is: `cell`, `condition` or `gene` (latents-v1)."""
        ...

    @property
    def width(self) -> int:
        """Number of dimensions."""
        ...

    @property
    def genes(self) -> tuple[str, ...]:
        """Genes of the expression that it decodes to."""
        ...

    def blocks(self) -> Iterator[Block]:
        """All rows, in one order; memory of one block."""
        ...

    def decode(self, values_nd: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """[n, g] float32 expression (log1p CP10k) of these rows when their activations are replaced.

        Args:
            values_nd: [n, d] what stands in the place of the model's own activations.
            rows: [n] positions among all rows of `blocks`.
        """
        ...

    def gradient(self) -> np.ndarray:
        """[g, d] float32 mean gradient of every gene's decoded expression with respect to the activations."""
        ...
