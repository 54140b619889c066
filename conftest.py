"""Settings of every test process."""

import os
import sys

# Half of a short `vc` run is compiling the sources of its libraries. Where the surroundings forbid Python to keep what it
# compiled, every process of the tests would do that again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Tests compile much and compute little, and so do the processes that they start.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
