"""Errors of vc-data: one base class, one subclass per remedy, one shape of message."""


class VcDataError(ValueError):
    """A refusal that says where, expected what, found what, and what to do.

    Args:
        where: File (or function argument) at fault.
        field: Column, array or key inside it.
        expected: What should have been there.
        found: What was there.
        do: The remedy, one sentence.

    Examples:
        >>> print(VcDataError("a.h5ad", "obs", "a column 'gene'", "['guide']", "Pass --perturbation COLUMN."))
        a.h5ad: obs: expected a column 'gene', found ['guide']. Pass --perturbation COLUMN.
    """

    def __init__(self, where: object, field: str, expected: str, found: object, do: str):
        super().__init__(f"{where}: {field}: expected {expected}, found {found}. {do}")


class ContractError(VcDataError):
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


class OutputError(VcDataError):
    """A target that exists or cannot be written; choose another or make room."""


def few(items, limit: int = 5) -> str:
    """List at most `limit` offenders and the total, quoted, for use inside a message."""
    items = list(items)
    head = ", ".join(repr(str(item)) for item in items[:limit])
    return head if len(items) <= limit else f"{head} ... ({len(items)} in all)"
