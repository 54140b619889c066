"""How long `anchored` takes to fit and to predict on screens of several sizes and 10,000 genes.

OPENBLAS_NUM_THREADS=1 uv run python bench/model_speed.py                        # 750, 1,500 and 3,000 perturbations
OPENBLAS_NUM_THREADS=1 uv run python bench/model_speed.py --perturbations 1000
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from vc_model.anchored import Anchored
from vc_model.contracts import write_predictions
from vc_model.emit.output import make_prediction_file
from vc_model.testing import make_world


def main() -> None:
    """Of each size print seconds of a fit, and conditions a second: asked, with the epistemic variance, written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--perturbations", type=int, nargs="+", default=[750, 1500, 3000])
    parser.add_argument("--genes", type=int, default=10_000)
    parser.add_argument("--asked", type=int, default=2000)
    args = parser.parse_args()
    for n_train in args.perturbations:
        measure(n_train, args.genes, args.asked)


def measure(n_train: int, n_genes: int, n_asked: int) -> None:
    """Print the lines of one size."""
    world = make_world(n_train=n_train, n_test=n_asked, n_genes=n_genes, features="weak")
    start = time.perf_counter()
    fitted = Anchored().fit(world.train)
    print(f"fit: {time.perf_counter() - start:.0f} s ({n_train} perturbations, {n_genes} genes)", flush=True)
    fitted.predict(world.test.subset(np.arange(10)))
    for label, ask in {
        "mean, variance, support": fitted.predict,
        "the same with the epistemic part": lambda conditions: fitted.predict(conditions).epistemic_pg,
        "all of it written as predictions-v1": lambda conditions: _write(fitted, conditions),
    }.items():
        # Three times, and the median, because other work on the machine comes and goes.
        seconds = []
        for _ in range(3):
            conditions = world.test.subset(np.arange(len(world.test)))
            start = time.perf_counter()
            ask(conditions)
            seconds.append(time.perf_counter() - start)
        print(f"predict, {label}: {len(world.test) / np.median(seconds):.0f} conditions a second", flush=True)


def _write(fitted, conditions) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_predictions(Path(folder) / "predictions.zarr", make_prediction_file(fitted, conditions))


if __name__ == "__main__":
    main()
