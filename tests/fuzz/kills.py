"""Kills commands at random file events and runs them again: the output is whole and nothing else is left.

    python tests/fuzz/kills.py --kills 200 --seed 1

Every command that writes is run once, which counts its file events; then it is killed (SIGKILL) at one of them, chosen at
random, and run again as a user would. Its output has to be that of the run that nobody killed, and nothing may lie beside it.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "contracts")]
RESUMED = (".part", ".parts", ".train")
"""Endings of work folders from which the same command goes on."""


def kill_all(n: int, seed: int, *, cheap: bool, say: bool = False) -> tuple[Counter, list[str]]:
    """Kill commands `n` times.

    Args:
        n: How many kills, spread evenly over the commands.
        seed: Of the events.
        cheap: Only the commands that take about a second.
        say: Report progress.

    Returns:
        Counts of outcomes, and a line for everything that may not be.
    """
    from commands import STEPS, make_inputs, run

    os.environ |= {"SOURCE_DATE_EPOCH": "0", "TQDM_DISABLE": "1", "VC_VOLUME": "quiet"}
    steps = [step for step in STEPS if step.cheap or not cheap]
    rng, counts, bad = np.random.default_rng(seed), Counter(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "work")
        folder.mkdir()
        make_inputs(folder)
        for at, step in enumerate(steps):
            first = run(step.line, folder)
            if first.code or not all((folder / path).exists() for path in step.writes[:1]):
                bad.append(f"{step}: exit code {first.code} without a kill: {first.said[-300:]}")
                continue
            state = _state(folder, step.writes)
            for _ in range(n // len(steps) + (at < n % len(steps))):
                event = int(rng.integers(1, first.events + 1)) if first.events else 0
                problem = _kill_once(step, folder, event, state, run)
                counts["left whole" if not problem else "bad"] += 1
                if problem:
                    bad.append(f"{step}, killed at file event {event} of {first.events}: {problem}")
                    _clear(folder, step.writes)
                    run(step.line, folder)
            if say:
                print(f"{step}: {first.events} file events, {dict(counts)}", file=sys.stderr, flush=True)
    return counts, bad


def _kill_once(step, folder: Path, event: int, state: tuple, run) -> str:
    """What is wrong after a kill and a second run; empty where nothing is."""
    _clear(folder, step.writes)
    run(step.line, folder, kill_at=event)
    again = run(step.line, folder)
    if again.code == 2 and "--overwrite" in again.said:  # the kill came when the output had its name
        again = run(f"{step.line} --overwrite", folder)
    if again.code:
        return f"second run: exit code {again.code}: {again.said[-300:]}"
    found = _state(folder, step.writes)
    if found[1] != state[1]:
        return f"left: {sorted(set(found[1]) ^ set(state[1]))}"
    return "" if found[0] == state[0] else "another output than without a kill"


def _state(folder: Path, writes: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """Hashes of the outputs (of what repeats), and every name in the folder."""
    from vc_contracts.content import KEY
    from vc_contracts.hashing import sha256_tree
    from vc_contracts.kinds import header_of

    hashes = {}
    for name in writes:
        path = folder / name
        if path.exists():
            stated = header_of(path).get(KEY) if path.is_dir() or path.suffix in (".h5ad", ".json") else None
            repeats = path.suffix not in (".png", ".pdf") and name != "quick" and not name.endswith(".receipt.json")
            hashes[name] = str(
                stated
                or (
                    sha256_tree(path)
                    if repeats and not path.is_dir()
                    else sorted(p.name for p in path.iterdir())
                    if path.is_dir()
                    else ""
                )
            )
    return hashes, sorted(path.name for path in folder.iterdir())


def _clear(folder: Path, writes: tuple[str, ...]) -> None:
    for name in writes:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cheap", action="store_true")
    given = parser.parse_args()
    found, lines = kill_all(given.kills, given.seed, cheap=given.cheap, say=True)
    print("\n".join(lines))
    print({name: found[name] for name in ("left whole", "bad")})
    sys.exit(1 if lines else 0)
