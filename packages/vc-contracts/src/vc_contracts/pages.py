"""The tables of docs/contracts, made from the schemas: `python -m vc_contracts.pages docs/contracts`.

A page is prose with one region between two comments; the region is made here and nothing else of the page is touched.
"""

import sys
from pathlib import Path

from vc_contracts.formats import SCHEMAS
from vc_contracts.schema import Field, Schema

BEGIN = "<!-- made from the schema by `python -m vc_contracts.pages docs/contracts`; do not edit -->"
END = "<!-- end of what is made from the schema -->"
_STORED = {
    "names": "unique strings",
    "label": "string in every row, plain or categorical",
    "bool": "bool",
    "integer": "whole number",
    "number": "number",
    "text": "string, not empty",
    "json": "string, JSON object",
    "table": "data frame",
    "strings": "array of strings",
    "object": "object",
    "list": "list",
    "matrix": "matrix",
    "levels": "rising numbers in (0, 1)",
}


def table(schema: Schema) -> str:
    """The table of a schema's fields and the list of what readers refuse."""
    rows = ["| place | MUST | what it is |", "|---|---|---|"]
    rows += [f"| `{_place(field)}` | {_must(field)} | {_cell(field.what)} |" for field in schema.fields]
    refusals = ["a header that docs/contracts/README.md refuses, or hashes in it that differ from the content"]
    refusals += ["a field that MUST be there and is not, or one that is there and is not what the table says"]
    refusals += [rule.says for rule in schema.rules]
    return "\n".join([BEGIN, "", *rows, "", "**Readers refuse**", "", *(f"- {says}" for says in refusals), "", END])


def render(page: str, schema: Schema) -> str:
    """A page with its region made anew.

    Raises:
        ValueError: The page has no region.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{schema.name}-v1.md has no region between {BEGIN!r} and {END!r}.")
    return before + table(schema) + after


def write_pages(folder: Path) -> list[str]:
    """Make the regions of all pages of a folder anew; names of the pages that changed."""
    changed = []
    for schema in SCHEMAS.values():
        path = folder / f"{schema.name}-v1.md"
        page = path.read_text(encoding="utf-8")
        made = render(page, schema)
        if made != page:
            path.write_text(made, encoding="utf-8")
            changed.append(path.name)
    return changed


def _place(field: Field) -> str:
    if field.container == "columns":
        return field.key
    return f'{field.container}["{field.key}"]' if field.key else field.place


def _must(field: Field) -> str:
    kinds = " or ".join(f"`{value}`" for value in field.allowed)
    stored = kinds or field.stored or _STORED[field.kind]
    if field.keys and field.kind in ("json", "table"):
        stored += " with " + ", ".join(f"`{key}`" for key in field.keys)
    return _cell(stored if field.required else f"MAY: {stored}")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print("\n".join(write_pages(Path(sys.argv[1]))) or "nothing changed")
