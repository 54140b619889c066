"""How fast cells are drawn and written: conditions of 400 cells x 18,080 genes streamed to disk, beside the disk itself.

    uv run --no-dev python bench/emit.py                     # 20,000 cells, about a minute on two cores
    uv run --no-dev python bench/emit.py --cells 100000

Control cells are gamma-Poisson with a median depth of 11,000 counts, 27 % of genes shown, as in a challenge's H1; effects change every
gene. The disk is measured by writing the same bytes once more and syncing them. The goals are 2 GiB of memory for any number of
cells, and half of the disk's rate.
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

PER_CONDITION = 400


def make_world(n_genes: int, n_controls: int, n_conditions: int):
    """Control cells of one line, and predicted profiles of all conditions."""
    from vc_model.contracts import PredictionFile
    from vc_model.emit.cells import make_source

    rng = np.random.default_rng(0)
    share_g = rng.gamma(0.3, 1, n_genes)
    share_g /= share_g.sum()
    depth_n = rng.lognormal(9.3, 0.3, n_controls)
    count_ng = rng.poisson(rng.gamma(3, 1 / 3, (n_controls, n_genes)) * share_g * depth_n[:, None]).astype(np.int32)
    source = make_source(count_ng, count_ng.sum(axis=1) + 10)
    mean_pg = source.mean_g * np.exp(0.1 * rng.standard_normal((n_conditions, n_genes)))
    labels = np.array(["control", *(f"gene{at}" for at in range(n_conditions))])
    file = PredictionFile(
        model="bench", space="log1p_cp10k", unit="profile", genes=tuple(f"gene{at}" for at in range(n_genes)),
        perturbation=labels, cell_line=np.array(["L"] * len(labels)), is_control=np.arange(len(labels)) < 1,
        mean_ng=np.vstack([source.mean_g, mean_pg]).astype(np.float32), sd_ng=None,
    )  # fmt: skip
    return source, file


def disk_rate(path: Path, n_bytes: int) -> float:
    """Bytes a second of writing random bytes and syncing them."""
    block = np.random.default_rng(0).bytes(1 << 24)
    start, left = time.perf_counter(), n_bytes
    with path.open("wb") as stream:
        while left > 0:
            left -= stream.write(block[: min(left, len(block))])
        os.fsync(stream.fileno())
    return n_bytes / (time.perf_counter() - start)


def main() -> None:
    """Print the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--genes", type=int, default=18_080)
    parser.add_argument("--controls", type=int, default=500)
    args = parser.parse_args()
    from vc_model.emit.cells import draw_cells
    from vc_model.emit.stream import stream_cells

    n_conditions = args.cells // PER_CONDITION
    source, file = make_world(args.genes, args.controls, n_conditions)
    draw_cells(source, file.mean_ng[1], 2, np.random.default_rng(0))  # what is compiled once
    with tempfile.TemporaryDirectory(dir=".") as name:
        out, start, cpu = Path(name) / "cells.h5ad", time.perf_counter(), time.process_time()
        stream_cells(out, file, lambda _: source, PER_CONDITION, seed=0, with_controls=False)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        size = out.stat().st_size
        disk = disk_rate(Path(name) / "disk", size)
    n_cells = n_conditions * PER_CONDITION
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{n_cells:,} cells x {args.genes:,} genes, {size / 2**30:.2f} GiB: {seconds:.1f} s ({cpu:.1f} s of a core), peak {peak:.2f} GiB"
    )
    print(
        f"{n_cells / seconds:,.0f} cells/s, {size / seconds / 2**20:.0f} MiB/s; the disk alone {disk / 2**20:.0f} MiB/s"
    )


if __name__ == "__main__":
    main()
