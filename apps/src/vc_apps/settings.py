"""What a user can set. Light to import, so that `--help` answers at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from vc_data.options import Columns


@dataclass(frozen=True, kw_only=True)
class Quickstart:
    """Fit, predict held-out perturbations, score beside every baseline, and write a report.

    Without --data a screen is simulated. With it, raw counts are read from an .h5ad; columns that are not given are
    guessed and stated.

    For example:
      vc quickstart
      vc quickstart --data my.h5ad --out run
      vc quickstart --model biojepa
      vc quickstart --data my.h5ad --control NT --cell-line line --genesets go.gmt
      vc quickstart --data tcells.h5ad --cell-line cell_line,stimulation --split by_cell_line
    """

    model: Literal["anchored", "biojepa"] = "anchored"
    """The model in the headline. biojepa is trained in its `tiny` form and stands beside anchored and the baselines."""
    jepa_steps: int | None = None
    """Updates of each stage of biojepa; default: the recipe's."""
    data: Path | None = None
    """An .h5ad with raw counts. Without it a screen is simulated."""
    out: Path = Path("run")
    """The folder to write."""
    preset: Literal["tiny", "small"] = "small"
    """Size of the simulated screen."""
    columns: Annotated[Columns, tyro.conf.arg(name="")] = Columns()  # noqa: RUF009 frozen, so sharing is safe
    """Which columns of --data hold what; the same flags as `vc-data convert`."""
    layer: str | None = None
    """Layer that holds the raw counts, where X does not."""
    genesets: Path | None = None
    """A .gmt file of gene sets; becomes a feature of every target. The simulated screen brings its own."""
    bank: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """A features-v1 bank of the targets (vc-featurize); may be given several times, each is weighed by itself."""
    split: Literal["auto", "by_perturbation", "by_cell_line", "few_shot", "named"] = "auto"
    """What is held out. auto: perturbations; cell lines where there are fewer than three perturbations."""
    few_shot_line: str | None = None
    """The cell line of --split few_shot."""
    hold_out: tuple[str, ...] = ()
    """--split named: targets, combinations or LINE|NAME to hold out; naming some is enough to ask for it."""
    test: float = 0.25
    """Share of the perturbations that is held out."""
    repeats: int = 0
    """How many random splits are scored and pooled. 0: one, or five where the screen has under 100 perturbations; one with
    biojepa, which is trained anew for each."""
    min_cells: int = 20
    """Conditions with fewer cells are neither trained on nor scored; the report lists them."""
    bootstrap: int = 2000
    """Resamples behind the confidence intervals."""
    seed: int = 0
    """The one seed of everything."""
    plugin: Path | None = None
    """A Python file with a class that has `fit` and `predict`: your own model, beside the others and in model/."""
    member: bool = False
    """Also stack the plugin with the built-in model, by what each was worth out of fold, as one more row."""
    json: bool = False
    """Print the last lines, the numbers that matter, as JSON instead."""
    overwrite: bool = False
    """Replace an earlier run that stands at --out."""
    dry_run: bool = False
    """Check the settings and write nothing."""
