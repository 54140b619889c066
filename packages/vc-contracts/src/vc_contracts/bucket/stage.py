"""Commands that take addresses as they take local files.

Inputs are fetched into the cache folder, except zarr folders of settings that a command reads in place. Outputs (`out`,
`output`) are made here and uploaded whole when the command has ended well. What is printed and recorded names the addresses.
Where no address is given, nothing of this happens, and nothing is imported.
"""

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO, Any

from vc_contracts.bucket.address import is_address, parse, shown

OUTPUTS = ("out", "output")
"""Settings that say where a command writes."""


def run_staged[Settings](
    run: Callable[[Settings], Any], settings: Settings, *, in_place: Collection[str] = (), refused: Collection[str] = ()
) -> Any:
    """Run a command whose settings, a dataclass, may hold addresses.

    Args:
        run: The command.
        settings: What was typed.
        in_place: Names of settings whose zarr folders the command reads where they lie.
        refused: Names of settings that must be local.

    Raises:
        BucketError: Something cannot be reached, read or written.
    """
    if not any(_addresses(settings)):
        return run(settings)
    with _staging(in_place, refused) as stage:
        return run(stage.map(settings, "", False))


def staged(
    function: Callable[..., Any], *, in_place: Collection[str] = (), refused: Collection[str] = (), last: str = ""
) -> Any:
    """A command of which tyro reads the arguments, so that they may be addresses.

    Args:
        function: The command.
        in_place: As `run_staged`.
        refused: As `run_staged`.
        last: Name of an argument, a tuple of paths, of which the last is the output (unless there is an `out_dir`).
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **given: Any) -> Any:
        if not any(_addresses(args)) and not any(_addresses(tuple(given.values()))):
            return function(*args, **given)
        import inspect

        bound = inspect.signature(function).bind(*args, **given)
        bound.apply_defaults()
        with _staging(in_place, refused) as stage:
            typed = bound.arguments
            overwrite = any(value is True for name, value in typed.items() if name == "overwrite")
            overwrite = overwrite or any(getattr(value, "overwrite", False) is True for value in typed.values())
            if last and typed.get("out_dir") is None and typed[last]:
                *inputs, output = typed[last]
                output = stage.map(output, "output", overwrite)
                typed[last] = (*stage.map(tuple(inputs), last, overwrite), output)
            for name in sorted(typed, key=lambda name: name not in OUTPUTS):
                typed[name] = stage.map(typed[name], name, overwrite)
            return function(*bound.args, **bound.kwargs)

    return wrapped


def _addresses(value: Any) -> Iterator[bool]:
    """Whether each path among settings is an address."""
    if isinstance(value, Path):
        yield is_address(value)
    elif isinstance(value, tuple):
        for part in value:
            yield from _addresses(part)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _addresses(getattr(value, field.name))


class _Stage:
    """Gives local paths for addresses."""

    def __init__(self, stack: contextlib.ExitStack, in_place: Collection[str], refused: Collection[str]) -> None:
        self._stack, self._in_place, self._refused = stack, in_place, refused

    def map(self, value: Any, name: str, overwrite: bool) -> Any:
        """A setting with local paths in place of its addresses."""
        if isinstance(value, Path):
            return self._path(value, name, overwrite) if is_address(value) else value
        if isinstance(value, tuple):
            return tuple(self.map(part, name, overwrite) for part in value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            overwrite = bool(getattr(value, "overwrite", overwrite))
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
            # Outputs first: what may not be written is refused before anything is fetched.
            order = sorted(fields, key=lambda name: name not in OUTPUTS)
            changed = {name: self.map(fields[name], name, overwrite) for name in order}
            return dataclasses.replace(value, **changed)
        return value

    def _path(self, path: Path, name: str, overwrite: bool) -> Path:
        from vc_contracts.bucket.errors import BucketError
        from vc_contracts.bucket.local import delivered, fetch

        address = parse(path)
        if name in self._refused:
            flag = f"--{name.replace('_', '-')}"
            raise BucketError(str(address), flag, "a local path", "an address", "Name a local file or folder.")
        if name in OUTPUTS:
            return self._stack.enter_context(delivered(path, overwrite=overwrite))
        if name in self._in_place and address.key.endswith(".zarr"):
            return path
        return fetch(path)


@contextlib.contextmanager
def _staging(in_place: Collection[str], refused: Collection[str]) -> Iterator[_Stage]:
    with contextlib.ExitStack() as stack:
        out: Any = _Shown(sys.stdout)
        err: Any = _Shown(sys.stderr)
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        yield _Stage(stack, in_place, refused)


class _Shown:
    """A stream on which local copies are called by their addresses."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text with its addresses."""
        self._stream.write(shown(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's own."""
        return getattr(self._stream, name)
