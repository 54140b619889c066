"""What each command takes, as data; `main` finds the function that does the work."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal


@dataclass(frozen=True, kw_only=True)
class Common:
    """What both ways of scoring take."""

    pred: tuple[Path, ...]
    """Predictions to score, model and baselines alike."""
    out: Path
    """Folder to write; scores, tables and page appear in it together."""
    overwrite: bool = False
    """Replace the folder of an earlier run."""
    plugin: tuple[Path, ...] = ()
    """Python files that register metrics or rules of your own."""
    model: str | None = None
    """The model in focus; default is the first that is no baseline."""
    baselines: tuple[str, ...] = ()
    """Names of the models that are baselines; default is every file that states the role `baseline`."""
    seed: int = 0
    """Seed of emission, split halves and bootstrap."""
    n_boot: int = 2000
    """Bootstrap resamples of perturbations."""
    threads: int | None = None
    """Threads; default every core. No number depends on it."""
    quiet: bool = False
    """No progress bar."""
    json: bool = False
    """Print the scores as JSON instead of as a table."""


@dataclass(frozen=True, kw_only=True)
class Cells(Common):
    """Score predicted cells against real cells, under a rule of a challenge or with a set of metrics.

    Writes scores.parquet, scores.json, report.html and cell-eval's own results.csv and agg_results.csv. X is read from
    the files in row blocks.
    """

    real: Path
    """Real cells (.h5ad or .zarr, counts or log1p; a screen-v1 too)."""
    rule: Literal["vcc2025", "vcc2025-leaderboard", "vcc2026"] | None = None
    """Scoring rule; default vcc2025."""
    profile: Literal["full", "bio"] | None = None
    """Set of metrics instead of a rule: cell-eval's full profile, or the BioJEPA suite."""
    baseline: Path | None = None
    """Cells of the mean baseline (`vc-eval baseline`), which set the zero of scaled scores."""
    controls: bool = True
    """Beside the prediction: no change, mean effect, shuffled labels, one half of the real cells against the other."""
    pert_col: str | None = None
    """Column of obs that names the perturbation; default target_gene, or perturbation in a contract."""
    control: str | None = None
    """Label of control cells; default non-targeting, or control in a contract."""
    context_col: str | None = None
    """Column of obs that names the cell line; default one context, or cell_line in a contract."""
    allow_counts: bool = False
    """Take counts as they are: no normalisation, no log."""
    cache: Path | None = None
    """Folder that keeps what was computed from the real cells, by content; a later run needs half the time."""
    memory_mb: int = 4096
    """Memory for cell values at a time; more cells are read in several passes."""
    set: tuple[str, ...] = ()
    """Options of the rule, NAME=VALUE."""


@dataclass(frozen=True, kw_only=True)
class Split(Common):
    """Score mean profiles on a split: every model on the held-out conditions, beside baselines and ceiling.

    Writes scores.parquet, scores.json and report.html.
    """

    screen: Path
    """The measured data (screen-v1, or a table of effects-v1; .zarr or .h5ad)."""
    splits: Path
    """What is held out (splits-v1, .json)."""
    n_ceiling: int = 20
    """Split-half repeats for the ceiling."""
    n_ceiling_des: int = 3
    """Split-half repeats that also give DES."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Write the mean baseline of the 2025 challenge as cells: one profile in every cell, the real controls unchanged."""

    real: Path
    """Cells to average, usually the training data."""
    out: Path
    """The .h5ad to write."""
    counts: Path | None = None
    """CSV of cells per perturbation; default as many as in --real."""
    counts_col: str = "n_cells"
    """Its column of numbers."""
    pert_col: str | None = None
    """Column of obs that names the perturbation; default target_gene, or perturbation in a contract."""
    control: str | None = None
    """Label of control cells; default non-targeting, or control in a contract."""
    allow_counts: bool = False
    """Take counts as they are."""
    cache: Path | None = None
    """Folder that keeps what was computed from the cells, by content."""
    memory_mb: int = 4096
    """Memory for cell values at a time."""
    overwrite: bool = False
    """Replace an earlier baseline at --out."""


@dataclass(frozen=True, kw_only=True)
class Prep:
    """Write predicted cells as the .vcc archive that a challenge takes.

    vcc2025: log1p cells with their controls, as `cell-eval prep`. vcc2026: raw counts of all contexts without controls;
    every rule of the upload client is checked, and all that are broken are named.
    """

    pred: Path
    """Predicted cells."""
    genes: Path
    """The challenge's gene list: CSV, one column."""
    out: Path
    """The archive to write."""
    rule: Literal["vcc2025", "vcc2026"] = "vcc2026"
    """Which challenge."""
    perturbations: Path | None = None
    """vcc2026: the challenge's list, a CSV with target_gene, and n_cells and context where they differ."""
    contexts: tuple[str, ...] = ()
    """vcc2026: contexts of the phase; default those of manifest.json beside the list."""
    context_col: str = "context"
    """vcc2026: column of obs that names the context."""
    cells_per_perturbation: int = 400
    """vcc2026: where the list has no n_cells."""
    pert_col: str = "target_gene"
    """Column of obs that names the perturbation."""
    control: str = "non-targeting"
    """Label of control cells."""
    celltype_col: str | None = None
    """Column of obs to keep as the cell type."""
    encoding: Literal[32, 64] = 32
    """Bits of a value."""
    allow_counts: bool = False
    """Keep counts as they are."""
    expected_genes: int | None = None
    """Genes of the challenge, 18,080 or 18,533; -1 for any number. Another number in the list is only said."""
    max_cells: int | None = None
    """Most cells, 200,000 or 400,000; -1 for any number."""
    overwrite: bool = False
    """Replace an earlier archive at --out."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """Scale the means of a run between baseline (0) and perfect (1), as `cell-eval score`; the files of either program."""

    user: Path
    """agg_results.csv of the model."""
    base: Path
    """agg_results.csv of the mean baseline."""
    out: Path = Path("baseline_diff.csv")
    """The CSV to write."""
    overwrite: bool = False
    """Replace a table at --out."""
    json: bool = False
    """Print the scores as JSON."""


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare two models condition by condition: paired differences, intervals, p values corrected over metrics."""

    folders: Annotated[tuple[Path, Path], "positional"]
    """Two folders of scores (scores-v1); the same folder twice compares two of its models."""
    models: tuple[str, str] | None = None
    """Model of the first and of the second folder; default the model in focus of each."""
    metrics: tuple[str, ...] = ()
    """Names; default all that both have."""
    out: Path | None = None
    """CSV to write as well."""
    json: bool = False
    """Print the table as JSON."""
    seed: int = 0
    """Seed of resampling."""
    n_boot: int = 2000
    """Resamples."""
    overwrite: bool = False
    """Replace a table at --out."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Draw the report page of a folder of scores."""

    folder: Annotated[Path, "positional"]
    """Folder of scores (scores-v1)."""
    out: Path | None = None
    """The HTML file; default report.html in that folder."""
    overwrite: bool = False
    """Replace a page at --out."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Draw one figure of predictions-v1, effects-v1 (volcano, heatmap, measured) or scores (calibration, gain)."""

    kind: Annotated[Literal["measured", "volcano", "heatmap", "calibration", "gain"], "positional"]
    """What to draw."""
    source: Annotated[Path, "positional"]
    """predictions-v1, effects-v1, or a folder of scores-v1."""
    out: Annotated[Path, "-o"]
    """The figure: .svg, .png or .pdf."""
    condition: str | None = None
    """volcano, measured: which; default the first."""
    against: Path | None = None
    """measured: a file of the same kind with the measured profiles or effects."""
    model: str | None = None
    """gain: which; default the model in focus."""
    metric: str = "pearson_delta"
    """gain: of which metric."""
    overwrite: bool = False
    """Replace a figure that is there."""


@dataclass(frozen=True, kw_only=True)
class List:
    """Print every metric with its definition."""

    family: str = field(default="")
    """Only names of this family, e.g. vcc2025."""
    json: bool = False
    """Print JSON."""
    markdown: bool = False
    """Print the page of all metrics (docs/metrics.md)."""
