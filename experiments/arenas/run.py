"""Arenas in which a model of cells could win: one command, and a page.

uv run python experiments/arenas/run.py all run/arenas docs/results/arenas.md
uv run python experiments/arenas/run.py cells run/arenas states --seed 0
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from page import page
from retrieval import SCREENS, find
from screens import REAL
from states import MODELS, compare_cells

WORLD_SEEDS = (0, 1, 2, 3)


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    choices = {"cells": ["states", *REAL], "retrieval": ["world", *SCREENS]}
    for part, screens in choices.items():
        run = parts.add_parser(part)
        run.add_argument("folder", type=Path)
        run.add_argument("screen", choices=screens)
        run.add_argument("--seed", type=int, default=0)
        run.add_argument("--models", nargs="*", default=[], choices=list(MODELS), help="cells: all by default")
    for part in ("page", "all"):
        show = parts.add_parser(part)
        show.add_argument("folder", type=Path)
        show.add_argument("target", type=Path)
    args = parser.parse_args()
    if args.part in choices:
        play(args.part, args.folder, args.screen, args.seed, args.models)
        return
    if args.part == "all":
        for part, screens in choices.items():
            for screen in screens:
                for seed in WORLD_SEEDS if screen in ("states", "world") else (0,):
                    play(part, args.folder, screen, seed)
    head = args.target.read_text().split("\n## Cells")[0].rstrip()
    args.target.write_text(f"{head}\n\n{page(args.folder)}")


def play(part: str, folder: Path, screen: str, seed: int, models: Sequence[str] = ()) -> None:
    """One screen of one part."""
    if part == "cells":
        compare_cells(folder, screen, seed, models)
    else:
        find(folder, screen, seed)


if __name__ == "__main__":
    main()
