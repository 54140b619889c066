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
        own_process()
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


_own = False


def own_process() -> None:
    """This process is one command's: what it does last is for that command to decide.

    A reader of the output that has gone away (`| head`) is no failure, also while help is printed.
    """
    global _own
    _own = True
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
        # HDF5 crashes where a file that could not be flushed is let go of, whoever met the full disk first.
        if _own and disk_is_full(error) and "h5py" in sys.modules:
            _fail(prog, text, REFUSED)
            _leave()
        if is_of_hdf5(error):
            atexit.register(_leave)
        return _fail(prog, text, REFUSED)
    return 0


@contextlib.contextmanager
def _one_message() -> Iterator[None]:
    """From here on, what libraries report themselves of a full disk is left out: the error says it once.

    HDF5 reports every object of a file that it cannot flush; tensorstore and orbax report from their threads.
    """
    reports = sys.unraisablehook, sys.excepthook

    def lost(what: Any) -> None:
        if not _says_the_same(what.exc_value):
            reports[0](what)

    def printed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not _says_the_same(error):
            reports[1](kind, error, trace)

    class Once(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            return not (record.exc_info and _says_the_same(record.exc_info[1]))

    once = Once()
    handlers = [*logging.getLogger().handlers, *logging.getLogger("absl").handlers]
    for handler in handlers:
        handler.addFilter(once)
    sys.unraisablehook, sys.excepthook = lost, printed
    stays = False
    try:
        yield
    except Exception as error:
        # Files that HDF5 could not write are let go of later, so it stays.
        stays = is_of_hdf5(error) or disk_is_full(error)
        raise
    finally:
        if not stays:
            sys.unraisablehook, sys.excepthook = reports
            for handler in handlers:
                handler.removeFilter(once)


def _says_the_same(error: BaseException | None) -> bool:
    """Whether a report is of a full disk, or of a thread that had not heard of it when its work was given up."""
    return disk_is_full(error) or (isinstance(error, RuntimeError) and str(error) == "Event loop is closed")


def describe(error: Exception, memory: str) -> str | None:
    """One sentence of what was refused and what to do; None where it is a mistake of ours."""
    if disk_is_full(error):
        place = f"{name}: " if (name := getattr(error, "filename", None)) else ""
        return (
            f"{place}no room left on the disk or in the quota. Nothing was written but work that the same command goes on "
            "from; make room or choose another place."
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
    """Leave at once; what was said stays said."""
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
