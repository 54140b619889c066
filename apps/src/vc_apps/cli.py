"""`vc`: the command line of the workspace.

Nothing heavy is imported here: `vc --help` answers at once, and each command imports what it needs.
"""

import errno
import os
import sys
from typing import Annotated

import tyro

from vc_apps.settings import Quickstart, Submit
from vc_apps.train.settings import Anchored, Predict, Train


def run(command: Quickstart | Train | Predict | Submit) -> None:
    """Carry out a parsed command."""
    if isinstance(command, Quickstart):
        from vc_apps.quickstart import quickstart

        quickstart(command)
    elif isinstance(command, Predict):
        from vc_apps.train.predict import predict

        predict(command)
    elif isinstance(command, Submit):
        from vc_apps.submission import submit

        submit(command)
    elif isinstance(command.recipe, Anchored):
        from vc_apps.train.anchored import train_anchored

        print(train_anchored(command.recipe))
    else:
        from vc_apps.train.biojepa import train_biojepa

        print(train_biojepa(command.recipe))


def main(args: list[str] | None = None) -> int:
    """Run `vc`; one message and a non-zero exit code when something is wrong with the input.

    Returns:
        0 when everything was written, 2 for a refused input or a failed write, 130 after Ctrl-C.
    """
    commands = {"quickstart": Quickstart, "train": Train, "predict": Predict, "submit": Submit}
    command = tyro.extras.subcommand_cli_from_dict(
        {name: Annotated[kind, tyro.conf.arg(name="")] for name, kind in commands.items()},
        args=args,
        prog="vc",
        description=__doc__,
    )
    return guarded(lambda: run(command))


def guarded(job) -> int:
    """Run `job`; turn refusals, a full disk and Ctrl-C into one line and an exit code."""
    try:
        job()
    except KeyboardInterrupt as interrupt:
        print(f"\ninterrupted: {str(interrupt) or 'nothing was written.'}", file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError) as error:
        if disk_is_full(error):
            message = (
                "no space left on the disk or in the quota. Nothing was written; free some or choose another --out."
            )
        elif isinstance(error, OSError) or type(error).__module__.startswith("vc_"):
            # The packages' own errors stand alone; those of the system name the file.
            message = str(error)
        else:
            raise
        print(f"error: {message}", file=sys.stderr)
        return 2
    return 0


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def disk_is_full(error: BaseException | None) -> bool:
    """Whether `error`, or what caused it, is a full disk or quota; HDF5 says so only in the text of a RuntimeError."""
    while error is not None:
        if any(getattr(error, "errno", None) == full or f"errno = {full}," in str(error) for full in FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


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
