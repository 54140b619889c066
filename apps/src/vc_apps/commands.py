"""The commands of `vc`, by name: what a user can set, and what carries it out; nothing is imported before it is needed."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple


class Command(NamedTuple):
    """One command, as `module:name` of its two halves."""

    settings: str
    """The dataclass that tyro reads from the command line; light to import."""
    run: str
    """The function that takes these settings and carries the command out."""


COMMANDS: dict[str, Command] = {
    "quickstart": Command("vc_apps.settings:Quickstart", "vc_apps.quickstart:quickstart"),
    "train": Command("vc_apps.train.settings:Train", "vc_apps.train.run:train"),
    "fit": Command("vc_apps.ask.settings:Fit", "vc_apps.ask.fit:fit"),
    "predict": Command("vc_apps.ask.settings:Predict", "vc_apps.ask.predict:predict"),
    "support": Command("vc_apps.ask.settings:Support", "vc_apps.ask.support:support"),
    "plot": Command("vc_apps.ask.plot:Plot", "vc_apps.ask.plot:plot"),
    "submit": Command("vc_apps.submit.settings:Submit", "vc_apps.submit.run:submit"),
    "rehearse": Command("vc_apps.submit.settings:Rehearse", "vc_apps.rehearse.run:rehearse"),
    "rerun": Command("vc_apps.rerun:Rerun", "vc_apps.rerun:rerun"),
    "interp": Command("vc_apps.interp.settings:Interp", "vc_apps.interp.run:interp"),
    "discover": Command("vc_apps.discover.settings:Discover", "vc_apps.discover.run:discover"),
}
"""In the order in which `vc --help` shows them."""


def settings_of(name: str) -> type[Any]:
    """The settings class of a command."""
    return _load(COMMANDS[name].settings)


def run_of(name: str) -> Callable[[Any], None]:
    """The function of a command."""
    return _load(COMMANDS[name].run)


def _load(place: str) -> Any:
    module, name = place.split(":")
    return getattr(import_module(module), name)
