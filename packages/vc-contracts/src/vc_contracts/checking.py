"""One check for every contract: header, fields, rules; the first breach is refused."""

from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from vc_contracts.errors import ContractError, few, short
from vc_contracts.formats import SCHEMAS
from vc_contracts.header import check_header, parse_json
from vc_contracts.matrix import check_matrix
from vc_contracts.rules import split_keeps_its_promise, split_of_this_screen
from vc_contracts.schema import Field, Refuse, Schema
from vc_contracts.tables import Tables


def check(
    content: Any,
    name: str,
    path: str | Path = "in memory",
    *,
    screen: Any = None,
    counts: bool = True,
    taken: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Check everything that docs/contracts says readers of this contract refuse.

    Args:
        content: An AnnData (or `Tables`), the object of a JSON contract, or for `scores` and `checkpoint` a dictionary
            of their parts.
        name: The contract, e.g. `predictions`.
        path: Where it lies, for the message.
        screen: For `splits`: the screen (anything with `obs`) whose conditions and controls it must name, and on whose
            targets its promise is tested.
        taken: Gets the hashes of matrices that are read from disk on the way.
        counts: For `screen`: check the counts too, not only the tables.

    Returns:
        The header.

    Raises:
        ContractError: At the first breach, with file, field, expected, found and remedy.
    """
    schema = SCHEMAS[name]

    def refuse(field: str, expected: str, found: Any) -> NoReturn:
        raise ContractError(path, field, expected, str(found), schema.remedy)

    if schema.form == "anndata":
        return _check_anndata(content, schema, path, refuse, counts, {} if taken is None else taken)
    if not isinstance(content, dict):
        refuse("file", "a JSON object", type(content).__name__)
    header = check_header(content.get("contract"), name, path)
    for field in schema.fields:
        _check_part(content, field, refuse)
    for rule in schema.rules:
        rule.check(content, refuse)
    if screen is not None:
        split_of_this_screen(content, screen.obs, refuse)
        split_keeps_its_promise(content, screen.obs, refuse)
    return header


def _check_anndata(
    tables: Any, schema: Schema, path: str | Path, refuse: Refuse, counts: bool, taken: dict[str, str]
) -> dict[str, Any]:
    if "contract" not in tables.uns:
        refuse("uns['contract']", "a JSON object with name and version", "nothing")
    header = check_header(tables.uns["contract"], schema.name, path)
    for axis in ("obs", "var"):
        table = getattr(tables, axis)
        if not hasattr(table, "columns"):
            refuse(axis, "a data frame", type(table).__name__)
        columns = [field.key for field in schema.fields if field.required and field.place.startswith(f"{axis}[")]
        missing = [column for column in columns if column not in table.columns]
        if missing:
            refuse(f"{axis}[{missing[0]!r}]", f"the columns {few(columns, 10)}", f"no {few(missing, 10)}")
    shape = (len(tables.obs), len(tables.var))
    for field in schema.fields:
        value = _find(tables, field)
        if value is None:
            if field.required and (counts or field.place != "X"):
                refuse(field.label, _expected(field), "nothing")
            continue
        if field.place == "X" and not counts:
            continue
        if field.kind == "matrix":
            of_cells = field.place == "X" or field.container == "layers"
            taken |= check_matrix(value, field, refuse, shape if of_cells else None)
        else:
            check_value(value, field, refuse)
    for rule in schema.rules:
        rule.check(tables, refuse)
    return header


def _find(tables: Tables, field: Field) -> Any:
    """The value of a field, or None where it is absent."""
    if field.place == "X":
        return tables.X
    if field.place.endswith(" index"):
        return getattr(tables, field.container).index
    container = getattr(tables, field.container)
    return container.get(field.key)


def _check_part(content: dict, field: Field, refuse: Refuse) -> None:
    """A key of a JSON contract, a column of scores, an item of a checkpoint."""
    if field.container == "columns":
        table = content["table"]
        if field.key not in table.columns:
            refuse(f"columns[{field.key!r}]", "this column", f"no {field.key}")
        check_value(table[field.key], field, refuse)
        return
    if field.place not in content:
        if field.required:
            refuse(field.place, _expected(field), "nothing")
        return
    check_value(content[field.place], field, refuse)


def check_value(value: Any, field: Field, refuse: Refuse) -> None:
    """Check one value against its field, whatever contract it belongs to."""
    if field.kind == "names":
        _check_names(value, field, refuse)
    elif field.kind == "label":
        _check_labels(value, field, refuse)
    elif field.kind == "bool":
        if value.dtype != bool:
            refuse(field.label, "bool", f"dtype {value.dtype}")
    elif field.kind in ("integer", "number"):
        _check_numbers(value, field, refuse)
    elif field.kind == "text":
        if not isinstance(value, str) or not value or (field.allowed and value not in field.allowed):
            refuse(field.label, _expected(field), short(value))
    elif field.kind == "json":
        _check_json(value, field, refuse)
    elif field.kind == "levels":
        _check_levels(value, field, refuse)
    elif field.kind == "table":
        missing = [key for key in field.keys if key not in getattr(value, "columns", ())]
        if missing:
            refuse(field.label, f"a data frame with {few(field.keys, 10)}", f"no {few(missing, 10)}")
    elif field.kind == "strings":
        if not all(isinstance(entry, str) for entry in np.atleast_1d(value).tolist()):
            refuse(field.label, "strings", short(value))
    elif field.kind == "list" and not isinstance(value, list):
        refuse(field.label, "a list", short(value))
    elif field.kind == "object" and field.keys:
        missing = [key for key in field.keys if not isinstance(value, dict) or key not in value]
        if missing:
            refuse(field.label, f"an object with {few(field.keys, 10)}", f"no {few(missing, 10)}")


def _check_names(index: Any, field: Field, refuse: Refuse) -> None:
    if not set(map(type, np.asarray(index, dtype=object))) <= {str}:  # arrow's strings are slow one by one
        refuse(field.label, "unique strings", "names that are no strings")
    if not index.is_unique:
        refuse(field.label, "unique names", f"repeated: {few(index[index.duplicated()])}")


def _check_labels(column: Any, field: Field, refuse: Refuse) -> None:
    if column.isna().any():
        refuse(field.label, "a string in every row", f"{int(column.isna().sum())} missing")
    used = column.cat.categories if hasattr(column, "cat") else column
    kinds = set(map(type, np.asarray(used, dtype=object)))
    if not all(issubclass(kind, str) for kind in kinds):
        refuse(field.label, "a string in every row", f"{few(sorted(kind.__name__ for kind in kinds))}")
    if field.allowed:
        unknown = sorted(set(column.unique()) - set(field.allowed))
        if unknown:
            refuse(field.label, _expected(field), few(unknown))


def _check_numbers(value: Any, field: Field, refuse: Refuse) -> None:
    """A number, or a column of them."""
    if not hasattr(value, "dtype"):
        if isinstance(value, bool) or not isinstance(value, int if field.kind == "integer" else int | float):
            refuse(field.label, _expected(field), short(value))
        return
    kinds = "iu" if field.kind == "integer" else "iuf"
    if not isinstance(value.dtype, np.dtype) or value.dtype.kind not in kinds:
        refuse(field.label, _expected(field), f"dtype {value.dtype}")
    numbers = np.asarray(value)
    known = numbers[~np.isnan(numbers)] if numbers.dtype.kind == "f" and not field.finite else numbers
    bad = ~np.isfinite(known) if field.finite else np.zeros(known.shape, bool)
    if field.low is not None:
        bad |= known <= field.low if field.above else known < field.low
    if field.high is not None:
        bad |= known > field.high
    if field.whole:
        bad |= known != np.trunc(known)
    if bad.any():
        refuse(field.label, _expected(field), f"{int(bad.sum())} others, e.g. {known[bad][0]}")


def _check_json(value: Any, field: Field, refuse: Refuse) -> None:
    if not isinstance(value, str):
        refuse(field.label, "a JSON object as text", short(value))
    try:
        content = parse_json(value, "", field.label)
    except ContractError as error:
        refuse(field.label, "a JSON object as text", error.parts[3])
    if not isinstance(content, dict):
        refuse(field.label, "a JSON object as text", short(content))
    missing = [key for key in field.keys if key not in content]
    if missing:
        refuse(field.label, f"the keys {few(field.keys, 10)}", f"no {few(missing, 10)}")


def _check_levels(value: Any, field: Field, refuse: Refuse) -> None:
    levels = np.asarray(value)
    good = levels.dtype.kind in "fiu" and levels.ndim == 1 and levels.size > 0
    if not good or not ((levels > 0) & (levels < 1)).all() or (np.diff(levels) <= 0).any():
        refuse(field.label, "rising numbers between 0 and 1", short(levels.tolist()))


def _expected(field: Field) -> str:
    if field.allowed:
        return f"one of {', '.join(field.allowed)}"
    return field.stored or {"text": "a string that is not empty", "json": "a JSON object as text"}.get(
        field.kind, f"a {field.kind}"
    )
