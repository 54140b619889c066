"""Time the loader beside its peers on one synthetic atlas, and print the ratios.

    python bench/loader.py --install              # once: an environment per peer under --peers
    python bench/loader.py --cells 120000         # the atlas of the table in bench/README.md
    python bench/loader.py --cells 16000 --perturbations 20 --rounds 3 --only ours limit annbatch   # a quick look
    python bench/loader.py --cells 1000000 --genes 4000 --perturbations 1000 --first-batch     # fresh processes

Every tool runs in a process and an environment of its own (`loader_peers.py`) on the same counts. All are started, then take
turns of a few seconds for several rounds, so that whatever else the machine does meets all of them; ratios are medians over
rounds. All give dense float32 log1p CP10k, 1,024 cells a batch; paired tools give 8 sets of 64 perturbed cells and as many
controls. A tool that does not install or run is said so. Exits with 1 where a measured target is missed.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from loader_peers import PACKAGES, TOOLS

TARGETS = {
    "cell-load": (50.0, "cell-load tuned, paired sets"),
    "annbatch-paired": (10.0, "annbatch with pairing on top"),
    "fastest": (1.5, "fastest shuffled loader of bounded memory"),
    "limit": (0.75, "densify-only limit, one thread"),
    "limit-threads": (0.75, "densify-only limit, as many threads as ours"),
}
FIRST_BATCH_S = 2.0
"""From the start of a fresh process, imports included, to the first batch, on a store of a million cells."""
N_TEMPLATES = 16_384
"""Different rows of counts; cells beyond are repeats of them, far apart, so that large atlases are made fast."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Time the loader beside its peers."""

    cells: int = 120_000
    """Cells of the atlas."""
    genes: int = 18_080
    """Genes of the atlas."""
    density: float = 0.12
    """Share of counts above 0."""
    perturbations: int = 150
    """Perturbations, in each cell line; a tenth of the cells are controls."""
    lines: int = 3
    """Cell lines."""
    batches: int = 48
    """Batches."""
    seconds: float = 2.0
    """Length of one slice."""
    rounds: int = 9
    """Slices of every tool."""
    only: tuple[str, ...] = ()
    """Tools to run; default: all."""
    work: Path = Path("/tmp/loader-bench")
    """Folder for the atlas and the peers' copies of it."""
    peers: Path = Path("/tmp/peers/loader")
    """Folder with one environment per peer."""
    first_batch: bool = False
    """Only time fresh processes from their start to the first batch, and memory over an epoch."""
    install: bool = False
    """Make those environments (with uv, from the package registry) and stop."""


def main(settings: Settings) -> None:
    if settings.install:
        return install(settings.peers)
    folder = settings.work / f"{settings.cells}x{settings.genes}x{settings.density}-{settings.perturbations}"
    folder.mkdir(parents=True, exist_ok=True)
    tools = [name for name in TOOLS if not settings.only or name in settings.only]
    make_atlas(folder / "atlas.zarr", settings)
    if settings.first_batch:
        return time_first_batch(folder, settings)
    failures: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        running = {}
        for name in tools:
            try:
                with start(settings, folder, name, "prepare") as preparing:
                    ask(preparing, name, "prepare")
                running[name] = stack.enter_context(start(settings, folder, name, "time"))
                ask(running[name], name, "start")
            except (OSError, RuntimeError) as error:
                failures[name] = str(error)
                running.pop(name, None)
        results = {name: [] for name in running}
        for _ in range(settings.rounds):
            for name, process in running.items():
                process.stdin.write("go\n")
                process.stdin.flush()
                results[name].append(ask(process, name, "slice"))
        for process in running.values():
            process.terminate()
    if not print_table(results, failures, settings):
        raise SystemExit(1)


def install(peers: Path) -> None:
    """Make an environment for each peer; say which do not install."""
    for name, packages in PACKAGES.items():
        python = peers / name / "bin" / "python"
        for command in (
            ["uv", "venv", "-q", "--clear", str(peers / name)],
            ["uv", "pip", "install", "-q", "--python", str(python), *packages],
        ):
            if subprocess.run(command).returncode:
                print(f"{name}: does not install ({' '.join(packages)})")
                break
        else:
            print(f"{name}: installed")


def start(settings: Settings, folder: Path, name: str, verb: str) -> subprocess.Popen:
    """Start a tool in its environment."""
    peer = TOOLS[name].environment
    python = sys.executable if peer is None else str(settings.peers / peer / "bin" / "python")
    if not Path(python).exists():
        raise RuntimeError(f"no environment {python}")
    script = str(Path(__file__).with_name("loader_peers.py"))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    command = [python, "-W", "ignore", script, name, verb, str(folder), str(settings.seconds)]
    return subprocess.Popen(command, env=environment, **pipes)


def ask(process: subprocess.Popen, name: str, what: str) -> dict:
    """Wait for a tool's next report: a line of JSON; other lines it prints are passed over."""
    started = time.perf_counter()
    for line in process.stdout:
        with contextlib.suppress(ValueError):
            report = json.loads(line)
            speed = f"{report['cells_per_s']:10,.0f} cells/s" if "cells_per_s" in report else ""
            print(f"{name:22s} {what:8s} {time.perf_counter() - started:6.1f} s {speed}", file=sys.stderr, flush=True)
            return report
    lines = process.stderr.read().strip().splitlines()
    raise RuntimeError(lines[-1][:160] if lines else "ended without a word")


def make_atlas(path: Path, settings: Settings) -> None:
    """Write a synthetic screen-v1 atlas, and the same as .h5ad (rows shuffled) for the tools that read that."""
    import anndata
    import pandas as pd
    from vc_data.screen.file import read_screen, write_screen

    if not path.exists():
        rng = np.random.default_rng(0)
        n, g = settings.cells, settings.genes
        label = np.where(rng.random(n) < 0.1, 0, rng.integers(1, settings.perturbations + 1, n))
        names = np.array(["control", *(f"P{i:04d}" for i in range(settings.perturbations))])
        obs = pd.DataFrame({"perturbation": names[label], "target": names[label]})
        obs["cell_line"] = np.array([f"line{i}" for i in range(settings.lines)])[rng.integers(0, settings.lines, n)]
        obs["batch"] = np.array([f"b{i:02d}" for i in range(settings.batches)])[rng.integers(0, settings.batches, n)]
        obs["is_control"] = label == 0
        obs["mode"], obs["dose"], obs["dataset"] = np.where(label == 0, 8, 0), np.nan, "atlas"
        obs.index = [f"cell{i}" for i in range(n)]
        templates = make_templates(rng, min(n, N_TEMPLATES), g, settings.density)
        of = rng.integers(0, templates.shape[0], n)
        obs["total_counts"] = np.asarray(templates.sum(axis=1)).ravel()[of].astype(np.float32)
        symbols = [f"gene{i}" for i in range(g)]
        var = pd.DataFrame({"gene_id": "", "symbol": symbols, "measured": True}, index=symbols)
        write_screen(obs, var, lambda rows: templates[of[rows]], path, alignment={}, max_count=255)
    h5ad = path.with_suffix(".h5ad")
    if settings.cells <= 200_000 and not h5ad.exists():
        adata = read_screen(path)
        order = np.random.default_rng(1).permutation(adata.n_obs)
        obs = adata.obs.iloc[order][["perturbation", "cell_line", "batch"]]
        counts = adata.X[order].astype(np.float32)
        anndata.AnnData(counts, obs=obs, var=adata.var[[]]).write_h5ad(h5ad)


def make_templates(rng: np.random.Generator, n: int, g: int, density: float):
    """[n, g] CSR uint8, UMI-like: genes differ in how often they are seen, most counts are 1."""
    import scipy.sparse as sp

    often = rng.lognormal(0, 1.2, g)
    low, high = 0.0, 1e6
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(often * middle, 0.95).mean() < density else (low, middle)
    seen = np.minimum(often * low, 0.95).astype(np.float32)
    blocks = []
    for start in range(0, n, 1024):
        mask = rng.random((min(1024, n - start), g), dtype=np.float32) < seen
        block = sp.csr_matrix(mask.astype(np.uint8))
        block.data = np.minimum(rng.geometric(0.6, block.nnz), 255).astype(np.uint8)
        blocks.append(block)
    return sp.vstack(blocks, format="csr")


def time_first_batch(folder: Path, settings: Settings) -> None:
    """Time fresh processes from start to first batch (bytecode and compiled passes cached), then memory over an epoch."""
    with start(settings, folder, "ours", "prepare") as preparing:
        ask(preparing, "ours", "prepare")
    times = []
    for i in range(settings.rounds + 1):
        began = time.perf_counter()
        with start(settings, folder, "ours", "first") as process:
            report = ask(process, "ours", "first")
            if i:  # The first one fills the caches.
                times.append(time.perf_counter() - began)
    median = statistics.median(times)
    print(
        f"\n{settings.cells:,} cells x {settings.genes:,} genes, fresh processes: first batch, imports included, after"
    )
    print(f"{', '.join(f'{t:.2f}' for t in times)} s; median {median:.2f} s (target < {FIRST_BATCH_S} s, ", end="")
    print(f"{'met' if median < FIRST_BATCH_S else 'missed'}); of it open to first batch {report['open_s']:.2f} s")
    with start(settings, folder, "ours", "epoch") as process:
        memory = ask(process, "ours", "epoch")
    print(
        f"one epoch, {memory['cells']:,} cells: resident memory at each tenth: {', '.join(map(str, memory['gib']))} GiB"
    )
    if median >= FIRST_BATCH_S:
        raise SystemExit(1)


def print_table(results: dict, failures: dict, settings: Settings) -> bool:
    """Print medians, and our ratios beside the targets: medians over rounds of our slice to theirs; whether all are met."""
    speed = {name: [report["cells_per_s"] for report in rounds] for name, rounds in results.items()}
    ratio = {
        name: statistics.median(a / b for a, b in zip(speed["ours"], speeds, strict=True))
        for name, speeds in speed.items()
        if "ours" in speed
    }
    print(
        f"\n{settings.cells:,} cells x {settings.genes:,} genes, density {settings.density}; {settings.rounds} rounds\n"
    )
    print(
        "| tool | work | cells/s | CPU us per cell | ours is | first batch s | peak GiB |\n|---|---|---|---|---|---|---|"
    )
    for name, rounds in results.items():
        median = {key: statistics.median(r[key] for r in rounds) for key in ("cells_per_s", "cpu_us", "first_batch_s")}
        times = f"{ratio[name]:.2f} x" if name in ratio else ""
        print(
            f"| {name} | {TOOLS[name].work} | {median['cells_per_s']:,.0f} | {median['cpu_us']:.1f} | {times} "
            f"| {median['first_batch_s']:.1f} | {rounds[-1]['peak_gib']:.2f} |"
        )
    for name, why in failures.items():
        print(f"| {name} | {TOOLS[name].work} | did not run: {why} | | | | |")
    if "ours" not in results:
        return False
    best = min((name for name in ratio if TOOLS[name].bounded), key=ratio.get, default="none")
    all_met = True
    print("\n| against | target | measured | |\n|---|---|---|---|")
    for name, (target, text) in TARGETS.items():
        text, name = (f"{text} ({best})", best) if name == "fastest" else (text, name)
        if name not in ratio:
            print(f"| {text} | >= {target} | not measured | |")
            continue
        met = ratio[name] >= target
        all_met = all_met and met
        print(f"| {text} | >= {target} | {ratio[name]:.2f} | {'met' if met else 'missed'} |")
    ours = results["ours"]
    print(f"\nours: memory, first to last round: {', '.join(str(report['now_gib']) for report in ours)} GiB")
    print(f"ours: {ours[-1]['padding']:.1%} of the cells brought are repeats that fill sets (not counted above)")
    print(f"ours: open to first batch, after imports: {ours[0]['open_s']:.2f} s")
    return all_met


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__.splitlines()[0]))
