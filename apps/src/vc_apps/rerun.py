"""`vc rerun`: the command that a run folder, or a settings file, was made with, once more."""

import dataclasses
import json
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

from vc_apps.outputs import AppError, plain


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rerun:
    """Run again what a run.json or a .toml of the same form describes: `command`, and its `settings`.

    For example:
      vc rerun run/run.json -o again
      vc rerun run/run.json --overwrite
      vc rerun model -o again
      vc rerun run/run.json --toml nightly.toml
      vc rerun nightly.toml
    """

    file: tyro.conf.Positional[Path]
    """A run.json that a command wrote, the folder it stands in, a model folder that `vc fit` wrote, or a .toml with
    `command = "quickstart"` and a table [settings]."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Where the result goes; default: where it went the last time."""
    toml: Path | None = None
    """Write the command and its settings to this .toml instead, to change and to run later."""
    overwrite: bool = False
    """Replace what stands there, where it is an output of the same command."""


def rerun(settings: Rerun) -> None:
    """Read the file and carry its command out.

    Raises:
        AppError: If the file describes no command.
    """
    from vc_contracts.bucket.stage import run_staged

    from vc_apps.commands import run_of

    name, chosen = read_run(settings.file)
    if settings.toml is not None:
        write_toml(settings.toml, name, chosen, overwrite=settings.overwrite)
        print(f"wrote {settings.toml}; next: vc rerun {settings.toml} -o OUT")
        return
    changes: dict[str, Any] = {"overwrite": settings.overwrite}
    if settings.out is not None:
        changes["out"] = settings.out
    run_staged(run_of(name), dataclasses.replace(chosen, **changes))


def write_toml(path: Path, name: str, chosen: Any, *, overwrite: bool = False) -> None:
    """Write a command with its settings as TOML; what is not set is left out."""
    import tomli_w
    from vc_contracts import write_whole

    if path.suffix != ".toml":
        raise AppError(f"--toml {path}: expected a name that ends in .toml.")
    with write_whole(path, kind="file", overwrite=overwrite, make_parent=True) as temporary:
        temporary.write_text(tomli_w.dumps({"command": name, "settings": _without_none(plain(chosen))}))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(part) for key, part in value.items() if part is not None}
    return value


def read_run(path: Path) -> tuple[str, Any]:
    """Command and settings of a run.json or .toml.

    Raises:
        AppError: If the file cannot be read, or describes no command with such settings.
    """
    from vc_apps.commands import COMMANDS, settings_of

    if path.is_dir():
        path = next((path / name for name in ("run.json", "meta.json") if (path / name).is_file()), path)
    content = _parse(path)
    content = content.get("contract", {}).get("config", {}) if path.name == "meta.json" else content
    name = content.get("command")
    if name not in COMMANDS or name in ("rerun", "train") or not isinstance(content.get("settings"), dict):
        known = ", ".join(other for other in COMMANDS if other not in ("rerun", "train"))
        raise AppError(
            f"{path}: command: expected one of {known} with settings, found {name!r}. Give a run.json of vc."
        )
    try:
        return name, from_plain(settings_of(name), content["settings"])
    except (KeyError, TypeError, ValueError) as error:
        raise AppError(
            f"{path}: settings: expected those of vc {name}, found others ({error}). Mend the file."
        ) from error


def _parse(path: Path) -> dict[str, Any]:
    import tomllib

    if not path.is_file():
        raise AppError(f"{path}: expected a run.json or a .toml, found no such file. Check the path.")
    try:
        content = tomllib.loads(path.read_text()) if path.suffix == ".toml" else json.loads(path.read_text())
    except ValueError as error:
        raise AppError(f"{path}: expected {path.suffix[1:] or 'JSON'}, found something else ({error}).") from error
    return content if isinstance(content, dict) else {}


def from_plain(kind: Any, value: Any) -> Any:
    """Make a settings object, a path, a tuple or a number of what JSON and TOML hold.

    Args:
        kind: The type that is wanted.
        value: Plain values.

    Raises:
        TypeError, ValueError: If the value does not fit.
    """
    if get_origin(kind) is Annotated:
        return from_plain(get_args(kind)[0], value)
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        unknown = sorted(set(value) - set(hints))
        if unknown:
            raise ValueError(f"no setting is called {', '.join(unknown)}")
        return kind(**{name: from_plain(hints[name], one) for name, one in value.items()})
    if get_origin(kind) in (Union, types.UnionType):
        if value is None and type(None) in get_args(kind):
            return None
        return from_plain(next(one for one in get_args(kind) if one is not type(None)), value)
    if get_origin(kind) is tuple:
        return tuple(from_plain(get_args(kind)[0], one) for one in value)
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ValueError(f"expected one of {', '.join(map(str, get_args(kind)))}, found {value!r}")
        return value
    if (
        kind in (bool, int, str, float)
        and not isinstance(value, int if kind is float else kind)
        and not (kind is float and isinstance(value, float))
    ):
        raise TypeError(f"expected {kind.__name__}, found {value!r}")
    return kind(value)
