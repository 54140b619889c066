"""Time and memory of `vc-eval cells` beside cell-eval 0.8.2 and pdex 0.3.0 (vcc2025) or cell-eval2 0.20.0 (vcc2026), whole processes.

    python bench/eval.py --sizes small panel            # both programs, ratios
    python bench/eval.py --sizes panel --rule vcc2026   # raw counts, beside cell-eval2
    python bench/eval.py --sizes vcc --skip-peers       # challenge size, ours only
    python bench/eval.py --sizes small medium panel --skip-peers   # scaling

Every case is a process of its own with the same number of threads; CPU seconds are stable on a shared machine, wall time
is not. `vc-eval` also writes controls, halves and the report page, as it does by default; `bare` leaves the controls out, which
is what the peers do. Cases alternate, medians are printed. `cold` keeps nothing between runs; `cached` finds the real side in a cache;
`bare cached` does both, which is what one more submission against the same real side takes.
Compiled kernels of vc-eval are kept on disk by numba, as after any first use; `--first` times the first use as well.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd

SIZES = {  # perturbations, cells of each, controls, genes
    "small": (25, 120, 2_000, 2_000),
    "medium": (50, 160, 4_000, 5_000),
    "panel": (100, 160, 4_000, 5_000),
    "vcc": (150, 400, 40_000, 18_080),
}
BLOCK = 2000
MEMBERS_2026 = {  # per perturbation; the sixth member is one ratio
    "pds_cosine": "pds_cosine",
    "direction_fidelity": "de_wilcoxon_direction_fidelity_yield_raw",
    "direction_reach": "de_wilcoxon_direction_reach_raw",
    "sig_jaccard": "de_wilcoxon_sig_jaccard",
    "lfc_nmae": "de_wilcoxon_lfc_nmae",
}


def make_side(path: Path, size: str, seed: int, *, raw: bool) -> None:
    """Write Poisson counts, or log1p CP10k of them, float32 CSR, about 0.38 non-zero (0.3 for vcc), in row blocks."""
    n_p, n, n_control, n_genes = SIZES[size]
    shared = np.random.default_rng(0)
    base = shared.lognormal(-1.0 if size != "vcc" else -1.6, 1.4, n_genes).astype(np.float32)
    effect = (shared.normal(0, 0.8, (n_p, n_genes)) * (shared.random((n_p, n_genes)) < 0.06)).astype(np.float32)
    rng = np.random.default_rng([1, seed])
    if seed:  # a prediction: shrunken effects and some of its own
        effect = 0.7 * effect + (rng.normal(0, 0.5, effect.shape) * (rng.random(effect.shape) < 0.02)).astype(
            np.float32
        )
    labels = np.concatenate([np.repeat(np.arange(n_p), n), np.full(n_control, n_p)])
    rng.shuffle(labels)
    names = np.array([*(f"G{k:05d}" for k in range(n_p)), "non-targeting"])
    obs = pd.DataFrame({"target_gene": pd.Categorical(names[labels])}, index=[f"c{k}" for k in range(labels.size)])
    anndata.AnnData(obs=obs, var=pd.DataFrame(index=[f"G{k:05d}" for k in range(n_genes)])).write_h5ad(path)
    rate = np.vstack([base * np.exp(effect), base[None]])
    indptr = [0]
    with h5py.File(path, "a") as file:
        if "X" in file:
            del file["X"]
        group = file.create_group("X")
        for name, dtype in (("data", np.float32), ("indices", np.int32)):
            group.create_dataset(name, shape=(0,), maxshape=(None,), dtype=dtype, chunks=(1 << 20,))
        for start in range(0, labels.size, BLOCK):
            rows = labels[start : start + BLOCK]
            counts = rng.poisson(rate[rows] * rng.gamma(8, 1 / 8, (rows.size, 1)).astype(np.float32)).astype(np.float32)
            counts[:, 0] += counts.sum(axis=1) == 0
            values = counts if raw else np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
            row, column = np.nonzero(values)
            for name, part in (("data", values[row, column]), ("indices", column)):
                group[name].resize(indptr[-1] + column.size, axis=0)
                group[name][indptr[-1] :] = part
            indptr.extend((indptr[-1] + np.cumsum(np.bincount(row, minlength=rows.size))).tolist())
        group.create_dataset("indptr", data=np.array(indptr, np.int64))
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": np.array([labels.size, n_genes])})  # fmt: skip


def measure(command: list[str], threads: int, cwd: Path) -> tuple[float, float, float]:
    """(wall seconds, CPU seconds, peak MiB) of one process and its children."""
    variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS")
    environment = os.environ | dict.fromkeys(variables, str(threads)) | {"PYTHONPYCACHEPREFIX": str(cwd.parent / "pyc")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # both programs start as installed programs do
    start = time.perf_counter()
    with (cwd / "log.txt").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=cwd)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}\n{(cwd / 'log.txt').read_text()[-3000:]}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def commands(real: Path, pred: Path, work: Path, threads: int, rule: str) -> dict[str, list[str]]:
    tools = Path(sys.executable).parent
    ours = [str(tools / "vc-eval"), "cells", "--real", str(real), "--pred", str(pred), "--rule", rule, "--quiet"]
    ours += ["--threads", str(threads), "--overwrite"]  # repeats write where the first one did
    if rule == "vcc2026":
        return {
            "vc-eval": [*ours, "--out", str(work / "cold")],
            "vc-eval, bare": [*ours, "--no-controls", "--out", str(work / "bare")],
            "cell-eval2, vcc2026": [
                str(tools / "cell-eval2"), "run", "-ap", str(pred), "-ar", str(real), "--preset", "vcc2026", "--pert-col",
                "target_gene", "--set", "device=cpu", "--set", "de.backend=pdex", "-o", str(work / "peer"),
            ],
        }  # fmt: skip
    pdex = (
        "import sys, anndata, pdex; a = anndata.read_h5ad(sys.argv[1]); "
        "pdex.pdex(a, groupby='target_gene', mode='ref', is_log1p=True, epsilon=0.0, threads=int(sys.argv[2]))"
    )
    return {
        "vc-eval, cold": [*ours, "--out", str(work / "cold")],
        "vc-eval, bare": [*ours, "--no-controls", "--out", str(work / "bare")],
        "vc-eval, cached": [*ours, "--out", str(work / "warm"), "--cache", str(work / "cache")],
        "vc-eval, bare cached": [*ours, "--no-controls", "--out", str(work / "barewarm"), "--cache", str(work / "cache")],
        "cell-eval, vcc": [
            str(tools / "cell-eval"), "run", "-ap", str(pred), "-ar", str(real), "--profile", "vcc", "--num-threads",
            str(threads), "-o", str(work / "peer"),
        ],
        "pdex, one matrix": [sys.executable, "-W", "ignore", "-c", pdex, str(real), str(threads)],
    }  # fmt: skip


def check_equal_2026(work: Path) -> str:
    """Largest difference of the two programs over perturbations and members."""
    theirs = pd.read_csv(work / "peer" / "results.csv").set_index(["perturbation", "metric"])["value"]
    table = pd.read_parquet(work / "cold" / "scores.parquet")
    table = table[(table["model"] == "panel-counts-pred") & table["group"].str.startswith("condition:")]
    perturbation = table["group"].str.split("|").str[-1]
    ours = table.assign(perturbation=perturbation).set_index(["perturbation", "metric"])["value"]
    apart, n = 0.0, 0
    for member, name in MEMBERS_2026.items():
        a, b = ours.xs(f"vcc2026/{member}", level=1), theirs.xs(name, level=1)
        both = a.dropna().index.intersection(b.dropna().index)
        apart, n = max(apart, float((a[both] - b[both]).abs().max())), n + len(both)
    return f"{n} values of {len(MEMBERS_2026)} members, largest difference {apart:.1e}"


def check_equal(work: Path) -> str:
    """Whether both programs wrote the same numbers."""
    ours, theirs = (
        pd.read_csv(work / d / "results.csv").set_index("perturbation").sort_index() for d in ("cold", "peer")
    )
    exact = ["overlap_at_N", "discrimination_score_l1"]
    same = int((ours[exact] == theirs[exact]).all(axis=1).sum())
    return f"DES and PDS equal for {same} of {len(ours)} perturbations, MAE within {(ours.mae - theirs.mae).abs().max():.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["small"])
    parser.add_argument("--rule", choices=["vcc2025", "vcc2026"], default="vcc2025")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer-repeats", type=int, help="times that peers run; default as --repeats")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skip-peers", action="store_true")
    parser.add_argument("--first", action="store_true", help="also time a first use, with nothing compiled")
    parser.add_argument("--only", nargs="+", help="cases to run, by the beginning of their names")
    parser.add_argument("--keep", type=Path, help="folder for the made data, kept")
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="bench-eval-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for size in arguments.sizes:
            run_size(size, folder, arguments)
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder)


def run_size(size: str, folder: Path, arguments: argparse.Namespace) -> None:
    raw = arguments.rule == "vcc2026"
    files = [folder / f"{size}{'-counts' if raw else ''}-{side}.h5ad" for side in ("real", "pred")]
    for seed, path in enumerate(files):
        if not path.exists():
            make_side(path, size, seed, raw=raw)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)
        cases = commands(*files, work, arguments.threads, arguments.rule)
        if arguments.only:
            cases = {k: v for k, v in cases.items() if k.startswith(tuple(arguments.only))}
        if arguments.skip_peers:
            cases = {k: v for k, v in cases.items() if k.startswith("vc-eval")}
        for case in ("vc-eval, cached", "vc-eval"):  # fills the cache and compiles
            if case in cases:
                measure(cases[case], arguments.threads, work)
        if not arguments.skip_peers:  # bytecode
            peers = "cell_eval2" if raw else "cell_eval, pdex"
            measure([sys.executable, "-W", "ignore", "-c", f"import {peers}"], arguments.threads, work)
        found = {case: [] for case in cases}
        peer_repeats = arguments.peer_repeats or arguments.repeats
        for repeat in range(max(arguments.repeats, peer_repeats)):
            for case, command in cases.items():
                if repeat < (arguments.repeats if case.startswith("vc-eval") else peer_repeats):
                    found[case].append(measure(command, arguments.threads, work))
        medians = {
            case: [statistics.median(column) for column in zip(*rows, strict=True)] for case, rows in found.items()
        }
        n_p, n, n_control, n_genes = SIZES[size]
        with h5py.File(files[0]) as file:
            nonzero = file["X/data"].size
        cells = n_p * n + n_control
        print(f"\n{size}: {cells:,} cells x {n_genes:,} genes, {n_p} perturbations, {nonzero / cells / n_genes:.2f} non-zero, "
              f"{arguments.threads} threads, median of {arguments.repeats} (peers {peer_repeats})")  # fmt: skip
        reference = medians.get("cell-eval2, vcc2026" if raw else "cell-eval, vcc")
        print(f"{'case':20} {'wall s':>8} {'CPU s':>8} {'peak MiB':>9} {'x wall':>7} {'x CPU':>7} {'x memory':>8}")
        for case, (wall, cpu, memory) in medians.items():
            ratios = (
                [f"{r / v:.1f}" for r, v in zip(reference, (wall, cpu, memory), strict=True)]
                if reference
                else ["-"] * 3
            )
            print(f"{case:20} {wall:8.1f} {cpu:8.1f} {memory:9.0f} {ratios[0]:>7} {ratios[1]:>7} {ratios[2]:>8}")
        if reference:
            print((check_equal_2026 if raw else check_equal)(work))
        if arguments.first:
            with tempfile.TemporaryDirectory() as empty:
                os.environ["NUMBA_CACHE_DIR"] = empty
                wall, cpu, memory = measure(cases["vc-eval" if raw else "vc-eval, cold"], arguments.threads, work)
                del os.environ["NUMBA_CACHE_DIR"]
            print(f"{'vc-eval, first use':20} {wall:8.1f} {cpu:8.1f} {memory:9.0f}")


if __name__ == "__main__":
    main()
