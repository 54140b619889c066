"""`vc`: the command line of the workspace.

Nothing heavy is imported here: `vc --help` answers at once, and each command imports what it needs.
"""

import sys
from typing import Annotated

import tyro

from vc_apps.settings import Quickstart

EPILOG = """examples:
  vc quickstart                                   the whole job on a simulated screen
  vc quickstart --data my.h5ad                    the same on your counts; columns are guessed and stated
  vc quickstart --data my.h5ad --control-label NT --cell-line-col line --split by_cell_line --out run
"""


def run(command: Quickstart) -> None:
    """Carry out a parsed command."""
    from vc_apps.quickstart import quickstart

    quickstart(command)


def main(args: list[str] | None = None) -> int:
    """Run `vc`; one message and a non-zero exit code when something is wrong with the input.

    Returns:
        0 when everything was written, 2 for a refused input or a failed write, 130 after Ctrl-C.
    """
    command = tyro.extras.subcommand_cli_from_dict(
        {"quickstart": Annotated[Quickstart, tyro.conf.arg(name="")]}, args=args, prog="vc", description=__doc__
    )
    return guarded(lambda: run(command))


def guarded(job) -> int:
    """Run `job`; turn refusals, a full disk and Ctrl-C into one line and an exit code."""
    try:
        job()
    except KeyboardInterrupt:
        print("\ninterrupted: nothing was written.", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        # The packages' own errors are ValueErrors whose text stands alone; anything else keeps its traceback.
        if isinstance(error, ValueError) and not type(error).__module__.startswith("vc_"):
            raise
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return 2
    return 0


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}. Nothing was written; free some space or choose another --out, then run again."
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
