"""Training a dictionary from disk beside sae-lens with everything in memory: time and peak memory.

    uv run --no-dev python bench/interp.py                       # 1,000,000 x 128
    uv run --no-dev python bench/interp.py --rows 100000

Both make the same number of steps of the same BatchTopK autoencoder on the same machine, each in a process of its own, in turns;
memory is resident memory over what the process took before the rows came, at several points of the pass and at its peak.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BATCH, FEATURES, K = 4096, 256, 8


POINTS = 4  # of a pass at which memory is looked at


def memory_mb(name: str = "VmHWM") -> float:
    """Resident memory of this process: the highest so far (VmHWM), or now (VmRSS)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def write(folder: Path, rows: int, width: int) -> None:
    """Planted rows as latents-v1, written block by block."""
    from vc_model.sites.site import Block
    from vc_model.sites.write import stream_latents

    rng = np.random.default_rng(0)
    truth = rng.standard_normal((2 * width, width)).astype(np.float32)
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)

    def blocks():
        for start in range(0, rows, 20_000):
            n = min(20_000, rows - start)
            code = (rng.random((n, 2 * width), dtype=np.float32) < K / (2 * width)).astype(np.float32)
            names = tuple(f"c{start + at}" for at in range(n))
            yield Block(code @ truth, names, ("A",) * n, ("control",) * n)

    stream_latents(folder / "x.zarr", blocks(), width, "cell", "planted", "planted")


def ours(folder: Path, steps: int) -> dict:
    """From disk: opening and checking the file, and training."""
    from vc_interp.files.stored import open_latents
    from vc_interp.sae.order import batches, make_order
    from vc_interp.sae.settings import SaeSettings
    from vc_interp.sae.train import _import, _make_trainer

    torch, _, _ = _import()
    before = memory_mb("VmRSS")
    start = time.perf_counter()
    stored = open_latents(folder / "x.zarr")
    opened = time.perf_counter() - start
    points = [memory_mb("VmRSS") - before]
    trainer = _make_trainer(stored, SaeSettings(features=FEATURES, k=K, batch=BATCH, passes=1))
    start, rows = time.perf_counter(), batches(stored, make_order(stored, BATCH, 0))
    for step in range(1, steps + 1):
        trainer.step(torch.from_numpy(next(rows)))
        trainer.n_training_steps += 1
        if step % max(1, steps // POINTS) == 0:
            points.append(memory_mb("VmRSS") - before)
    took = time.perf_counter() - start
    rows.close()
    return {"open": opened, "train": took, "peak": memory_mb() - before, "points": points}


def theirs(folder: Path, steps: int) -> dict[str, float]:
    """All rows in memory, permuted batches, sae-lens's own loop with the same rate and the same care for dead features."""
    import torch
    import zarr
    from sae_lens import saes
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer
    from vc_interp.sae.settings import SaeSettings

    before = memory_mb("VmRSS")
    x = torch.from_numpy(zarr.open_group(folder / "x.zarr", mode="r")["X"][:])

    def provide():
        while True:
            order = torch.randperm(len(x))
            for at in range(0, len(x) - BATCH + 1, BATCH):
                yield x[order[at : at + BATCH]]

    config = saes.BatchTopKTrainingSAEConfig(d_in=x.shape[1], d_sae=FEATURES, k=float(K))
    settings = SaeSettings()
    trainer = SAETrainer(
        cfg=SAETrainerConfig(total_training_samples=steps * BATCH, train_batch_size_samples=BATCH, lr=settings.lr,
                             lr_end=settings.lr / 10, dead_feature_window=settings.dead_window),
        sae=saes.BatchTopKTrainingSAE(config), data_provider=provide(),
    )  # fmt: skip
    start = time.perf_counter()
    trainer.fit()
    return {"train": time.perf_counter() - start, "peak": memory_mb() - before}


def main() -> None:
    """Run both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=0, help="0: one pass")
    parser.add_argument("--rounds", type=int, default=1, help="of both, in turns; the medians are compared")
    parser.add_argument("--side", choices=("", "write", "ours", "theirs"), default="")
    parser.add_argument("--folder", type=Path, default=None)
    chosen = parser.parse_args()
    steps = chosen.steps or chosen.rows // BATCH
    if chosen.side:
        made = {"write": lambda: write(chosen.folder, chosen.rows, chosen.width), "ours": lambda: ours(chosen.folder, steps),
                "theirs": lambda: theirs(chosen.folder, steps)}[chosen.side]()  # fmt: skip
        print(json.dumps(made))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found: dict[str, list] = {"ours": [], "theirs": []}
        if not (folder / "x.zarr").exists():
            child("write", folder, chosen, steps)
        for _ in range(chosen.rounds):
            for side, runs in found.items():
                runs.append(child(side, folder, chosen, steps))
    tell(chosen, steps, found)


def child(side: str, folder: Path, chosen: argparse.Namespace, steps: int):
    """One side in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder), "--rows", str(chosen.rows),
               "--width", str(chosen.width), "--steps", str(steps)]  # fmt: skip
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    print(f"{side}: {time.perf_counter() - start:.0f} s, {done.stdout.splitlines()[-1]}", file=sys.stderr, flush=True)
    return json.loads(done.stdout.splitlines()[-1])


def tell(chosen: argparse.Namespace, steps: int, found: dict[str, list]) -> None:
    """Medians over rounds."""

    def median(side: str, name: str) -> float:
        return statistics.median(run[name] for run in found[side])

    train, opened, other = median("ours", "train"), median("ours", "open"), median("theirs", "train")
    points = " ".join(f"{mb:.0f}" for mb in found["ours"][-1]["points"])
    print(f"{chosen.rows:,} x {chosen.width} ({chosen.rows * chosen.width * 4 / 2**20:.0f} MB), {steps} steps of {BATCH}, "
          f"{FEATURES} features, {chosen.rounds} round(s)")  # fmt: skip
    print(
        f"  ours, from disk:     {train:7.1f} s (and {opened:.1f} s to check the file), {median('ours', 'peak'):6.0f} MB more"
    )
    print(f"    after opening and along the pass: {points} MB more")
    print(f"  sae-lens, in memory: {other:7.1f} s, {median('theirs', 'peak'):6.0f} MB more")
    print(f"  ratio {train / other:.2f} (with the check {(train + opened) / other:.2f})")


if __name__ == "__main__":
    main()
