"""Reads the records of public data sets: the files `records/*.toml`, one for each study or shared layout.

A record file holds

- `[[datasets]]`: one table for each data set, with the fields of `registry.Dataset`; `columns` has those of
  `options.Columns`; each of `files` names its host (`figshare`, `geo`, `google`, `huggingface`, or `urls`);
- in a data set, `scperturb` and `gears`: its copies there, as `hosts.scperturb` and `hosts.gears` take them;
- `[layout]`: what all data sets of the file have unless they say otherwise; traps come before those of each;
- `[studies.NAME]`: citation, DOI and licence of the data sets that say `study = "NAME"`.
"""

import dataclasses
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from vc_data.datasets import hosts
from vc_data.datasets.labels import DOSES, LABELS
from vc_data.datasets.registry import Dataset, RemoteFile
from vc_data.errors import VcDataError
from vc_data.options import Columns

ORDER = ("replogle22_nadig25", "norman19", "adamson16", "sciplex3", "vcc25", "kolf25", "tahoe100m", "state")
"""The order in which data sets are listed; files that are not named here come last."""

HOSTS: dict[str, Callable[[Any, str], tuple[str, ...]]] = {
    "figshare": lambda number, _: hosts.figshare(number),
    "geo": hosts.geo,
    "google": hosts.google,
    "huggingface": hosts.huggingface,
    "urls": lambda urls, _: tuple(urls),
}
"""Key of a file's table -> (its value, path on the host) -> addresses."""


def read_all() -> dict[str, Dataset]:
    """Every registered data set by its key, copies beside their origin."""
    known = {name: at for at, name in enumerate(ORDER)}
    found = [path for path in files(__package__).joinpath("records").iterdir() if path.name.endswith(".toml")]
    found.sort(key=lambda path: (known.get(path.name[:-5], len(known)), path.name))
    return {dataset.key: dataset for path in found for dataset in read_records(path)}


def read_records(path: Traversable) -> Iterator[Dataset]:
    """The data sets of one record file, each followed by its copies.

    Raises:
        VcDataError: A field that no record has, or one that is missing; names the file, the data set and the field.
    """
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    layout, studies = content.get("layout", {}), content.get("studies", {})
    for given in content["datasets"]:
        place = f"{path.name}: {given.get('key', 'a data set without key')}"
        record = _merged(layout, studies.get(given.get("study"), {}), given)
        record.pop("study", None)
        copies = {kind: record.pop(kind) for kind in ("scperturb", "gears") if kind in record}
        origin = _build(Dataset, place, record | {"files": tuple(_file(place, one) for one in record.get("files", ()))})
        yield origin
        if copy := copies.get("scperturb"):
            shared = layout.get("traps", []) if "traps" in copy else None
            yield _copy(hosts.scperturb, origin, place, {"columns": {}} | copy, shared)
        if copy := copies.get("gears"):
            yield _copy(hosts.gears, origin, place, {"convert": {"combo_separator": "+"}} | copy, [])


def _merged(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Later tables over earlier ones; tables within them likewise, and traps one after the other."""
    out: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            if isinstance(value, Mapping) and key != "convert":
                out[key] = _merged(out.get(key, {}), value)
            else:
                out[key] = [*out.get(key, []), *value] if key == "traps" else value
    return out


def _file(place: str, given: Mapping[str, Any]) -> RemoteFile:
    """One file; its addresses follow from its host."""
    table = dict(given)
    path, named = table.pop("path", table.get("name", "")), [host for host in HOSTS if host in table]
    if len(named) != 1:
        raise VcDataError(
            place, "files", f"one of {', '.join(HOSTS)} for each", f"{named} in {given}", "Name its host."
        )
    urls = HOSTS[named[0]](table.pop(named[0]), path)
    return _build(RemoteFile, f"{place}, files", table | {"urls": urls})


def _copy(
    make: Callable[..., Dataset], origin: Dataset, place: str, given: dict[str, Any], shared: list | None
) -> Dataset:
    """A copy of a data set; `shared`: traps that come before those given."""
    table = given | ({} if shared is None else {"traps": [*shared, *given.get("traps", [])]})
    try:
        return make(origin, **_typed(place, table))
    except TypeError as error:
        raise VcDataError(place, make.__name__, "the fields of such a copy", str(error), "Mend the record.") from error


def _build(kind: type, place: str, given: dict[str, Any]) -> Any:
    """A dataclass of a table's fields."""
    known = {field.name: field for field in dataclasses.fields(kind)}
    needed = {
        name
        for name, field in known.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    for wrong, expected in ((given.keys() - known, "a field that records have"), (needed - given.keys(), "the field")):
        if wrong:
            raise VcDataError(
                place, sorted(wrong)[0], expected, "it" if wrong <= given.keys() else "none", "Mend the record."
            )
    return kind(**_typed(place, given))


def _typed(place: str, given: dict[str, Any]) -> dict[str, Any]:
    """Lists as tuples, names of rules as the rules, columns as `Columns` (of a copy: as they are)."""
    out: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    for key, rules in (("fix_label", LABELS), ("fix_dose", DOSES)):
        if key in out and out[key] not in rules:
            raise VcDataError(place, key, f"one of {', '.join(rules)}", repr(out[key]), "Add the rule to labels.py.")
        if key in out:
            out[key] = rules[out[key]]
    if "columns" in out and "key" in out:
        out["columns"] = _build(Columns, f"{place}, columns", out["columns"])
    return out
