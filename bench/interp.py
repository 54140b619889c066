"""Training a dictionary from disk beside sae-lens with everything in memory: time and peak memory.

    uv run --no-dev python bench/interp.py                       # 1,000,000 x 128
    uv run --no-dev python bench/interp.py --rows 100000

Both make the same number of steps of the same BatchTopK autoencoder on the same machine, each in a process of its own; memory is
the growth of the peak over what the process took before the rows came.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BATCH, FEATURES, K = 4096, 256, 8


def peak_mb() -> float:
    """Highest resident memory of this process so far."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
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


def ours(folder: Path, steps: int) -> dict[str, float]:
    """From disk: opening and checking the file, and training."""
    from vc_interp.files.stored import open_latents
    from vc_interp.sae.order import batches, make_order
    from vc_interp.sae.settings import SaeSettings
    from vc_interp.sae.train import _import, _make_trainer

    torch, _, _ = _import()
    before = peak_mb()
    start = time.perf_counter()
    stored = open_latents(folder / "x.zarr")
    opened = time.perf_counter() - start
    named = peak_mb() - before
    trainer = _make_trainer(stored, SaeSettings(features=FEATURES, k=K, batch=BATCH, passes=1))
    start, rows = time.perf_counter(), batches(stored, make_order(stored, BATCH, 0))
    for _ in range(steps):
        trainer.step(torch.from_numpy(next(rows)))
        trainer.n_training_steps += 1
    took = time.perf_counter() - start
    rows.close()
    return {"open": opened, "train": took, "memory": peak_mb() - before, "names": named}


def theirs(folder: Path, steps: int) -> dict[str, float]:
    """All rows in memory, permuted batches, sae-lens's own loop."""
    import torch
    import zarr
    from sae_lens import saes
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    before = peak_mb()
    x = torch.from_numpy(zarr.open_group(folder / "x.zarr", mode="r")["X"][:])

    def provide():
        while True:
            order = torch.randperm(len(x))
            for at in range(0, len(x) - BATCH + 1, BATCH):
                yield x[order[at : at + BATCH]]

    config = saes.BatchTopKTrainingSAEConfig(d_in=x.shape[1], d_sae=FEATURES, k=float(K))
    trainer = SAETrainer(
        cfg=SAETrainerConfig(total_training_samples=steps * BATCH, train_batch_size_samples=BATCH, lr_end=3e-5),
        sae=saes.BatchTopKTrainingSAE(config), data_provider=provide(),
    )  # fmt: skip
    start = time.perf_counter()
    trainer.fit()
    return {"train": time.perf_counter() - start, "memory": peak_mb() - before}


def main() -> None:
    """Run both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=0, help="0: one pass")
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
        found = {}
        for side in ("write", "ours", "theirs"):
            if side == "write" and (folder / "x.zarr").exists():
                continue
            command = [sys.executable, __file__, "--side", side, "--folder", str(folder), "--rows", str(chosen.rows),
                       "--width", str(chosen.width), "--steps", str(steps)]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[side] = json.loads(done.stdout.splitlines()[-1])
    a, b = found["ours"], found["theirs"]
    print(f"{chosen.rows:,} x {chosen.width}, {steps} steps of {BATCH}, {FEATURES} features")
    print(
        f"  ours, from disk:     {a['train']:7.1f} s (and {a['open']:.1f} s to check the file), {a['memory']:6.0f} MB more"
    )
    print(f"    of which {a['names']:.0f} MB are names of rows and the check of the file")
    print(f"  sae-lens, in memory: {b['train']:7.1f} s, {b['memory']:6.0f} MB more")
    print(f"  ratio {a['train'] / b['train']:.2f} (with the check {(a['train'] + a['open']) / b['train']:.2f})")


if __name__ == "__main__":
    main()
