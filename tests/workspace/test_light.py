"""Commands begin at once: how many modules each loads is counted, because a time would depend on the machine."""

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points

import anndata
import numpy as np
import pytest

MAINS = {
    script.name: script.value.partition(":")[0]
    for script in entry_points(group="console_scripts")
    if script.name.split("-")[0] == "vc"
}
HEAVY = {"anndata", "dask", "flax", "h5py", "jax", "matplotlib", "numba", "pandas", "pyarrow", "rdkit", "sae_lens", "scipy",
         "torch", "zarr"}  # fmt: skip
PROGRAM = """
import json, sys
module, *sys.argv[1:] = sys.argv[1:]
try:
    __import__("importlib").import_module(module).main()
except SystemExit as left:
    assert not left.code, left.code
loaded = [name for name, found in sys.modules.items() if found is not None]
print(json.dumps(loaded), file=sys.stderr)
"""


def loaded_by(command: str, *arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, MAINS[command], *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("command", MAINS)
def test_help_loads_no_library_that_computes(command):
    loaded = loaded_by(command, "--help")
    assert not loaded & (HEAVY | {"numpy"})
    assert len(loaded) < 400


@pytest.mark.parametrize("command", ["vc-data", "vc-eval", "vc-featurize"])
def test_lists_load_no_library_that_computes(command):
    loaded = loaded_by(command, "list")
    assert not loaded & HEAVY
    assert len(loaded) < 450


def test_the_list_of_models_loads_of_scipy_only_what_they_are_made_of():
    loaded = loaded_by("vc-model", "list")
    assert not loaded & (HEAVY - {"scipy"} | {"scipy.optimize", "scipy.special", "scipy.stats"})
    assert len(loaded) < 700


def test_a_small_file_is_read_without_what_it_does_not_need(tmp_path):
    counts = np.random.default_rng(0).poisson(1, (40, 12)).astype(np.float32)
    anndata.AnnData(counts).write_h5ad(tmp_path / "small.h5ad")
    loaded = loaded_by("vc-data", "inspect", str(tmp_path / "small.h5ad"))
    assert "anndata" in loaded
    assert not loaded & {"dask", "flax", "jax", "matplotlib", "numba", "sklearn", "torch"}
    assert len(loaded) < 1500


@pytest.mark.parametrize("arguments", [("vc", "--help"), ("vc-eval", "split", "--help"), ("vc-data", "--version")])
def test_a_reader_of_help_may_leave(arguments):
    command, *rest = arguments
    program = f"import sys; from {MAINS[command]} import main; sys.argv = {[command, *rest]!r}; sys.exit(main())"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.stderr == ""
