"""Where the seconds of a command go: imports, then our own functions with everything that they call.

    python bench/parts.py vc quickstart --out run
    python bench/parts.py vc-eval cells --real real.h5ad --pred pred.h5ad --out scores
    python bench/parts.py --least 0.5 vc-data convert screen.h5ad screen.zarr

The command runs twice in processes of its own: once to time imports (`python -X importtime`, self time, summed by library),
once under cProfile, which makes many small calls look slower than they are. Give `--overwrite`, where a command has it, so that the
second run may write where the first one did. Threads besides the main one are not seen.
"""

import argparse
import pstats
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

MAINS = {
    "vc": "vc_apps.cli",
    "vc-data": "vc_data.cli.main",
    "vc-eval": "vc_eval.cli.main",
    "vc-featurize": "vc_featurize.cli",
    "vc-interp": "vc_interp.cli.main",
    "vc-model": "vc_model.cli.main",
}
PROGRAM = (
    "import sys\nfrom importlib import import_module\nmain = import_module(sys.argv[1]).main\ndel sys.argv[1]\nmain()\n"
)


def run(program: Path, flags: list[str], command: list[str]) -> str:
    """Standard error of one run; leaves with the command's own message where it fails."""
    name, *arguments = command
    done = subprocess.run(
        [sys.executable, *flags, str(program), MAINS[name], *arguments], stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
        sys.exit("\n".join(said[-10:]))
    return done.stderr


def print_imports(errors: str, least: float) -> None:
    seconds: Counter[str] = Counter()
    for line in errors.splitlines():
        if line.startswith("import time:") and "|" in line and "self" not in line:
            own, _, name = line.removeprefix("import time:").split("|")
            seconds[name.strip().split(".")[0]] += float(own) / 1e6
    print(f"imports: {seconds.total():.2f} s")
    for name, value in seconds.most_common():
        if value >= least / 5:
            print(f"{value:8.2f}  {name}")


def print_functions(profile: Path, least: float) -> None:
    rows = []
    stats = pstats.Stats(str(profile)).stats  # pyrefly: ignore[missing-attribute] made when statistics are loaded
    for (path, line, name), (_, calls, _, whole, _) in stats.items():
        if "vc_" in path and name != "<module>" and whole >= least:
            place = path.split("/src/")[-1] if "/src/" in path else Path(path).name
            rows.append((whole, calls, f"{place}:{line} {name}"))
    print(f"\nfunctions of at least {least} s, everything they call included\n{'seconds':>8} {'calls':>8}")
    for whole, calls, what in sorted(rows, reverse=True):
        print(f"{whole:8.2f} {calls:8}  {what}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--least", type=float, default=0.2, help="seconds below which a function is not printed")
    parser.add_argument("command", nargs=argparse.REMAINDER, help=f"one of {', '.join(MAINS)}, and what it takes")
    arguments = parser.parse_args()
    if not arguments.command or arguments.command[0] not in MAINS:
        parser.error(f"expected a command that begins with one of {', '.join(MAINS)}")
    with tempfile.TemporaryDirectory() as name:
        program, profile = Path(name, "run.py"), Path(name, "profile")
        program.write_text(PROGRAM)
        errors = run(program, ["-X", "importtime"], arguments.command)
        run(program, ["-m", "cProfile", "-o", str(profile)], arguments.command)
        print_imports(errors, arguments.least)
        print_functions(profile, arguments.least)


if __name__ == "__main__":
    main()
