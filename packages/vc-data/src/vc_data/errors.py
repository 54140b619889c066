"""Errors of vc-data: one base class, one subclass per remedy, one shape of message."""

import vc_contracts.errors
from vc_contracts.errors import FieldRefusal, OutputError, few

__all__ = [
    "ColumnError",
    "ContractError",
    "ControlError",
    "CountsError",
    "GeneError",
    "OptionError",
    "OutputError",
    "SourceError",
    "TooFewError",
    "VcDataError",
    "few",
]


class VcDataError(FieldRefusal):
    """A refusal that says where, expected what, found what, and what to do.

    Examples:
        >>> print(VcDataError("a.h5ad", "obs", "a column 'gene'", "['guide']", "Pass --perturbation COLUMN."))
        a.h5ad: obs: expected a column 'gene', found ['guide']. Pass --perturbation COLUMN.
    """


class ContractError(VcDataError, vc_contracts.errors.ContractError):
    """A contract file that breaks its contract; write the file again."""


class SourceError(VcDataError):
    """An input that cannot be read as what it should be; fetch it again or pass another file."""


class ColumnError(VcDataError):
    """A column that is absent or ambiguous; name it with a flag."""


class CountsError(VcDataError):
    """Values that are not raw counts; point to the raw counts."""


class ControlError(VcDataError):
    """No control cells, or a control label that does not exist; give the label."""


class GeneError(VcDataError):
    """Gene identifiers that are duplicated or match nothing; choose a rule or another gene list."""


class TooFewError(VcDataError):
    """Too few perturbations, cell lines or cells for what was asked; ask for less."""


class OptionError(VcDataError):
    """A setting that does not fit the data or itself; pass another value."""
