"""What a user can set when foreign files become screens. Light to import, so that help answers at once."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where a foreign file keeps what a screen needs; what is not given is guessed and the guess is stated."""

    perturbation: str | None = None
    """obs column with the perturbation label; several joined into combinations: gene_1,gene_2."""
    control: tuple[str, ...] = ()
    """Labels of control cells, e.g. non-targeting or DMSO. Default: the usual names, or a column is_control."""
    is_control: str | None = None
    """Boolean obs column that marks control cells; used where no --control is given."""
    cell_line: str | None = None
    """obs column with the cell line or cell type; several joined: cell_line,stimulation."""
    cell_line_name: str | None = None
    """One name for all cells, where the file has no such column, e.g. K562."""
    batch: str | None = None
    """obs column with the batch; 'none' for no batches."""
    mode: str | None = None
    """obs column with the perturbation type (CRISPRi, drug ...)."""
    mode_name: str | None = None
    """One type for all cells: crispri, crispra, overexpression, knockout, inhibitor, agonist, degrader, binder, drug."""
    dose: str | None = None
    """obs column with the dose; 'none' to ignore doses."""
    dose_unit: str | None = None
    """obs column with the unit of the dose, or the unit itself, e.g. uM."""
    guide: str | None = None
    """obs column with the guide of each cell; 'none' to leave guides out."""
    total_counts: str | None = None
    """obs column with the library size over all genes; 'sum' for the row sum of the counts in the file."""
    gene_id: str | None = None
    """var column with Ensembl ids; 'index' for the index."""
    symbol: str | None = None
    """var column with gene symbols; 'index' for the index."""


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which cells to leave out."""

    max_residual: float | None = None
    """Drop CRISPRi perturbations of a cell line that leave this share of the target's mean expression or more, e.g. 0.3."""
    max_cell_residual: float | None = None
    """Drop CRISPRi cells that keep this share of the target's mean expression or more, e.g. 0.5."""
    keep_unjudged: bool = False
    """Keep perturbations whose target is not measured, or not expressed in control cells."""
    min_cells: int = 0
    """Drop (cell line, perturbation) conditions with fewer cells, counted after the other filters."""
    batches_without_controls: Literal["keep", "drop", "refuse"] = "keep"
    """What to do with perturbed cells of a batch that holds no control cell of their cell line."""


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """How to read a foreign file."""

    columns: Columns = field(default_factory=Columns)
    """Which columns hold what; the rest is guessed."""
    filters: Filters = field(default_factory=Filters)
    """Which cells to leave out."""
    layer: str | None = None
    """Matrix with the raw counts: a layer's name, 'raw', or in full X, raw/X, layers/NAME. Default: X."""
    round: bool = False
    """Round corrected counts (SoupX, CellBender, alevin) to whole numbers; the report says so."""
    trust_counts: bool = False
    """Take whole numbers for raw counts although they look rescaled."""
    features: str | None = None
    """Kind of features to keep, as var['feature_types'] names it. Default: gene expression."""
    obs_table: Path | None = None
    """Table (TSV or CSV, .gz) with the cells' columns, cell names first; joined to what the file has."""
    panel: Path | None = None
    """Text file with one gene a line: the genes, and their order, of the screen. Default: the file's own genes."""
    gene_table: Path | None = None
    """Table with Ensembl ids and symbols (TSV, .gz), to translate between them."""
    aliases: Path | None = None
    """Table with previous and alias symbols and the approved symbol (TSV, .gz)."""
    duplicates: Literal["refuse", "sum", "max"] = "refuse"
    """What to do where one gene has several columns."""
    make_unique: bool = False
    """Number repeated cell names instead of refusing them."""
    combo_separator: str = "auto"
    """What joins targets in labels; 'none' for names that only look joined. Auto: '+', '_' between known genes, and
    none for compounds."""
    guide_labels: Literal["auto", "collapse", "keep"] = "auto"
    """Labels that name guides become their gene: where the gene is known (auto), wherever a name ends in a number
    (collapse), or never (keep)."""
    drop: tuple[str, ...] = ()
    """Labels whose cells are left out."""
    control_only: bool = False
    """Every cell is a control: the screen has no perturbed cells and gives a model its context."""
    dose_in_label: bool | None = None
    """Make each dose its own perturbation, NAME@DOSE. Default: yes where a target has several doses."""
    dataset: str | None = None
    """Key of the source; one that 'vc-data list' shows also brings its columns and repairs its labels. Default: the
    file's name without suffix."""
    strict: bool = False
    """Refuse whatever would be decided by default although it may mean something else (for pipelines)."""
    seed: int = 0
    """Seed of the order of cells within a group."""
    backed: bool = True
    """Read counts in blocks; otherwise the whole matrix at once."""
    overwrite: bool = False
    """Replace an output that exists."""


@dataclass(frozen=True, kw_only=True)
class MergeOptions:
    """How several screens become one."""

    panel: str = "union"
    """union or intersection of the measured genes, or a text file with one gene a line."""
    gene_table: Path | None = None
    """Table with Ensembl ids and symbols (TSV, .gz), e.g. HGNC's."""
    aliases: Path | None = None
    """Table with previous and alias symbols and the approved symbol (TSV, .gz), e.g. HGNC's."""
    join_lines: bool = False
    """Keep the name of a cell line that several data sets share: their cells and controls become one context."""
    seed: int = 0
    """Seed of the order of cells within a group."""
    overwrite: bool = False
    """Replace an output that exists."""
