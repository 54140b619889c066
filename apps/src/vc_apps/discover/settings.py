"""What a user can set for each verb of `vc discover`. Light to import, so that `--help` answers at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

Mode = Literal[
    "crispri", "crispra", "overexpression", "knockout", "inhibitor", "agonist", "degrader", "binder", "unknown"
]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Where an answer goes."""

    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The folder to write: table.parquet, table.csv, answer.json and page.html."""
    overwrite: bool = False
    """Replace --out, if it holds an earlier answer to the same question."""
    seed: int = 0
    """Of every draw."""
    json: bool = False
    """Print answer, doubts and table as JSON."""


@dataclass(frozen=True, kw_only=True)
class Asked(Answer):
    """Which model is asked, about which cells and which actions."""

    run: Path | None = None
    """The folder of a `vc quickstart` run: its model, its screen and its targets."""
    model: Path | None = None
    """A checkpoint folder, instead of --run."""
    context: str | None = None
    """The cell line; default: the model's only or first one."""
    library: Path | None = None
    """A text file of targets, one a line; default: every target that the run's screen perturbs."""
    mode: Mode = "crispri"
    """How targets are acted on."""


@dataclass(frozen=True, kw_only=True)
class Next(Answer):
    """Which entities to test next, from any table of scores.

    Give the scores measured so far after every round; the folder --state remembers the batches, so that a loop that was
    killed goes on with the same choices. Without scores the first batch is one that teaches much.

    For example, on a quickstart's output:
      vc discover next --run run --batch 8 -o next
      vc discover next --scores measured.csv --library genes.txt --features pathways.gmt --state campaign -o round-1
    """

    run: Path | None = None
    """A quickstart run: scores are the sizes of its measured effects, the library its targets, features its bank."""
    scores: Path | None = None
    """A table with a column of names and a column of numbers."""
    library: Path | None = None
    """A text file of names, one a line; default: all entities of the features and the scores."""
    features: tuple[Path, ...] = ()
    """Files of features: .gmt, features-v1 banks, tables with a column of names."""
    state: Path | None = None
    """Folder that remembers the rounds."""
    batch: int = 96
    """How many to test in a round."""
    budget: int | None = None
    """How many to test in all; default: the library."""
    strategy: Literal["hits", "ucb", "thompson", "disagreement", "kcenter", "random", "essentials"] = "hits"
    """How a batch is chosen."""
    direction: Literal["high", "low", "both"] = "both"
    """Which scores are hits."""
    hit_share: float = 0.05
    """Share of the library that are hits, where the table has no column `hit`."""
    name_column: str | None = None
    """Column of names; default: gene or a like name."""
    score_column: str | None = None
    """Column of numbers; default: score or a usual name of effects."""
    essentials: Path | None = None
    """Names that are hit in screens of any kind, one a line: strategy essentials prefers them; strategy hits tests some of
    them in the first batch and learns whether being on the list matters."""


@dataclass(frozen=True, kw_only=True)
class Target(Asked):
    """Which perturbation makes a wanted change: a signature, the way from one population to another, or a known effect.

    For example, on a quickstart's output:
      vc discover target --run run --like G0001 -o target
      vc discover target --effects effects.h5ad --context K562 --signature wanted.csv -o target
      vc discover target --run run --start resistant.h5ad --goal sensitive.h5ad --max-size 2 -o target
    """

    signature: Path | None = None
    """A table of genes and wanted changes."""
    start: Path | None = None
    """An .h5ad of counts of the cells as they are."""
    goal: Path | None = None
    """An .h5ad of counts of the cells as they should be."""
    like: str | None = None
    """A perturbation of the run's screen whose measured effect is wanted: shows whether the model finds it again."""
    effects: Path | None = None
    """An .h5ad of measured effects to choose from, instead of a model."""
    features: tuple[Path, ...] = ()
    """With --effects and --library: features that tell the effects of targets that were not measured."""
    max_size: int = 1
    """Largest number of targets together."""
    background: Path | None = None
    """A table of genes and the mean of many signatures of the same kind (assay, cell line), which is removed first: what
    all perturbations of an assay share tells none of them."""


@dataclass(frozen=True, kw_only=True)
class Moa(Target):
    """How an unknown perturbation acts: its profile against known effects.

    For example, on a quickstart's output:
      vc discover moa --run run --like G0001 -o moa
      vc discover moa --effects effects.h5ad --context K562 --signature profile.csv -o moa
    """

    mechanisms: Path | None = None
    """A table whose first two columns are perturbation and mechanism."""


@dataclass(frozen=True, kw_only=True)
class Combo(Asked):
    """Which perturbations do more together than apart.

    For example, on a quickstart's output:
      vc discover combo --run run -o combo
      vc discover combo --run run --fixed G0001 -o combo
    """

    fixed: str | None = None
    """The partner of every pair; default: all pairs."""
    signature: Path | None = None
    """Rank by how far pairs go towards this change; default: by the size of the interaction."""
    most: int = 60
    """Targets that pairs are made of; the first of the library."""


@dataclass(frozen=True, kw_only=True)
class Lethal(Asked):
    """Which unmeasured pairs are sicker together than apart: from measured pair scores, or from a model and viability.

    For example, on a quickstart's output (pairs.csv and viability.csv are tables of your own):
      vc discover lethal --pairs pairs.csv --below -3 -o lethal
      vc discover lethal --pairs pairs.csv --library genes.txt --features run/simulated/pathways.gmt --query G0001 -o lethal
      vc discover lethal --run run --viability viability.csv -o lethal
    """

    pairs: Path | None = None
    """A table with columns gene_a, gene_b and a score; negative: sicker than expected."""
    score_column: str | None = None
    """Column of the score; default: score, gi_score or a usual name of effects."""
    below: float = -3.0
    """Scores under this are strong."""
    viability: Path | None = None
    """Instead of --pairs: a table of targets and the log viability or fitness of each alone. A model (--run, --model) then
    predicts pairs."""
    query: str | None = None
    """Only partners of this gene."""
    features: tuple[Path, ...] = ()
    """Files of features that tell genes of --library without measured pairs."""


@dataclass(frozen=True, kw_only=True)
class Biomarker(Answer):
    """Which baseline features of cell lines go with response.

    For example:
      vc discover biomarker --response sensitivity.csv --baseline expression.csv -o biomarker
    """

    response: Path
    """A table of cell lines and their response."""
    baseline: Path
    """A table: cell lines in the first column, baseline features in the others."""
    adjust: tuple[str, ...] = ()
    """Columns of --baseline that are removed from both first (lineage as 0 and 1)."""


@dataclass(frozen=True, kw_only=True)
class Safety(Asked):
    """What else perturbations do, in every context, against their use.

    For example, on a quickstart's output:
      vc discover safety --run run --panels run/simulated/pathways.gmt -o safety
    """

    panels: Path
    """A .gmt file of gene sets whose response is unwanted."""
    signature: Path | None = None
    """The wanted change; default: efficacy is the size of the effect."""


@dataclass(frozen=True, kw_only=True)
class Escape(Asked):
    """How cells could escape a perturbation, and what blocks that.

    For example, on a quickstart's output:
      vc discover escape --run run --given G0001 -o escape
    """

    given: str
    """The perturbation to escape from."""


@dataclass(frozen=True, kw_only=True)
class Steer(Asked):
    """Which sequence of perturbations brings cells to a goal.

    For example, on a quickstart's output:
      vc discover steer --run run --like G0001 --steps 2 -o steer
    """

    signature: Path | None = None
    """A table of genes and wanted changes."""
    like: str | None = None
    """A perturbation of the run's screen whose measured effect is wanted."""
    steps: int = 3
    """Most steps."""


@dataclass(frozen=True, kw_only=True)
class Network(Asked):
    """Which gene acts on which, by interventions.

    For example, on a quickstart's output:
      vc discover network --run run -o network
    """

    effects: Path | None = None
    """An .h5ad of measured effects, instead of a model."""


@dataclass(frozen=True, kw_only=True)
class Mechanism(Answer):
    """Whether a gene is needed to explain responses; two data sets are needed to say so.

    For example, on a quickstart's output (each cell line counts as a data set only if it was measured apart):
      vc discover mechanism --run run --gene G0001 -o mechanism
      vc discover mechanism --effects a.h5ad b.h5ad --gene MED1 -o mechanism
    """

    gene: str
    """The gene."""
    run: Path | None = None
    """A quickstart run: its measured effects, one data set."""
    effects: tuple[Path, ...] = ()
    """An .h5ad of measured effects for each data set."""
    context: str | None = None
    """With --effects of several cell lines: the one that is meant."""


@dataclass(frozen=True)
class Discover:
    """From predictions to what to do next: one verb for each question.

    Each writes a ranked table (parquet and csv) with effect, interval, evidence, reasons to doubt and a verdict on support,
    and a page with the one figure that shows the decision.

    For example:
      vc discover next --run run --batch 8 -o next
      vc discover target --run run --like G0001 -o target
    """

    verb: tyro.conf.OmitSubcommandPrefixes[
        Annotated[Next, tyro.conf.subcommand("next")]
        | Annotated[Target, tyro.conf.subcommand("target")]
        | Annotated[Moa, tyro.conf.subcommand("moa")]
        | Annotated[Combo, tyro.conf.subcommand("combo")]
        | Annotated[Lethal, tyro.conf.subcommand("lethal")]
        | Annotated[Biomarker, tyro.conf.subcommand("biomarker")]
        | Annotated[Safety, tyro.conf.subcommand("safety")]
        | Annotated[Escape, tyro.conf.subcommand("escape")]
        | Annotated[Steer, tyro.conf.subcommand("steer")]
        | Annotated[Network, tyro.conf.subcommand("network")]
        | Annotated[Mechanism, tyro.conf.subcommand("mechanism")]
    ]
    """The question."""
