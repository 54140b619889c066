"""The edge of every command line: each failure gets one message and an exit code, each signal leaves nothing behind."""

import atexit
import contextlib
import hashlib
import json
import logging
import math
import os
import platform
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from vc_contracts.bucket.address import refuse_foreign, shown
from vc_contracts.errors import Refusal
from vc_contracts.trouble import disk_is_full, is_of_hdf5, memory_is_short

CACHE_BYTES = 1 << 30
"""Of compiled programs that are kept."""
INTERRUPTED = 130
SWITCHES = {"-q": "quiet", "--quiet": "quiet", "-v": "verbose", "--verbose": "verbose"}
REFUSED = 2


def switches(args: Sequence[str] | None, packages: Sequence[str]) -> list[str]:
    """Act on what every command of the project takes, and return the other arguments.

    `--version` as the first argument prints the versions and leaves with exit code 0. -q, --quiet: no progress, errors only.
    -v, --verbose: what each step does. Both may stand anywhere, as long as no file is called so.

    Args:
        args: What was typed after the command. None: what this process was started with; it then is the command's own, and
            imports nothing for dask until a command asks for it (`bring_back`).
        packages: Distributions whose versions `--version` prints.
    """
    if args is None:
        args = sys.argv[1:]
        let_reader_go()
        leave_out("dask")  # where it is installed, reading an AnnData would take a second longer to import
    if list(args[:1]) == ["--version"]:
        print(version_line(packages))
        raise SystemExit(0)
    try:
        refuse_foreign(list(args))
    except Refusal as refusal:
        raise SystemExit(_fail("error", str(refusal), REFUSED)) from None
    given = {SWITCHES[arg] for arg in args if arg in SWITCHES}
    chosen = "quiet" if "quiet" in given else "verbose" if "verbose" in given else "normal"
    os.environ["VC_VOLUME"] = chosen  # read by vc_contracts.progress; child processes inherit it
    level = {"quiet": logging.ERROR, "verbose": logging.INFO, "normal": logging.WARNING}[chosen]
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    return [arg for arg in args if arg not in SWITCHES]


def let_reader_go() -> None:
    """From here on, a reader of the output that has gone away (`| head`) is no failure, also while help is printed."""
    report = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, BrokenPipeError):
            _close_output()
        else:
            report(kind, error, trace)

    def flush() -> None:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _close_output()

    sys.excepthook = hook
    atexit.register(flush)


def _close_output() -> None:
    # Python would complain once more on closing stdout.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def leave_out(name: str) -> None:
    """Make an optional library seem absent to those that would import it only because it is there."""
    if name not in sys.modules:
        sys.modules[name] = None  # pyrefly: ignore[unsupported-operation] how Python marks what cannot be imported


def bring_back(name: str) -> None:
    """Take back `leave_out`."""
    if name in sys.modules and sys.modules[name] is None:
        del sys.modules[name]


def version_line(packages: Sequence[str]) -> str:
    """Name and version of those that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    parts = []
    for name in packages:
        with contextlib.suppress(PackageNotFoundError):
            parts.append(f"{name} {version(name)}")
    return ", ".join(parts)


def print_json(value: Any) -> None:
    """A table, or anything else, as JSON on standard output; what is not a finite number is null."""
    print(json.dumps(json_values(value), allow_nan=False))


def json_values(value: Any) -> Any:
    """The value in what JSON has: mappings, lists, text, finite numbers, booleans, and null for every other number."""
    if isinstance(value, Mapping):
        return {str(key): json_values(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [json_values(part) for part in value]
    if hasattr(value, "tolist"):
        return json_values(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def run_command(prog: str, command: Callable[[], Any], *, memory: str = "ask for less or use a larger machine") -> int:
    """Run a command and return its exit code.

    SIGTERM acts like Ctrl-C. Refusals, a full disk, too little memory and anything the system refuses are one line on
    standard error and exit code 2; a reader of the output that has gone away is no failure. Anything else is a mistake of
    ours and keeps its traceback.

    Args:
        prog: Name of the command, for the message.
        command: Does the work.
        memory: What to do where memory is short.

    Returns:
        0, 2 or 130.
    """
    ready_home()
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _one_message():
            command()
    except KeyboardInterrupt as interrupt:
        # What stopped a training run says itself what is kept.
        said = str(interrupt) if type(interrupt) is not KeyboardInterrupt else ""
        return _fail(prog, f"interrupted; {said or 'no output was written'}", INTERRUPTED)
    except BrokenPipeError:
        _close_output()
    except Exception as error:
        text = describe(error, memory)
        if text is None:
            raise
        if is_of_hdf5(error):
            atexit.register(_leave)
        return _fail(prog, text, REFUSED)
    return 0


@contextlib.contextmanager
def _one_message() -> Iterator[None]:
    """From here on, HDF5's own reports of a file that cannot be flushed are left out: the error says it once."""
    report = sys.unraisablehook

    def hook(lost: Any) -> None:
        if not disk_is_full(lost.exc_value):
            report(lost)

    sys.unraisablehook = hook
    stays = False
    try:
        yield
    except Exception as error:
        # Files that HDF5 could not write are let go of later, so it stays.
        stays = is_of_hdf5(error)
        raise
    finally:
        if sys.unraisablehook is hook and not stays:
            sys.unraisablehook = report


def describe(error: Exception, memory: str) -> str | None:
    """One sentence of what was refused and what to do; None where it is a mistake of ours."""
    if disk_is_full(error):
        place = f"{name}: " if (name := getattr(error, "filename", None)) else ""
        return (
            f"{place}no room left on the disk or in the quota. Nothing was written; make room or choose another place."
        )
    if memory_is_short(error):
        detail = f" ({' '.join(str(error).split())[:300]})" if str(error) else ""
        return f"not enough memory{detail}. Nothing was written; {memory}."
    if isinstance(error, Refusal):
        return str(error)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}. Nothing was written; check the path and its permissions."
    return None


def _leave() -> None:
    """HDF5 crashes on its way out where a file could not be flushed; what was said stays said."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(REFUSED)


def ready_home() -> None:
    """Where nothing can be written below the home folder, caches of libraries go to a temporary folder.

    What JAX compiles is kept, too (`keep_compiled`). Call this before a library is imported.
    """
    home = Path(os.environ.get("HOME") or "/nonexistent")
    if not (home.is_dir() and os.access(home, os.W_OK | os.X_OK)):
        for variable in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME"):
            os.environ.setdefault(variable, str(_temporary()))
    keep_compiled()


def keep_compiled() -> None:
    """What JAX compiles is kept in the user's cache folder, so that the next process loads it instead.

    Machines that share a home folder have a folder each: code for one processor may not run on another. Where the folder
    cannot be written, programs are kept in a temporary one. `JAX_COMPILATION_CACHE_DIR`, where it is set, says where instead;
    `JAX_ENABLE_COMPILATION_CACHE=0` keeps nothing.
    """
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    if find_spec("filelock"):
        # Bounded, the oldest programs go first; JAX then also locks the folder, so that no process reads half a program.
        os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(CACHE_BYTES))
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    name = f"xla-{_processor()}"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    folder = cache / "virtual-cell" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        folder = _temporary() / name
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)


def _temporary() -> Path:
    return Path(tempfile.gettempdir(), f"vc-cache-{os.getuid()}")


def _processor() -> str:
    """A short name of this kind of processor: its family and what it can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        features = ""
    text = f"{platform.machine()} {features}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _fail(prog: str, text: str, code: int) -> int:
    print(f"{prog}: {shown(text)}", file=sys.stderr, flush=True)
    return code
