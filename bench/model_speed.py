"""How long `anchored` takes to fit and to predict on a screen of 1,000 perturbations and 10,000 genes.

OPENBLAS_NUM_THREADS=2 uv run python bench/model_speed.py
"""

import argparse
import time

import numpy as np
from vc_model.anchored import Anchored
from vc_model.testing import make_world


def main() -> None:
    """Print seconds of a fit and conditions a second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--perturbations", type=int, default=1000)
    parser.add_argument("--genes", type=int, default=10_000)
    parser.add_argument("--asked", type=int, default=2000)
    args = parser.parse_args()
    world = make_world(n_train=args.perturbations, n_test=args.asked, n_genes=args.genes, features="weak")
    start = time.perf_counter()
    fitted = Anchored().fit(world.train)
    print(
        f"fit: {time.perf_counter() - start:.0f} s ({args.perturbations} perturbations, {args.genes} genes)", flush=True
    )
    for epistemic in (False, True):
        fitted.predict(world.test.subset(np.arange(10)), epistemic=epistemic)
        start = time.perf_counter()
        fitted.predict(world.test, epistemic=epistemic)
        rate = args.asked / (time.perf_counter() - start)
        print(f"predict{' with epistemic variance' if epistemic else ''}: {rate:.0f} conditions a second", flush=True)


if __name__ == "__main__":
    main()
