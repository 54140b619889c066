"""Time the loader beside its peers on one synthetic atlas, and print the ratios.

    python bench/loader.py --install              # once: an environment per peer under --peers
    python bench/loader.py --cells 120000         # the atlas of the table in bench/README.md
    python bench/loader.py --cells 20000 --seconds 2 --rounds 1 --only ours annbatch   # a quick look

Every tool runs in a process and an environment of its own (`loader_peers.py`), turn by turn for several rounds on the same
counts; ratios are of medians over all rounds. All give dense float32 log1p CP10k, 1,024 cells a batch; paired tools give 8
sets of 64 perturbed cells and as many controls. A tool that does not install or run is said so.
"""

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from loader_peers import PACKAGES, TOOLS

PACKED_TARGETS = {
    "cell-load": (50.0, "cell-load tuned, paired sets"),
    "annbatch-paired": (10.0, "annbatch with pairing on top"),
    "fastest": (1.5, "fastest shuffled loader of bounded memory"),
    "limit": (0.75, "densify-only limit"),
}
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
    seconds: float = 4.0
    """Length of one measurement; three in each round, after one of warming up."""
    rounds: int = 3
    """Turns of every tool."""
    only: tuple[str, ...] = ()
    """Tools to run; default: all."""
    work: Path = Path("/tmp/loader-bench")
    """Folder for the atlas and the peers' copies of it."""
    peers: Path = Path("/tmp/peers/loader")
    """Folder with one environment per peer."""
    install: bool = False
    """Make those environments (with uv, from the package registry) and stop."""


def main(settings: Settings) -> None:
    if settings.install:
        return install(settings.peers)
    folder = settings.work / f"{settings.cells}x{settings.genes}x{settings.density}-{settings.perturbations}"
    folder.mkdir(parents=True, exist_ok=True)
    tools = [name for name in TOOLS if not settings.only or name in settings.only]
    make_atlas(folder / "atlas.zarr", settings)
    results, failures = {name: [] for name in tools}, {}
    for name in tools:
        report = run(settings, folder, name, "prepare", 0)
        if "error" in report:
            failures[name] = report["error"]
    for _ in range(settings.rounds):
        for name in [name for name in tools if name not in failures]:
            report = run(settings, folder, name, "time", settings.seconds)
            if "error" in report:
                failures[name] = report["error"]
            else:
                results[name].append(report)
    print_table(results, failures, settings)


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


def run(settings: Settings, folder: Path, name: str, verb: str, seconds: float) -> dict:
    """Run a tool in its environment; its report is the last line it prints."""
    peer = TOOLS[name].environment
    python = sys.executable if peer is None else str(settings.peers / peer / "bin" / "python")
    command = [python, str(Path(__file__).with_name("loader_peers.py")), name, verb, str(folder), str(seconds)]
    started = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True)
        report = json.loads(done.stdout.strip().splitlines()[-1])
    except (OSError, IndexError, ValueError):
        lines = done.stderr.strip().splitlines() if "done" in locals() else [f"no environment {python}"]
        report = {"error": lines[-1][:160] if lines else "no output"}
    took = time.perf_counter() - started
    shown = report.get("error") or ", ".join(f"{speed:,.0f}" for speed in report.get("cells_per_s", []))
    print(f"{name:18s} {verb:8s} {took:6.1f} s  {shown}", file=sys.stderr, flush=True)
    return report


def make_atlas(path: Path, settings: Settings) -> None:
    """Write a synthetic screen-v1 atlas, and the same as .h5ad (rows shuffled) for the tools that read that."""
    import anndata
    import pandas as pd
    from vc_data.screen import read_screen, write_screen

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


def print_table(results: dict, failures: dict, settings: Settings) -> None:
    """Print medians, and our ratios beside the targets."""
    speed = {
        n: statistics.median([v for r in rounds for v in r["cells_per_s"]]) for n, rounds in results.items() if rounds
    }
    ours = speed.get("ours")
    print(
        f"\n{settings.cells:,} cells x {settings.genes:,} genes, density {settings.density}; medians of {settings.rounds} rounds\n"
    )
    print("| tool | work | cells/s | ours is | first batch s | peak GiB |\n|---|---|---|---|---|---|")
    for name, rounds in results.items():
        if name in failures:
            print(f"| {name} | {TOOLS[name].work} | did not run: {failures[name]} | | | |")
            continue
        first = statistics.median(r["first_batch_s"] for r in rounds)
        peak = max(r["peak_gib"] for r in rounds)
        ratio = f"{ours / speed[name]:.2f} x" if ours else ""
        print(f"| {name} | {TOOLS[name].work} | {speed[name]:,.0f} | {ratio} | {first:.1f} | {peak:.2f} |")
    if not ours:
        return
    shuffled = [n for n in speed if TOOLS[n].bounded]
    best = max(shuffled, key=speed.get, default=None)
    named = {**speed, "fastest": speed.get(best)}
    print("\n| against | target | measured | |\n|---|---|---|---|")
    for name, (target, text) in PACKED_TARGETS.items():
        text = f"{text} ({best})" if name == "fastest" else text
        if named.get(name) is None:
            print(f"| {text} | {target} | not measured | |")
            continue
        ratio = ours / named[name]
        print(f"| {text} | >= {target} | {ratio:.2f} | {'met' if ratio >= target else 'missed'} |")
    memory = [r["slices_gib"] for r in results["ours"]]
    print(
        f"\nours: memory over the run, GiB: {memory[0]}; padding: {results['ours'][0]['padding']:.1%} of the cells brought"
    )
    print(f"ours: open to first batch without imports: {statistics.median(r['open_s'] for r in results['ours']):.2f} s")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__.splitlines()[0]))
