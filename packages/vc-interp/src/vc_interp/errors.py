"""Errors a user can act on. The command line prints their text and exits with 2."""

import vc_contracts.errors
from vc_contracts.errors import Refusal


class VcInterpError(Refusal):
    """Base of everything vc-interp refuses."""


class InputError(VcInterpError):
    """A file or value the user brought cannot be used; the text says where, what was expected and what to do."""


class ContractError(VcInterpError, vc_contracts.errors.ContractError):
    """A file breaks the contract latents-v1; the text names the file, the field, expected, found and the remedy."""
