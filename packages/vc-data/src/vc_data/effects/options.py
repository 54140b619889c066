"""What a user states when a table of effects is converted. Light to import, so that help answers at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Values = Literal[
    "log1p_delta", "log_fold_change", "z", "rank_up", "rank_all", "rank_signed", "log_profile", "counts"
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EffectsOptions:
    """How to read a table of effects. What the values mean is never guessed."""

    values: Values
    """log1p_delta: difference of mean log1p CP10k. log_fold_change: see --base. z: against controls. rank_up: 1 rises most, 0
    is not listed. rank_all: every gene, 1 rises most. rank_signed: the largest rises most, the least falls most, 0 is not
    listed. log_profile, counts: wells with their control wells (--control), whose mean is subtracted."""
    base: Literal["2", "e", "10", "unknown"] = "unknown"
    """log_fold_change, log_profile: base of the logarithm."""
    perturbation: str = "perturbation"
    """Column with the perturbation label; targets joined by '+'."""
    control: tuple[str, ...] = ()
    """Labels of control rows: subtracted from log_profile and counts, left out of the others. Default: the usual names, or a
    column is_control; none where there are none."""
    drop: tuple[str, ...] = ()
    """Labels whose rows are left out."""
    cell_line: str | None = None
    """Column with the cell line; several joined: cell_line,time. Default: the usual names."""
    cell_line_name: str | None = None
    """One name for all rows, e.g. K562."""
    batch: str | None = None
    """Column with the batch or plate; controls are matched within it. 'none' for none. Default: batch or plate."""
    mode: str | None = None
    """Column with the perturbation type (CRISPRi, drug ...). Default: the usual names."""
    mode_name: str | None = None
    """One type for all rows: crispri, crispra, overexpression, knockout, inhibitor, agonist, degrader, binder, drug."""
    dose: str | None = None
    """Column with the dose, with or without units; several doses of a target become perturbations of their own, NAME@DOSE.
    'none' to pool doses. Default: the usual names."""
    n_cells: str | None = None
    """Column with the cells behind a row."""
    total_counts: str | None = None
    """counts: column with the library size. Default: the row's sum."""
    layer: str | None = None
    """.h5ad: layer with the values. Default: X."""
    se: str | None = None
    """Layer (.h5ad) or column (long table) with the standard error of each value."""
    symbol: str | None = None
    """.h5ad: var column that names the genes. Default: the index."""
    gene: str | None = None
    """Long table (a row a condition and gene): column with the gene."""
    value: str | None = None
    """Long table: column with the value."""
    absent: Literal["zero", "unmeasured"] | None = None
    """Long table: what a gene without a row means. Must be stated."""
    genes_are_rows: bool = False
    """.csv, .tsv, .parquet: the first column names genes, the others are conditions."""
    clip: float | None = None
    """Cut values at plus and minus this (sums of z-scores reach hundreds)."""
    combo_separator: str = "auto"
    """What joins targets in labels; 'none' for names that only look joined."""
    guide_labels: Literal["auto", "collapse", "keep"] = "auto"
    """Labels that name guides become their gene, as in 'vc-data convert'."""
    gene_table: Path | None = None
    """Table with Ensembl ids and symbols (TSV, .gz), to link targets that are not measured."""
    aliases: Path | None = None
    """Table with previous and alias symbols and the approved symbol (TSV, .gz)."""
    strict: bool = False
    """Refuse whatever would be decided by default although it may mean something else (for pipelines)."""
    dry_run: bool = False
    """Say what would be done, and write nothing."""
    overwrite: bool = False
    """Replace an output that exists."""
