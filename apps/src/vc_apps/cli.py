"""`vc`: the command line of the workspace.

Before or after a command: --version; -q, --quiet (no progress, warnings only); -v, --verbose (what each step does).
Only the command that was asked for is imported, so that `vc --help` answers at once and a question does in seconds.
"""

import inspect
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import tyro
from vc_contracts.bucket.stage import run_staged
from vc_contracts.command import ready_home, switches

from vc_apps.commands import COMMANDS, run_of, settings_of

PARTS = ("vc-apps", "vc-contracts", "vc-data", "vc-featurize", "vc-model", "vc-eval", "vc-interp")


def main(args: list[str] | None = None) -> int:
    """Run `vc`; one message and a non-zero exit code when something is wrong with the input.

    Returns:
        0 when everything was written, 2 for a refused input or a failed write, 130 after Ctrl-C.
    """
    name, settings = parse(switches(args, PARTS))
    ready_home()
    in_place = ("screen",) if name in ("fit", "train", "predict") else ()
    return guarded(lambda: run_staged(run_of(name), settings, in_place=in_place))


def parse(args: list[str]) -> tuple[str, Any]:
    """Command and settings that arguments ask for; prints help and leaves where they ask for that.

    Returns:
        The command's name and an instance of its settings class.
    """
    if args and args[0] in COMMANDS:
        kind = settings_of(args[0])
        return args[0], tyro.cli(kind, args=args[1:], prog=f"vc {args[0]}", description=inspect.getdoc(kind))
    kinds = {name: settings_of(name) for name in COMMANDS}
    commands: dict[str, Any] = {name: Annotated[kind, tyro.conf.arg(name="")] for name, kind in kinds.items()}
    parsed = tyro.extras.subcommand_cli_from_dict(commands, args=args, prog="vc", description=__doc__)
    return next(name for name, kind in kinds.items() if type(parsed) is kind), parsed


def guarded(job: Callable[[], Any]) -> int:
    """Run `job`; refusals, a full disk, too little memory and Ctrl-C are one line and an exit code."""
    from vc_contracts.command import run_command

    return run_command("error", job)


def console() -> None:
    """Entry point of the `vc` script."""
    # The decompositions are small: threads of OpenBLAS wait for each other longer than they work, and their sums vary.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    code = main()
    if code:
        # HDF5 crashes at exit when a file could not be flushed; leaving at once keeps the message and the exit code.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    console()
