"""Conversion beside anndata and annbatch, and its memory on files several times larger than the bound.

    uv run python bench/convert.py                                   # the comparison; needs the peers of bench/loader.py
    uv run python bench/convert.py --memory csr csc dense --cells 400000 --genes 20000    # 6.4 GB of counts

Comparison: one gzip .h5ad with UMI-like counts; `vc-data convert` and "anndata reads, annbatch writes" take turns, each in a
process of its own, medians over rounds. Prints sizes on disk too. Exits with 1 where a target is missed.

Memory: writes a file block by block (sparse with 8 bytes a count, or dense float32 and compressed), converts it in a
process of its own and reads the greatest resident memory of that process. Needs Linux. Files are deleted.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import tyro

BOUND_GIB = 2.0
"""Greatest resident memory of a conversion."""
OURS = """
import json, sys, time
began = time.perf_counter()
from vc_data.convert.run import convert
report = convert(sys.argv[1], sys.argv[2])
seconds = time.perf_counter() - began
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 2**20
print(json.dumps({"seconds": seconds, "peak_gib": peak, "cells": report.n_cells}))
"""
THEIRS = """
import json, sys, time
began = time.perf_counter()
import anndata, zarr
from annbatch import write_sharded
zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
adata = anndata.read_h5ad(sys.argv[1])
write_sharded(zarr.open_group(sys.argv[2], mode="w"), adata)
seconds = time.perf_counter() - began
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 2**20
print(json.dumps({"seconds": seconds, "peak_gib": peak}))
"""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Time and measure conversions."""

    cells: int = 40_000
    """Cells of the generated file."""
    genes: int = 18_080
    """Genes of the generated file."""
    density: float = 0.12
    """Share of counts above 0 (comparison)."""
    per_cell: int = 2_000
    """Genes with counts in each cell (memory)."""
    rounds: int = 3
    """Turns of the comparison."""
    memory: tuple[Literal["csr", "csc", "dense"], ...] = ()
    """Measure memory of these layouts instead."""
    peers: Path = Path("/tmp/peers/loader")
    """Folder with the environments of `bench/loader.py --install`."""
    work: Path = Path("/tmp")
    """Where files are written."""


def main(settings: Settings) -> None:
    with tempfile.TemporaryDirectory(dir=settings.work) as folder:
        met = measure_memory(settings, Path(folder)) if settings.memory else compare(settings, Path(folder))
    if not met:
        raise SystemExit(1)


def compare(settings: Settings, folder: Path) -> bool:
    """Time both programs on one gzip .h5ad; whether ours is as fast, and its store as small as the file."""
    import anndata
    from loader import make_templates

    path = folder / "atlas.h5ad"
    rng = np.random.default_rng(0)
    counts = make_templates(rng, settings.cells, settings.genes, settings.density).astype(np.float32)
    obs, var = make_tables(settings)
    anndata.AnnData(counts, obs=obs, var=var).write_h5ad(path, compression="gzip")
    programs = {"vc-data convert": (sys.executable, OURS, "ours.zarr")}
    programs["anndata + annbatch"] = (str(settings.peers / "annbatch" / "bin" / "python"), THEIRS, "theirs.zarr")
    found = {name: [] for name in programs}
    for _ in range(settings.rounds):
        for name, (python, code, out) in programs.items():
            shutil.rmtree(folder / out, ignore_errors=True)
            found[name].append(run(python, code, path, folder / out))
    print(
        f"{settings.cells:,} cells x {settings.genes:,} genes, {counts.nnz / 1e6:.0f} M counts, {settings.rounds} turns\n"
    )
    print("| program | seconds | peak GiB | store MB |\n|---|---|---|---|")
    for name, (_, _, out) in programs.items():
        seconds, peak = (statistics.median(one[key] for one in found[name]) for key in ("seconds", "peak_gib"))
        print(f"| {name} | {seconds:.1f} | {peak:.2f} | {size(folder / out) / 1e6:.1f} |")
    one, two = found.values()
    ratio = statistics.median(b["seconds"] / a["seconds"] for a, b in zip(one, two, strict=True))
    smaller = size(path) / size(folder / "ours.zarr")
    print("\n| target | measured | |\n|---|---|---|")
    for text, value in (("as fast: their time / ours >= 1", ratio), ("gzip .h5ad / store >= 1", smaller)):
        print(f"| {text} | {value:.2f} | {'met' if value >= 1 else 'missed'} |")
    print(f"\nthe gzip .h5ad: {size(path) / 1e6:.1f} MB")
    return min(ratio, smaller) >= 1


def measure_memory(settings: Settings, folder: Path) -> bool:
    """Convert a generated file of each layout; whether resident memory stays under the bound."""
    print("| layout | counts GB | file GB | peak GiB | seconds | under 2 GiB |\n|---|---|---|---|---|---|")
    met = True
    for kind in settings.memory:
        path = folder / f"{kind}.h5ad"
        n_bytes = write_source(path, kind, settings)
        time.sleep(1)
        found = run(sys.executable, OURS, path, folder / "out.zarr")
        row = (
            kind,
            f"{n_bytes / 1e9:.1f}",
            f"{size(path) / 1e9:.1f}",
            f"{found['peak_gib']:.2f}",
            f"{found['seconds']:.0f}",
        )
        print(f"| {' | '.join(row)} | {'yes' if found['peak_gib'] < BOUND_GIB else 'no'} |", flush=True)
        met = met and found["peak_gib"] < BOUND_GIB
        path.unlink()
        shutil.rmtree(folder / "out.zarr")
    return met


def run(python: str, code: str, path: Path, out: Path) -> dict:
    """Run a program on a file; what it reports."""
    result = subprocess.run([python, "-W", "ignore", "-c", code, path, out], capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(result.stderr.strip().splitlines()[-1])
    return json.loads(result.stdout.splitlines()[-1])


def size(path: Path) -> int:
    """Bytes of a file or folder."""
    return path.stat().st_size if path.is_file() else sum(f.stat().st_size for f in path.rglob("*") if f.is_file())


def make_tables(settings: Settings):
    """Cells of 50 perturbations and controls, and genes."""
    import pandas as pd

    labels = np.array(["control", *(f"GENE{i}" for i in range(50))])
    obs = pd.DataFrame({"perturbation": labels[np.arange(settings.cells) % 51], "cell_line": "K562"})
    obs.index = [f"cell{i}" for i in range(settings.cells)]
    return obs, pd.DataFrame(index=[f"GENE{i}" for i in range(settings.genes)])


def write_source(path: Path, kind: str, settings: Settings) -> int:
    """Write a CSR, CSC or dense .h5ad block by block; returns the bytes of counts and positions (dense: of values)."""
    import anndata

    rng, n_cells, n_genes = np.random.default_rng(0), settings.cells, settings.genes
    obs, var = make_tables(settings)
    anndata.AnnData(obs=obs, var=var).write_h5ad(path)
    n_major, n_minor = (n_genes, n_cells) if kind == "csc" else (n_cells, n_genes)
    length = settings.per_cell * n_cells // n_major
    step = max(1, (1 << 21) // length)

    def blocks():
        # Distinct, rising positions: one in each of `length` equal stretches.
        width = n_minor // length
        for start in range(0, n_major, step):
            n = min(step, n_major - start)
            place = np.arange(length) * width + rng.integers(0, width, (n, length))
            yield start, place, rng.geometric(0.4, (n, length)).astype(np.float32)

    with h5py.File(path, "r+") as file:
        if "X" in file:
            del file["X"]
        if kind == "dense":
            settings_h5 = {"chunks": (64, n_genes), "compression": "lzf"}
            matrix = file.create_dataset("X", (n_cells, n_genes), np.float32, **settings_h5)
            matrix.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
            for start, place, values in blocks():
                dense = np.zeros((len(place), n_genes), np.float32)
                np.put_along_axis(dense, place, values, axis=1)
                matrix[start : start + len(dense)] = dense
            return 4 * n_cells * n_genes
        group = file.create_group("X")
        group.attrs.update({"encoding-type": f"{kind}_matrix", "encoding-version": "0.1.0"})
        group.attrs["shape"] = np.array([n_cells, n_genes])
        n_values = n_major * length
        data = group.create_dataset("data", (n_values,), np.float32, chunks=(1 << 18,))
        indices = group.create_dataset("indices", (n_values,), np.int32, chunks=(1 << 18,))
        group["indptr"] = np.arange(n_major + 1, dtype=np.int64) * length
        for start, place, values in blocks():
            span = slice(start * length, start * length + place.size)
            indices[span], data[span] = place.ravel(), values.ravel()
    return n_values * 8


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__.splitlines()[0]))
