"""How fast a model answers: 20,000 conditions x 18,000 genes to disk, one gene from a cold process, the support map.

    uv run --no-dev python bench/ask.py            # all three lines
    uv run --no-dev python bench/ask.py --conditions 2000 --genes 2000

The model is kernel ridge or anchored (--model) on a synthetic table of effects; goals are 60 s and 3 GiB, 3 s, and 5 s on
two quiet cores. Memory is the peak of the process that answers.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STREAM = """
import resource, sys, time
from pathlib import Path
import vc_model as vm
from vc_model.ask.rules import AnswerRules
from vc_model.ask.stream import write_tables
start = time.perf_counter()
model = vm.load(sys.argv[1])
names = [*model.fitted.contexts.genes, *(f"X{n}" for n in range(int(sys.argv[3])))][: int(sys.argv[3])]
asked = model.questions(names, cell_line="A")
out = Path(sys.argv[2])
out.mkdir()
write_tables(model.write(asked, out / "predictions.h5ad", AnswerRules(force=True), keep=out / "parts"), out)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
size = sum(path.stat().st_size for path in out.iterdir()) / 2**30
print(f"{len(names):,} conditions x {len(model.fitted.contexts.genes):,} genes to disk ({size:.1f} GiB): "
      f"{time.perf_counter() - start:.1f} s ({time.process_time():.1f} s of a core), {peak:.2f} GiB")
"""


def main() -> None:
    """Print the lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conditions", type=int, default=20_000)
    parser.add_argument("--genes", type=int, default=18_000)
    parser.add_argument("--perturbations", type=int, default=300)
    parser.add_argument("--contexts", type=int, default=8)
    parser.add_argument("--model", default="kernel_ridge")
    args = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from vc_model.ask.memory import make_memory
    from vc_model.checkpoint import save_checkpoint
    from vc_model.models import make_model
    from vc_model.testing import make_world

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, lines in (("one", ("A",)), ("many", tuple("ABCDEFGHIJKL"[: args.contexts]))):
            n = args.perturbations // len(lines)
            table = make_world(n_train=max(n, 12), n_test=1, n_genes=args.genes, lines=lines, noise=0.1).train
            fitted = make_model(args.model).fit(table)
            save_checkpoint(root / name, fitted, memory=make_memory(table, fitted))
        del table, fitted
        vc = [sys.executable, "-m", "vc_apps.cli"]
        command = [sys.executable, "-c", STREAM, str(root / "one"), str(root / "answers"), str(args.conditions)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
        for text, rest in (
            (
                "vc predict of one gene, cold process",
                ["predict", str(root / "one"), "--genes", "G3", "-o", str(root / "a")],
            ),
            (f"vc support of {args.genes:,} genes x {args.contexts} contexts", ["support", str(root / "many")]),
        ):
            start = time.perf_counter()
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([*vc, *rest], check=True, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(f"{text}: {time.perf_counter() - start:.1f} s ({cpu:.1f} s of a core)")


if __name__ == "__main__":
    main()
