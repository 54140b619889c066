"""What vc-interp finds where the truth is known, and on real screens: docs/results/interp.md.

    uv run --no-dev python experiments/interp/run.py --work interp-work --out docs/results/interp.md

Parts, each kept as JSON in --work so that a stopped run goes on: `planted0-KIND` to `planted2-KIND` (a dictionary on synthetic
activations, beside sae-lens with its defaults), `world0` to `world4` (simulated screens and a set mapper on each), `edges0` to `edges4` (a BioJEPA
on the same screens), real screens of ../shared by name, and `ranks` (measured effects of 468 knock-downs). Screens and mappers lie in --work as well. Needs `vc-interp[sae]`.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from directions import compare_methods, programs, truth_of
from edges import edges
from judge import judge
from page import page
from planted import KINDS, planted
from real import REAL, measured_ranks, real
from screens import world

SEEDS, WORLDS = 3, 5


def features_of_world(seed: int, work: Path) -> dict:
    """A dictionary on a simulated screen."""
    ready = world(seed, work / "screens" / f"world{seed}")
    out, site, stored, made = judge(ready, ready.folder, seed)
    truth_pg = truth_of(ready)
    known_kg = programs(ready.sim, ready.labels, truth_pg)
    return out | {"methods": compare_methods(site, stored, made, truth_pg, ready.labels, known_kg, seed)}


def parts(work: Path) -> dict[str, Callable[[], dict]]:
    """Name -> what computes it."""
    found: dict[str, Callable[[], dict]] = {}
    for at in range(WORLDS):
        found[f"world{at}"] = lambda at=at: features_of_world(at, work)
        found[f"edges{at}"] = lambda at=at: edges(world(at, work / "screens" / f"world{at}"))
    for at in range(SEEDS):
        for kind in KINDS:
            found[f"planted{at}-{kind}"] = lambda at=at, kind=kind: planted(at, kind)
    for name in REAL:
        found[name] = lambda name=name: real(name, work / "screens" / name)
    found["ranks"] = measured_ranks
    return found


def main() -> None:
    """Compute what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/results/interp.md"))
    parser.add_argument("--work", type=Path, default=Path("interp-work"))
    parser.add_argument("--only", default="", help="some parts, e.g. planted0-topk,world0: nothing else and no page")
    parser.add_argument("--page", action="store_true", help="compute nothing, write the page of what is there")
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    known = parts(chosen.work)
    for name in [] if chosen.page else (chosen.only.split(",") if chosen.only else list(known)):
        target = chosen.work / f"{name}.json"
        if target.exists():
            continue
        start = time.time()
        found = known[name]()
        target.write_text(json.dumps(found, indent=1))
        print(f"{name}: {time.time() - start:.0f} s", file=sys.stderr, flush=True)
    if not chosen.only or chosen.page:
        there = {name: chosen.work / f"{name}.json" for name in known if (chosen.work / f"{name}.json").exists()}
        chosen.out.write_text(page({name: json.loads(path.read_text()) for name, path in there.items()}, list(known)))


if __name__ == "__main__":
    main()
