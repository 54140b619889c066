"""Settings of every test process."""

import contextlib
import os
import signal
import sys
from pathlib import Path

# Half of a short `vc` run is compiling the sources of its libraries. Where the surroundings forbid Python to keep what it
# compiled, every process of the tests would do that again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Tests compile much and compute little, and so do the processes that they start (but for the whole job of
# tests/pipeline/test_quickstart.py, which runs as users run it).
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# What was compiled is kept for the processes that a test starts and for the next run; each test process has a folder of its
# own, so that none reads what another is about to write.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent / ".pytest_cache" / "compiled" / _WORKER))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# Two test processes on two cores: threads of the linear algebra below them only wait for each other (a fit took four
# times as long).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("VC_THREADS", "1")

# Property-based tests try few examples by default; many with `pytest --hypothesis-profile deep` or HYPOTHESIS_PROFILE=deep.
with contextlib.suppress(ImportError):
    import hypothesis

    hypothesis.settings.register_profile("fast", max_examples=10, deadline=None)
    hypothesis.settings.register_profile("deep", max_examples=200, deadline=None)
    hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

# A shell starts what it puts into the background deaf to Ctrl-C, and so would be all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
