"""Errors a user can act on. The command line prints their text and exits with 2."""

import vc_contracts.errors
from vc_contracts.errors import Refusal


class VcFeaturizeError(Refusal):
    """Base of everything vc-featurize refuses."""


class InputError(VcFeaturizeError):
    """A file or value the user brought cannot be encoded; the text says where, what was expected and what to do."""


class ContractError(VcFeaturizeError, vc_contracts.errors.ContractError):
    """A file breaks the contract features-v1; the text names the file, the field, expected, found and the remedy."""
