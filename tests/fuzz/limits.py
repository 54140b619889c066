"""Runs commands on a full disk, with little memory and without a home; each has to say so in one line and leave nothing.

python tests/fuzz/limits.py            # all commands
python tests/fuzz/limits.py --cheap    # those that take about a second
"""

import argparse
import os
import resource
import shutil
import signal
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "contracts")]
DISK = {resource.RLIMIT_FSIZE: 256}
MEMORY = {resource.RLIMIT_AS: 24 << 20}


def check_all(*, cheap: bool) -> tuple[int, list[str]]:
    """Run every command under every limit.

    Returns:
        How many runs there were, and a line for everything that may not be.
    """
    from commands import STEPS, make_inputs, run
    from kills import _clear

    os.environ |= {"TQDM_DISABLE": "1", "VC_VOLUME": "quiet"}
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    n, bad, folder = 0, [], Path(tempfile.mkdtemp(), "work")
    try:
        folder.mkdir()
        make_inputs(folder)
        for step in STEPS:
            if cheap and not step.cheap:
                continue
            names = sorted(folder.iterdir())
            for what, limits in (("no room", DISK), ("not enough memory", MEMORY)):
                outcome = run(step.line, folder, limits=limits)
                n += 1
                left = sorted(set(folder.iterdir()) - set(names))
                last = (outcome.said.strip().splitlines() or [""])[-1]
                noise = any(word in outcome.said for word in ("Traceback", "Exception ignored", "errno ="))
                rubbish = {path.name for path in left} - set(step.keeps)
                refused = (
                    outcome.code == 2 and last.startswith("error: ") and what in last and not rubbish and not noise
                )
                # A small output may fit.
                if not refused and outcome.code:
                    said = outcome.said[-400:]
                    bad.append(f"{step}, {what}: exit code {outcome.code}, left {[p.name for p in left]}: {said}")
                for path in left:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            outcome = run(step.line, folder, home="/nonexistent")
            n += 1
            if outcome.code:
                bad.append(f"{step}, no home: exit code {outcome.code}: {outcome.said[-400:]}")
                _clear(folder, step.writes)
                run(step.line, folder)
    finally:
        shutil.rmtree(folder.parent)
    return n, bad


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cheap", action="store_true")
    found, lines = check_all(cheap=parser.parse_args().cheap)
    print("\n".join(lines))
    print(f"{found} runs, {len(lines)} bad")
    sys.exit(1 if lines else 0)
