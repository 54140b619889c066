"""A foreign file becomes a screen: plan, spool, filter, write.

Everything cheap is decided before the counts are read (`plan.py`); the counts are read once, in blocks. A killed conversion
leaves `.NAME.part` beside the output; the same command goes on from there and gives the same bytes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from vc_data.contract import check_target, sha256_tree
from vc_data.convert.counts import Spool, refuse_rescaled
from vc_data.convert.filters import apply_filters
from vc_data.convert.formats import open_source
from vc_data.convert.notes import Notes
from vc_data.convert.obs import add_totals, check_enough
from vc_data.convert.plan import Plan, find_counts, make_plan
from vc_data.errors import OptionError, OutputError, few
from vc_data.options import ConvertOptions
from vc_data.screen.file import write_screen
from vc_data.screen.part import open_part, read_note, write_note


@dataclass(frozen=True)
class ConvertReport:
    """What a conversion did."""

    path: Path
    n_cells: int
    n_genes: int
    n_controls: int
    n_perturbations: int
    cell_lines: list[str]
    dropped_cells: dict[str, int]
    """Why -> how many cells."""
    statements: list[str]
    """Every guess and rule that was used."""
    questions: list[str]
    """What was decided by default although it may mean something else; each names its flag."""
    alignment: dict
    """How genes were matched, as in `uns['alignment']`."""

    def lines(self) -> list[str]:
        """The report for people."""
        dropped = [f"dropped {n} cells: {why}" for why, n in self.dropped_cells.items()]
        total = (
            f"{self.n_cells} cells ({self.n_controls} controls) x {self.n_genes} genes, "
            f"{self.n_perturbations} perturbations, {len(self.cell_lines)} cell lines ({few(self.cell_lines, 4)})"
        )
        return [*self.statements, *(f"question: {text}" for text in self.questions), *dropped, total]


def convert(in_path: str | Path, out_path: str | Path, options: ConvertOptions | None = None) -> ConvertReport:
    """Convert a file with raw counts (CSR, CSC or dense) into a screen-v1 folder.

    Args:
        in_path: An .h5ad file, an AnnData zarr folder, a 10x .h5 file or a folder with matrix.mtx.
        out_path: The screen; a name that ends in `.zarr`. Appears whole or not at all.
        options: How to read the file.

    Returns:
        What was guessed, dropped, matched and written.

    Raises:
        SourceError: The input is none of these, or truncated or damaged.
        OptionError: An open question, with `strict`.
        ColumnError, ControlError, CountsError, GeneError, TooFewError: Each with the flag that mends it.
        OutputError: The target exists or its name does not end in `.zarr`.
    """
    options = options or ConvertOptions()
    out_path = check_target(out_path, kind="screen", overwrite=options.overwrite, inputs=_inputs(in_path, options))
    if out_path.suffix != ".zarr":
        raise OutputError(out_path, "output", "a name that ends in .zarr", repr(out_path.name), "Choose such a name.")
    with open_source(in_path, options.obs_table) as source:
        plan = make_plan(source, options)
        if options.strict and plan.notes.questions:
            do = "Decide it with that flag, or leave --strict out."
            found = f"{len(plan.notes.questions)}: {'; '.join(plan.notes.questions)}"
            raise OptionError(in_path, "--strict", "no open question", found, do)
        with open_part(out_path, plan.job()) as part:
            spool = _spool_counts(plan, part)
            obs, notes, filtered = _judge_cells(plan, spool)
            _write(plan, spool, obs, filtered, out_path, part)
    perturbed = ~obs["is_control"]
    return ConvertReport(
        path=out_path,
        n_cells=len(obs),
        n_genes=len(plan.columns.var),
        n_controls=int((~perturbed).sum()),
        n_perturbations=int(obs.loc[perturbed, "perturbation"].nunique()),
        cell_lines=sorted(obs["cell_line"].unique()),
        dropped_cells={why: n for why, n in notes.dropped.items() if n},
        statements=list(notes.statements),
        questions=list(notes.questions),
        alignment=plan.columns.alignment,
    )


def _inputs(in_path: str | Path, options: ConvertOptions) -> list[str | Path]:
    given = (options.panel, options.gene_table, options.aliases, options.obs_table)
    return [in_path, *(path for path in given if path is not None)]


def _spool_counts(plan: Plan, part: Path) -> Spool:
    """All counts of the source in the work folder, rows readable in any order."""
    source, matrix = plan.source, plan.matrix
    spool = Spool(part / "spool", *matrix.shape)
    spool.fill(
        matrix,
        obs_names=source.obs.index,
        var_names=source.var(matrix.name).index,
        whole=not plan.options.backed,
        hint=lambda: find_counts(source, matrix.name),
        keep=None if plan.features.all() else plan.features,
        rounding=plan.options.round,
    )
    if not plan.options.trust_counts:
        refuse_rescaled(spool, np.flatnonzero(plan.features), matrix)
    return spool


def _judge_cells(plan: Plan, spool: Spool) -> tuple[pd.DataFrame, Notes, dict | None]:
    """The cells that stay, with total counts; all notes; and what `uns["filters"]` says."""
    path = plan.source.path
    obs, more = add_totals(plan.cells.obs, spool, plan.options.columns, plan.source.obs, path)
    notes = plan.notes + more
    if plan.options.control_only:
        return obs, notes, None
    check_enough(obs, path)
    places = np.flatnonzero(plan.features)
    obs, more, filtered = apply_filters(obs, spool, plan.genes, places, plan.options.filters, path)
    if more.dropped:
        check_enough(obs, path)
    return obs, notes + more, filtered


def _write(plan: Plan, spool: Spool, obs: pd.DataFrame, filtered: dict | None, out_path: Path, part: Path) -> None:
    """Write the screen; rows are gathered from the spool as the writer asks for them."""
    place = obs["place"].to_numpy()
    parents = read_note(part / "parents.json") or {plan.source.path.name: sha256_tree(plan.source.path)}
    write_note(part / "parents.json", parents)

    def rows(order: np.ndarray):
        return plan.columns(spool.rows(place[order]))

    write_screen(
        obs.drop(columns="place"),
        plan.columns.var,
        rows,
        out_path,
        alignment=plan.columns.alignment,
        parents=parents,
        config=plan.config(),
        seed=plan.options.seed,
        max_count=plan.columns.most(spool.max_g),
        overwrite=plan.options.overwrite,
        filters=filtered,
        part=part,
        target_genes=plan.cells.target_genes,
        controls_only=plan.options.control_only,
    )
