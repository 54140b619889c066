"""The table of truth of `vc discover`: every verb on real answers, beside simple methods, and on shuffled labels.

    uv run python experiments/decisions.py                      every part, then the page
    uv run python experiments/decisions.py --part next-tau      one part, then the page
    uv run python experiments/decisions.py --part none          the page alone

Reads ../shared/data. Each part takes less than ten minutes on one core and writes one table, docs/results/decisions/PART.csv,
from which the page is put together. A part that was stopped goes on with `--resume`.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to rerun."""

    out: Path = Path("docs/results/decisions.md")
    """The page to write; the tables lie in a folder of the same name."""
    part: tuple[str, ...] = ("all",)
    """Which parts; `all`, `none`, or names (a wrong one prints them)."""
    resume: bool = False
    """Keep what a stopped run of a part had finished."""


def main(settings: Settings) -> None:
    """Rerun parts and write the page."""
    from truth import page

    tables = settings.out.with_suffix("")
    tables.mkdir(parents=True, exist_ok=True)
    if settings.part[0] != "none":
        run_parts(settings, tables)
    settings.out.write_text(page.render(tables))


def run_parts(settings: Settings, tables: Path) -> None:
    """Rerun the parts that were asked for."""
    from truth import parts

    names = list(parts.PARTS) if settings.part[0] == "all" else list(settings.part)
    unknown = [name for name in names if name not in parts.PARTS]
    if unknown:
        raise SystemExit(f"--part: no part {', '.join(unknown)}; there are {', '.join(parts.PARTS)}.")
    for name in names:
        parts.rerun(tables / f"{name}.csv", parts.PARTS[name], resume=settings.resume)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(tyro.cli(Settings, description=__doc__))
