"""What a schema is made of: fields with their kinds, and rules that join fields."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

Kind = Literal[
    "matrix",
    "names",
    "label",
    "bool",
    "integer",
    "number",
    "text",
    "json",
    "levels",
    "table",
    "strings",
    "object",
    "list",
]
"""matrix: numbers, dense or sparse. names: an index of unique strings. label: a string in every row (plain or
categorical). text: one string that is not empty. json: one string that holds a JSON object. levels: rising numbers between
0 and 1. table: a data frame. strings: an array or list of strings. object, list: of a JSON file."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One place of a contract and what must be there."""

    place: str
    """`X`, `obs index`, `obs[NAME]`, `layers[NAME]`, `obsm[NAME]`, `uns[NAME]`, ...; of a JSON file a key, of a table
    `columns[NAME]`."""
    kind: Kind
    what: str = ""
    """What it is, for a reader of the page."""
    stored: str = ""
    """What writers store, where the page says more than the kind, e.g. `int8 in 0..8`."""
    required: bool = True
    allowed: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    above: bool = False
    """`low` itself is refused."""
    finite: bool = False
    whole: bool = False
    """Integer-valued, whatever the type."""
    layout: tuple[str, ...] = ("dense", "csr")
    """Of a matrix: what is allowed."""
    dtype: str = ""
    """Of a matrix: the only type that is allowed."""
    stored_zeros: bool = True
    keys: tuple[str, ...] = ()
    """Keys that the JSON object, or columns that the table, must have."""
    may_be_infinite: bool = False

    @property
    def container(self) -> str:
        """`obs` of `obs[dose]`."""
        return self.place.partition("[")[0].removesuffix(" index")

    @property
    def key(self) -> str:
        """`dose` of `obs[dose]`; empty where the place is a container itself."""
        return self.place.partition("[")[2].removesuffix("]")

    @property
    def label(self) -> str:
        """The place as it is written in Python: `obs['dose']`."""
        return f"{self.container}[{self.key!r}]" if self.key else self.place


Refuse = Callable[[str, str, Any], NoReturn]
"""(field, expected, found): raises."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule that joins several fields."""

    name: str
    says: str
    """What readers refuse, as half a sentence of the page."""
    check: Callable[[Any, Refuse], None]
    """Gets the tables (or the JSON object) and refuses."""


@dataclass(frozen=True, kw_only=True)
class Schema:
    """A contract as data."""

    name: str
    form: Literal["anndata", "json", "folder", "scores"]
    fields: tuple[Field, ...]
    rules: tuple[Rule, ...] = ()
    writer: str
    """Who writes it and how, for the remedy of a refusal."""
    version: str = "1.0"

    def field(self, place: str) -> Field:
        """The field of a place."""
        return next(field for field in self.fields if field.place == place)

    @property
    def remedy(self) -> str:
        """What to do about a broken file."""
        return f"Write the file again {self.writer} (docs/contracts/{self.name}-v1.md)."
