"""Which classes a checkpoint may hold: each says so itself, with `@stored` above it."""

import re
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

_PACKAGE = __package__ or "vc_model"
_STORED: dict[str, type[Any]] = {}
"""Class name -> class, of the modules that are imported."""
_MODULE = re.compile(r"[a-z_]\w*(\.[a-z_]\w*)*")


def stored[T](kind: type[T]) -> type[T]:
    """Class decorator: checkpoints may hold this dataclass.

    Raises:
        TypeError: If another class of that name is stored already.
    """
    if kind.__name__ in _STORED and _STORED[kind.__name__].__module__ != kind.__module__:
        raise TypeError(
            f"{kind.__name__} is stored by {_STORED[kind.__name__].__module__}, too; give one another name."
        )
    _STORED[kind.__name__] = kind
    return kind


def is_stored(kind: type[Any]) -> bool:
    """Whether checkpoints may hold instances of this very class."""
    return _STORED.get(kind.__name__) is kind


def module_of(kind: type[Any]) -> str:
    """The module of a stored class, inside this package: `anchored.model`."""
    return kind.__module__.removeprefix(f"{_PACKAGE}.")


def stored_class(name: str, module: str | None) -> type[Any]:
    """A class that a checkpoint names. Only modules of this package are imported, and only marked classes are given out.

    Args:
        name: The class.
        module: Its module inside this package, or None in checkpoints that do not tell; then all modules are searched.

    Raises:
        KeyError: If there is no such class or it is not marked.
    """
    if name not in _STORED:
        for place in [module] if module is not None else _modules():
            if not _MODULE.fullmatch(place):
                raise KeyError(place)
            try:
                import_module(f"{_PACKAGE}.{place}")
            except ModuleNotFoundError as error:
                raise KeyError(place) from error
    return _STORED[name]


def _modules() -> list[str]:
    """Every module of this package but those that only start or test it."""
    found = walk_packages(import_module(_PACKAGE).__path__)
    packages = [part.name for part in found if part.ispkg and part.name != "cli"]
    inner = [
        f"{package}.{part.name}"
        for package in packages
        for part in walk_packages(import_module(f"{_PACKAGE}.{package}").__path__)
        if part.name != "testing"
    ]
    return ["predictor", *inner]
