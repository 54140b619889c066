"""The two parts that the pages of this folder share: scores of one screen, and the page of all that were kept."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from vc_eval.stats.differences import resampled

KEYS = ["split", "cell_line", "perturbation"]


def parts(doc: str, splits: int) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """Parser of `scores FOLDER SCREEN`, `page FOLDER TARGET` and `all FOLDER TARGET`; and the one of `scores`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="part", required=True)
    run = commands.add_parser("scores")
    run.add_argument("folder", type=Path)
    run.add_argument("screen")
    run.add_argument("--splits", type=int, default=splits)
    run.add_argument("--world-seed", type=int, default=0)
    for name in ("page", "all"):
        show = commands.add_parser(name)
        show.add_argument("folder", type=Path)
        show.add_argument("target", type=Path)
    return parser, run


def run_parts(
    doc: str,
    splits: int,
    scores: Callable[[Path, str, int, int], None],
    everything: list[tuple[str, int, int]],
    page: Callable[[Path], str],
    until: str,
    head: str = "",
) -> None:
    """Run what the command line asks for.

    Args:
        doc: Description.
        splits: Usual number of splits.
        scores: (folder, screen, splits, seed of a world) -> keeps what is found.
        everything: Screen, splits and seed of all that `all` runs.
        page: Tables of what a folder holds.
        until: Where the text of a page, which stays, ends.
        head: That text where there is no page yet.
    """
    args = parts(doc, splits)[0].parse_args()
    if args.part == "scores":
        scores(args.folder, args.screen, args.splits, args.world_seed)
        return
    if args.part == "all":
        for screen, n_splits, seed in everything:
            scores(args.folder, screen, n_splits, seed)
    kept = args.target.read_text().split(until)[0].rstrip() if args.target.exists() else head
    args.target.write_text(f"{kept}\n\n{page(args.folder)}")


def share(part: pd.DataFrame, target: str, level: float) -> str:
    """A share with its interval, bold beyond 0.05 of the level; `-` where nothing is known."""
    part = part[part[target].notna()]
    if part.empty:
        return "-"
    value, lower, upper = resampled(part.set_index(KEYS)[target])
    mark = "**" if abs(value - level) > 0.05 else ""
    return f"{mark}{value:.3f}{mark} [{lower:.2f}, {upper:.2f}]"
