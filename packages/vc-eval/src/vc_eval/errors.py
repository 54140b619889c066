"""Errors of vc-eval: one base class, one subclass per remedy."""

import vc_contracts.errors
from vc_contracts.errors import Refusal


class VcEvalError(Refusal):
    """Anything vc-eval refuses to do. The text says where, what was expected, what was found and what to do."""


class ContractError(VcEvalError, vc_contracts.errors.ContractError):
    """A file that does not keep its contract (docs/contracts). Remedy: write the file anew with a correct writer."""
