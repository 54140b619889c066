"""What a user can set of `vc submit` and `vc rehearse`. Light to import, so that `--help` answers at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

Rule = Literal["vcc2025", "vcc2026"]
Baseline = Literal["control", "random", "mean-expression", "mean-effect", "anchored", "st", "pseudobulk-shift"]


@dataclass(frozen=True, kw_only=True)
class Submit:
    """Make what a Virtual Cell Challenge takes: cells, checked against every rule, packed, proved with the official tool.

    A name that ends in .vcc is packed; one that ends in .h5ad holds the cells. Without predictions, --baseline makes them.

    For example:
      vc submit screen.zarr splits.json predictions.zarr -o mine.vcc --rule vcc2026
      vc submit screen.zarr splits.json -o base.vcc --rule vcc2025 --baseline mean-effect
      vc submit screen.zarr splits.json predictions.zarr -o mine.vcc --genes gene_names.csv --perturbations pert_counts.csv
      vc submit screen.zarr splits.json predictions.zarr -o cells.h5ad --cells 100
    """

    screen: tyro.conf.Positional[Path]
    """The screen-v1 file; its input controls are the cells that predictions are given to."""
    splits: tyro.conf.Positional[Path]
    """The splits-v1 file of that screen."""
    predictions: tyro.conf.Positional[Path | None] = None
    """The predictions-v1 file, as `vc predict` writes it."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The .vcc or .h5ad file to write."""
    rule: Rule = "vcc2026"
    """Whose form."""
    baseline: Baseline | None = None
    """Fit and submit this instead of predictions."""
    genes: Path | None = None
    """The challenge's gene list; default: the genes of the screen."""
    perturbations: Path | None = None
    """The challenge's list of perturbations (and cells of each); default: the test perturbations of the split."""
    cells: int | None = None
    """Cells of each condition; default: 400 for vcc2026, 100 for vcc2025."""
    amplitude: float = 1.0
    """Effects are multiplied by this. `vc rehearse --tune` says what it is worth."""
    dispersion: float = 1.0
    """Variance of rates between cells, relative to control cells."""
    score: bool = True
    """Score the file where the screen holds the predicted perturbations."""
    official: bool = True
    """Ask the official tool, where it is installed."""
    seed: int = 0
    """Of the draws."""
    json: bool = False
    """Print the receipt as JSON instead of the words."""
    overwrite: bool = False
    """Replace --out."""
    dry_run: bool = False
    """Check the inputs, say what would be written, and write nothing."""


@dataclass(frozen=True, kw_only=True)
class Rehearse:
    """Hold out perturbations as a challenge does, run train, predict, submit and score for every model, and say what to expect.

    For example:
      vc rehearse screen.zarr --rule vcc2026 -o rehearsal
      vc rehearse screen.zarr --rule vcc2025 --models mean_effect anchored --repeats 4 --tune -o rehearsal
    """

    screen: tyro.conf.Positional[Path]
    """A screen-v1 file."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("rehearsal")
    """The folder to write."""
    features: Path | None = None
    """A features-v1 file."""
    rule: Rule = "vcc2026"
    """Whose form and score."""
    models: tuple[str, ...] = ("no_change", "mean_effect", "anchored")
    """Models, by the names of `vc-model list`."""
    repeats: int = 3
    """How many times perturbations are held out."""
    holdout: Literal["target", "target-and-line"] = "target"
    """Whether the line of the held-out perturbations is held out with them."""
    test: float = 1 / 3
    """Share of the perturbations that is held out; the challenge's 100 of 300."""
    cells: int | None = None
    """Cells of each condition; default: 400 for vcc2026, 100 for vcc2025."""
    tune: bool = False
    """Also choose amplitude and dispersion on training perturbations, out of fold, and say what each is worth."""
    bootstrap: int = 1000
    """Resamples behind the intervals."""
    seed: int = 0
    """Of everything."""
    json: bool = False
    """Print what a real entry may expect as JSON instead of the table."""
    overwrite: bool = False
    """Replace --out."""
    dry_run: bool = False
    """Check the settings, say what would be played, and write nothing."""
