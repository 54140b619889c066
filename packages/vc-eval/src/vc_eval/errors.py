"""Errors of vc-eval: one base class, one subclass per remedy."""


class VcEvalError(ValueError):
    """Anything vc-eval refuses to do. The text says where, what was expected, what was found and what to do."""


class ContractError(VcEvalError):
    """A file that does not keep its contract (docs/contracts). Remedy: write the file anew with a correct writer.

    Args:
        path: The file.
        field: The place inside it.
        expected: What the contract asks for.
        found: What was there.
        remedy: What to do about it.
    """

    def __init__(self, path: object, field: str, expected: str, found: str, remedy: str) -> None:
        super().__init__(f"{str(path)!r}, {field}: expected {expected}, found {found}. {remedy}")
