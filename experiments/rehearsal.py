"""A challenge from beginning to end on a simulated screen: time and peak memory of every step, and the scores.

    python experiments/rehearsal.py --size small --out docs/results/rehearsal.md     # minutes on two cores
    python experiments/rehearsal.py --size medium --out docs/results/rehearsal.md    # half an hour
    python experiments/rehearsal.py --size full --out docs/results/rehearsal.md      # H1-like, 18,080 genes: hours

Every step is a command of its own, run in a process of its own, so that its peak memory is its own.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = {
    "small": {"preset": "tiny", "changes": {"n_genes": 400, "n_singles": 60, "n_pairs": 0, "cells_per_condition": 40,
                                            "controls_per_line": 300, "cell_lines": ("H1", "Other")}, "cells": 40},
    "medium": {"preset": "small", "changes": {"n_genes": 2000, "n_singles": 150, "n_pairs": 0, "cells_per_condition": 100,
                                              "controls_per_line": 1500, "cell_lines": ("H1", "Other")}, "cells": 100},
    "full": {"preset": "vcc", "changes": {}, "cells": None},
}  # fmt: skip
MODELS = "no_change mean_effect anchored"


def timed(name: str, command: list[str], folder: Path) -> dict:
    """Run a step; seconds, peak memory in MiB, and what it said last.

    Raises:
        SystemExit: If the step fails.
    """
    start = time.perf_counter()
    with (folder / "step.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    said = (folder / "step.log").read_text().strip().splitlines()
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{name}: {shlex.join(command)} failed:\n" + "\n".join(said[-20:]))
    row = {
        "step": name,
        "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime,
        "mib": usage.ru_maxrss / 1024,
        "said": said,
    }
    print(f"{name}: {seconds:.0f} s, {row['mib']:.0f} MiB", flush=True)
    return row


def steps(size: dict, rules: tuple[str, ...]) -> list[tuple[str, list[str]]]:
    """Names and commands of all steps."""
    scripts = Path(sys.executable).parent
    cells = ["--cells", str(size["cells"])] if size["cells"] else []
    vc, data = str(scripts / "vc"), str(scripts / "vc-data")
    found = [
        ("simulate", [sys.executable, str(Path(__file__).resolve()), "--simulate", json.dumps(size)]),
        ("split", [data, "split", "screen.zarr", "splits.json", "--test", "0.34"]),
    ]
    for rule in rules:
        for baseline in ("mean-effect", "anchored"):
            out = f"{baseline}-{rule}.vcc"
            found.append((f"submit {baseline}, {rule}", [vc, "submit", "screen.zarr", "splits.json", "-o", out, "--rule", rule,
                                                        "--baseline", baseline, *cells]))  # fmt: skip
        found.append((f"rehearse, {rule}", [vc, "rehearse", "screen.zarr", "--rule", rule, "--features", "features.zarr",
                                            "--models", *MODELS.split(), "--repeats", "3", "--tune", "-o", f"rehearsal-{rule}",
                                            *cells]))  # fmt: skip
    return found


def make_page(rows: list[dict], size: str, folder: Path, rules: tuple[str, ...]) -> str:
    """Steps, then the rehearsals' own pages."""
    lines = [
        "# A rehearsal of the challenge", "",
        f"Made by `python experiments/rehearsal.py --size {size}` on {os.cpu_count()} cores, shared with other work. The screen "
        "is simulated, so scores here say how the steps behave and not what a real entry earns.", "",
        "| step | seconds | processor seconds | peak memory, MiB |", "|---|---|---|---|",
        *(f"| {row['step']} | {row['seconds']:.0f} | {row['cpu']:.0f} | {row['mib']:.0f} |" for row in rows), "",
    ]  # fmt: skip
    said = [line for row in rows for line in row["said"] if line.startswith(("official tool", "local score"))]
    names = [row["step"] for row in rows if row["step"].startswith("submit")]
    per_step = [[line for line in row["said"] if line.startswith(("official tool", "local score"))] for row in rows]
    if said:
        lines += ["## Entries", "", "| entry | official tool | local score |", "|---|---|---|"]
        for name, each in zip(names, [one for one in per_step if one], strict=True):
            official = next((line.split(":", 1)[1].strip() for line in each if line.startswith("official")), "")
            score = next((line.split("): ", 1)[1] for line in each if line.startswith("local")), "not scored")
            lines.append(f"| {name.removeprefix('submit ')} | {official} | {score} |")
        lines.append("")
    for rule in rules:
        page = folder / f"rehearsal-{rule}" / "rehearsal.md"
        if page.exists():
            lines.append(page.read_text().replace("\n## ", "\n### ").replace("# Rehearsal", "## Rehearsal", 1))
    return "\n".join(lines)


def simulate(size: dict) -> None:
    """The step that makes the screen, in the present folder."""
    from worlds import make_world

    changes = {name: tuple(value) if isinstance(value, list) else value for name, value in size["changes"].items()}
    make_world(Path(), seed=0, preset=size["preset"], **changes)


def main() -> None:
    """Run all steps and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--rules", nargs="+", default=["vcc2025", "vcc2026"])
    parser.add_argument("--out", type=Path, default=Path("docs/results/rehearsal.md"))
    parser.add_argument("--simulate", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.simulate:
        simulate(json.loads(arguments.simulate))
        return
    with tempfile.TemporaryDirectory() as name:
        folder, rules = Path(name), tuple(arguments.rules)
        rows = [timed(step, command, folder) for step, command in steps(SIZES[arguments.size], rules)]
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(make_page(rows, arguments.size, folder, rules))
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
