"""Settings of every process that runs tests."""

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

# Tests start many processes. They share the bytecode that Python caches, even where the environment forbids it to write any:
# compiling the libraries again would be half of the time of a short command.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# JAX programs of tests take longer to compile than to run, so they are compiled without optimisation.
# tests/pipeline/test_quickstart.py removes this setting for the commands that it runs as users run them.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# What was compiled is kept for the processes that a test starts and for the next run; each test process has a folder of its
# own, so that none reads what another is about to write.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent / ".pytest_cache" / "compiled" / _WORKER))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# Tests run in as many processes as there are cores, so more threads in linear algebra only wait for each other.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VC_THREADS"):
    os.environ.setdefault(_name, "1")

# Tests write and delete thousands of small files. Where there is room for them in memory, no disk has to follow.
_IN_MEMORY = Path("/dev/shm")
if _IN_MEMORY.is_dir() and os.access(_IN_MEMORY, os.W_OK) and shutil.disk_usage(_IN_MEMORY).free > 4 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_IN_MEMORY))

# Property-based tests try 10 examples by default, 200 with `pytest --hypothesis-profile deep` or HYPOTHESIS_PROFILE=deep.
with contextlib.suppress(ImportError):
    import hypothesis

    hypothesis.settings.register_profile("fast", max_examples=10, deadline=None)
    hypothesis.settings.register_profile("deep", max_examples=200, deadline=None)
    hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


async def _at_once(function: Callable, /, *arguments, **named):
    """What `asyncio.to_thread` does, without the thread."""
    return function(*arguments, **named)


# zarr hands every file and every chunk to another thread. For the tiny arrays of tests that is half of the work (converting a
# small screen takes 0.6 s instead of 1.1 s of CPU without it), so they are written and read where they are asked for. Commands
# that tests start as processes of their own do it as they do for users.
asyncio.to_thread = _at_once

# A shell makes its background jobs ignore Ctrl-C, and child processes inherit that; some tests interrupt what they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Exempt what the imports made from garbage collection, which would walk through all of it again and again."""
    gc.collect()
    gc.freeze()
