"""Memory of a conversion: the kernel refuses everything beyond a bound that is a fraction of the counts.

    uv run python bench/convert.py                              # 1.3 GB of counts under 400 MB, each layout
    uv run python bench/convert.py --cells 400000 --bound-mb 400

Writes a file with random counts block by block, then converts it in a process whose private memory (RLIMIT_DATA) may grow
by the bound at most, and reports the greatest private memory in use. Needs Linux.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

CHILD = """
import json, resource, sys, threading, time
from vc_data.convert import convert
from vc_data.screen import read_screen
from vc_data.testing import make_foreign, write_foreign
source, out, bound = sys.argv[1], sys.argv[2], int(sys.argv[3])
convert(write_foreign(make_foreign(), out + ".small.h5ad"), out + ".small.zarr")  # modules and threads

def status(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) << 10

resource.setrlimit(resource.RLIMIT_DATA, (status("VmData") + bound,) * 2)
before, peak, done = status("RssAnon"), [0], threading.Event()

def watch():
    while not done.wait(0.02):
        peak[0] = max(peak[0], status("RssAnon") - before)

threading.Thread(target=watch, daemon=True).start()
began = time.monotonic()
report = convert(source, out)
done.set()
print(json.dumps({"seconds": time.monotonic() - began, "peak": peak[0], "cells": report.n_cells}))
"""


def write_source(path: Path, kind: str, n_cells: int, n_genes: int, per_row: int, rng: np.random.Generator) -> int:
    """Write a CSR or CSC .h5ad block by block; returns the bytes of counts and positions."""
    import anndata
    import pandas as pd

    labels = np.array(["control", *(f"GENE{i}" for i in range(50))])
    obs = pd.DataFrame({"perturbation": labels[np.arange(n_cells) % 51], "cell_line": "K562"})
    obs.index = [f"cell{i}" for i in range(n_cells)]
    var = pd.DataFrame(index=[f"GENE{i}" for i in range(n_genes)])
    anndata.AnnData(obs=obs, var=var).write_h5ad(path)
    n_major, n_minor = (n_cells, n_genes) if kind == "csr" else (n_genes, n_cells)
    length = per_row if kind == "csr" else n_cells * per_row // n_genes
    step = max(1, (1 << 21) // length)
    with h5py.File(path, "r+") as file:
        if "X" in file:
            del file["X"]
        group = file.create_group("X")
        group.attrs.update({"encoding-type": f"{kind}_matrix", "encoding-version": "0.1.0"})
        group.attrs["shape"] = np.array([n_cells, n_genes])
        n_values = n_major * length
        settings = {"shape": (n_values,), "chunks": (1 << 18,)}
        data = group.create_dataset("data", dtype=np.float32, **settings)
        indices = group.create_dataset("indices", dtype=np.int32, **settings)
        group["indptr"] = np.arange(n_major + 1, dtype=np.int64) * length
        for start in range(0, n_major, step):
            n = min(step, n_major - start)
            # Distinct, rising positions: one in each of `length` equal stretches.
            width = n_minor // length
            place = np.arange(length) * width + rng.integers(0, width, (n, length))
            span = slice(start * length, (start + n) * length)
            indices[span] = place.ravel()
            data[span] = rng.geometric(0.4, n * length)
    return n_values * 8


def main() -> None:
    """Measure both layouts and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=80_000)
    parser.add_argument("--genes", type=int, default=20_000)
    parser.add_argument("--per-cell", type=int, default=2_000, help="genes with counts in each cell")
    parser.add_argument("--bound-mb", type=int, default=400)
    arguments = parser.parse_args()
    print("| layout | counts MB | bound MB | peak MB | seconds | bound held |\n|---|---|---|---|---|---|")
    for kind in ("csr", "csc"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.h5ad"
            n_bytes = write_source(
                path, kind, arguments.cells, arguments.genes, arguments.per_cell, np.random.default_rng(0)
            )
            time.sleep(1)
            command = [sys.executable, "-c", CHILD, path, path.with_suffix(".zarr"), str(arguments.bound_mb << 20)]
            result = subprocess.run(command, capture_output=True, text=True)
            held = result.returncode == 0
            found = json.loads(result.stdout) if held else {"peak": 0, "seconds": 0}
            row = (
                kind,
                f"{n_bytes / 1e6:,.0f}",
                arguments.bound_mb,
                f"{found['peak'] / 1e6:,.0f}",
                f"{found['seconds']:.0f}",
            )
            print(
                f"| {' | '.join(map(str, row))} | {'yes' if held else 'no: ' + result.stderr.splitlines()[-1]} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
