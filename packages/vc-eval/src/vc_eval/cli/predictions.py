"""The prediction files of one command: their names, what they say they are, and which one is in focus."""

from dataclasses import dataclass
from pathlib import Path

from vc_eval.errors import VcEvalError
from vc_eval.roles import BASELINE, MODEL, role_of


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Files by the name of their model."""

    paths: dict[str, Path]
    roles: dict[str, str | None]
    """Model -> stated role; None where the file states none."""

    def baselines(self, asked: tuple[str, ...], model: str | None) -> list[str]:
        """Names of the baselines: those asked for, else those that say so; never the model in focus."""
        if asked:
            return list(asked)
        return [name for name, role in self.roles.items() if role == BASELINE and name != model]

    def focus(self, model: str | None, baselines: list[str]) -> str:
        """The model in focus: the one asked for, else the first that is a model, else the first file."""
        if model is not None:
            return model
        names = [name for name in self.paths if name not in baselines]
        models = [name for name in names if self.roles[name] in (MODEL, None)]
        return (models or names or list(self.paths))[0]

    def notes(self, baselines: tuple[str, ...]) -> list[str]:
        """A line about files that state no role, where that decides what is a baseline."""
        silent = [name for name, role in self.roles.items() if role is None]
        if baselines or len(self.paths) < 2 or not silent:
            return []
        return [
            f"note: {', '.join(silent)}: no role is stated, so each counts as a model; name baselines with --baselines."
        ]


def name_files(paths: tuple[Path, ...]) -> Predictions:
    """Open the header of every file: its model's name where a contract states one, else the file's name.

    Raises:
        VcEvalError: If two files have one name or a role is unknown.
    """
    from vc_eval.cells.inputs import open_cells

    files: dict[str, Path] = {}
    roles: dict[str, str | None] = {}
    for path in paths:
        uns = open_cells(path).uns
        name = str(uns["model"]) if "contract" in uns and "model" in uns else path.stem
        if name in files:
            raise VcEvalError(
                f"--pred: {str(files[name])!r} and {str(path)!r} are both named {name!r}; expected different names. "
                "Write one of them under another name."
            )
        files[name], roles[name] = path, role_of(uns, path)
    return Predictions(paths=files, roles=roles)


def load_plugin(path: Path) -> None:
    """Run a Python file for what it registers.

    Raises:
        VcEvalError: If there is no such file or it fails.
    """
    import runpy

    if not path.is_file():
        raise VcEvalError(f"--plugin: no file {str(path)!r}.")
    try:
        runpy.run_path(str(path))
    except VcEvalError:
        raise
    except Exception as error:
        raise VcEvalError(f"--plugin {str(path)!r}: {type(error).__name__}: {error}.") from error
