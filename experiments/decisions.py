"""The table of truth of `vc discover`: verbs on real answers, beside controls, and on shuffled labels.

    uv run python experiments/decisions.py --out docs/results/decisions.md

Reads ../shared/data. `--part` reruns one part; results are kept in --cache, a folder of lines, and not computed twice.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to rerun."""

    out: Path = Path("docs/results/decisions.md")
    """The page to write."""
    cache: Path = Path("decisions-cache")
    """Where finished runs are kept."""
    part: tuple[Literal["next", "lethal", "moa", "breadth", "null"], ...] = ("next", "lethal", "moa", "breadth", "null")
    """Which parts."""
    seeds: int = 10
    """Seeds of `next`."""


def main(settings: Settings) -> None:
    """Rerun and write the page."""
    from truth import next_rounds, page, static

    settings.cache.mkdir(parents=True, exist_ok=True)
    tables = {}
    if "next" in settings.part:
        tables["next"] = next_rounds.run(settings.cache / "next.jsonl", settings.seeds)
    for name in ("lethal", "moa", "breadth", "null"):
        if name in settings.part:
            tables[name] = static.once(settings.cache / f"{name}.csv", static.PARTS[name])
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    settings.out.write_text(page.render(tables))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(tyro.cli(Settings, description=__doc__))
