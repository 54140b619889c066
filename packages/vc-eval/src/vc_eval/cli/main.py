"""Command line of vc-eval: what each command takes; `commands` does the work."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

_EXAMPLES = """
examples:
  vc-eval run --real real.h5ad --pred model.h5ad --rule vcc2025 --baseline base.h5ad --out scores
  vc-eval run --real real.h5ad --pred model.h5ad --profile full --out scores
  vc-eval run --screen screen.zarr --splits split.json --pred anchored.zarr mean_effect.zarr no_change.zarr --out scores
  vc-eval baseline --real train.h5ad --out base.h5ad
  vc-eval score --user scores/agg_results.csv --base base_scores/agg_results.csv --out score.csv
  vc-eval compare scores_a scores_b
  vc-eval prep --pred model.h5ad --genes gene_names.csv --out model.vcc
  vc-eval prep --rule vcc2026 --pred counts.h5ad --genes gene_names.csv --perturbations pert_counts.csv --out model.vcc
  vc-eval report scores --out report.html
  vc-eval list --family vcc2025
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Score predictions, in one of two ways.

    Cells against cells (--real, with --rule or --profile): writes scores.parquet, scores.json, report.html and
    cell-eval's own results.csv and agg_results.csv. X is read from the files in row blocks.

    Mean profiles on a split (--screen, --splits): all models on the held-out conditions, each with baselines, ceiling
    and intervals; writes scores.parquet, scores.json and report.html.
    """

    pred: tuple[Path, ...]
    """Predictions to score, model and baselines alike: cells (.h5ad, .zarr), or predictions-v1 on a split."""
    out: Path
    """Folder to write; made if absent, files of an earlier run are replaced."""
    real: Path | None = None
    """Real cells (.h5ad or .zarr, counts or log1p; a screen-v1 too)."""
    rule: Literal["vcc2025", "vcc2025-leaderboard", "vcc2026"] | None = None
    """Scoring rule for cells; default vcc2025."""
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
    threads: int | None = None
    """Threads; default every core. No number depends on it."""
    set: tuple[str, ...] = ()
    """Options of the rule, NAME=VALUE."""
    plugin: tuple[Path, ...] = ()
    """Python files that register metrics or rules of your own."""
    screen: Path | None = None
    """The measured data of a split (screen-v1, .zarr or .h5ad)."""
    splits: Path | None = None
    """What is held out (splits-v1, .json)."""
    model: str | None = None
    """The model in focus; default is the first that is no baseline."""
    baselines: tuple[str, ...] = ()
    """Names of the models that are baselines; default is every well-known baseline among them."""
    seed: int = 0
    """Seed of emission, split halves and bootstrap."""
    n_boot: int = 2000
    """Bootstrap resamples of perturbations."""
    n_ceiling: int = 20
    """Split-half repeats for the ceiling of a split."""
    n_ceiling_des: int = 3
    """Split-half repeats that also give DES."""
    quiet: bool = False
    """No progress bar."""


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
    rule: Literal["vcc2025", "vcc2026"] = "vcc2025"
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


@dataclass(frozen=True, kw_only=True)
class Score:
    """Scale the means of a run between baseline (0) and perfect (1), as `cell-eval score`; the files of either program."""

    user: Path
    """agg_results.csv of the model."""
    base: Path
    """agg_results.csv of the mean baseline."""
    out: Path = Path("baseline_diff.csv")
    """The CSV to write."""


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
    seed: int = 0
    """Seed of resampling."""
    n_boot: int = 2000
    """Resamples."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Draw the report page of a folder of scores."""

    folder: Annotated[Path, "positional"]
    """Folder of scores (scores-v1)."""
    out: Path | None = None
    """The HTML file; default report.html in that folder."""


@dataclass(frozen=True, kw_only=True)
class List:
    """Print every metric with its definition."""

    family: str = field(default="")
    """Only names of this family, e.g. vcc2025."""


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `vc-eval`: exit code 0 when whole, 2 on refusal, 130 on Ctrl-C."""
    import tyro

    names = {
        "run": Run, "baseline": Baseline, "score": Score, "compare": Compare, "report": Report, "prep": Prep, "list": List,
    }  # fmt: skip
    union = None
    for name, kind in names.items():
        option = Annotated[_with_positionals(kind), tyro.conf.subcommand(name)]
        union = option if union is None else union | option
    command = tyro.cli(
        union,
        args=arguments,
        prog="vc-eval",
        description="Scores for perturbation predictions, with baselines, ceilings and intervals." + _EXAMPLES,
    )
    from vc_eval.cli import commands
    from vc_eval.errors import VcEvalError

    try:
        (commands.list_metrics if isinstance(command, List) else getattr(commands, type(command).__name__.lower()))(
            command
        )
    except (VcEvalError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("error: stopped; nothing half-written was left.", file=sys.stderr)
        sys.exit(130)


def _with_positionals(kind: type) -> type:
    """Turn the marker "positional" of a field into tyro's, which is too heavy to import at the top."""
    import tyro

    for name, annotation in kind.__annotations__.items():
        if "positional" in getattr(annotation, "__metadata__", ()):
            kind.__annotations__[name] = tyro.conf.Positional[annotation.__origin__]
    return kind


if __name__ == "__main__":
    main()
