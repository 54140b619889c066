"""The edge of every command line: each failure gets one message and an exit code, each signal leaves nothing behind."""

import errno
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vc_contracts.errors import Refusal

INTERRUPTED = 130
REFUSED = 2


def run_command(prog: str, command: Callable[[], Any], *, errors: tuple[type[Exception], ...] = ()) -> int:
    """Run a command and return its exit code.

    SIGTERM acts like Ctrl-C. Refusals, a full disk, no memory and anything the system refuses are one line on standard
    error and exit code 2; a reader of the output that has gone away is no failure.

    Args:
        prog: Name of the command, for the message.
        command: Does the work.
        errors: Further errors whose text is meant for the user.

    Returns:
        0, 2 or 130.
    """
    ready_home()
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        command()
    except (Refusal, *errors) as error:
        return _fail(prog, str(error), REFUSED)
    except KeyboardInterrupt:
        return _fail(prog, "interrupted; no output was written", INTERRUPTED)
    except MemoryError as error:
        detail = f" ({error})" if str(error) else ""
        return _fail(
            prog, f"not enough memory{detail}. Nothing was written; ask for less or use a larger machine.", REFUSED
        )
    except BrokenPipeError:
        # The reader of our output has gone (as with `| head`); Python would complain once more on closing stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return _fail(prog, describe_os_error(error), REFUSED)
    return 0


def describe_os_error(error: OSError) -> str:
    """One sentence of what the system refused, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}no room left on the disk. Nothing was written; make room or choose another place."
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror or error}. Nothing was written; check the path and its permissions."


def ready_home() -> None:
    """Where nothing can be written below the home folder, caches of libraries go to a temporary folder."""
    home = Path(os.environ.get("HOME") or "/nonexistent")
    if os.access(home, os.W_OK):
        return
    for variable in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME"):
        os.environ.setdefault(variable, str(Path(tempfile.gettempdir(), f"vc-cache-{os.getuid()}")))


def _fail(prog: str, text: str, code: int) -> int:
    print(f"{prog}: {text}", file=sys.stderr)
    return code
