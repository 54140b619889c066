"""What can go wrong in vc-model, one class per remedy."""

import vc_contracts.errors
from vc_contracts.errors import Refusal


class VcModelError(Refusal):
    """Base of every error this package raises on purpose; its text says what to do."""


class ContractError(VcModelError, vc_contracts.errors.ContractError):
    """A file does not keep the contract it claims; make it again with the package that writes it."""


class TableError(VcModelError):
    """A screen and a split do not give a training table, or conditions do not fit a model."""


class CheckpointError(ContractError):
    """A checkpoint is incomplete, or its parameters are not what its configuration asks for."""

    def __init__(self, text: str) -> None:
        ValueError.__init__(self, text)


class TrainingError(VcModelError):
    """A training run that cannot start, go on or be resumed; the text says what to change."""
