"""From a screen and its split to the training table, reading no cell of a held-out condition.

Only rows of training conditions and control cells are read from disk; held-out conditions contribute their names, modes
and doses. delta = mean of the perturbed cells minus the controls of the same batches, weighted as the perturbed cells are
spread over batches (docs/contracts/splits-v1.md). The controls are all that are not kept for evaluation: `reference` and
`input` together for the effects that every model is fitted on, each of the two alone for out-of-fold errors
(docs/decisions/0002-three-control-sets.md).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from vc_contracts.progress import progress

from vc_model.contracts import FeatureBank, Screen, Splits, read_features, read_screen, read_splits
from vc_model.contracts.screen import CONTROL, slices
from vc_model.errors import TableError
from vc_model.stored import stored
from vc_model.table.coexpression import coexpression
from vc_model.table.effects import Action, Conditions, Contexts, EffectTable
from vc_model.table.names import actions_as_model, bank_as_screen, genes_in

logger = logging.getLogger(__name__)


@stored
@dataclass(frozen=True, eq=False)
class ControlCells:
    """Single control cells of every line, as models of cells see them.

    Attributes:
        lines: Names of the lines.
        line_n: [n] position in `lines`.
        x_ng: [n, g] float32 log1p CP10k.
        total_n: [n] float32, log1p of the raw total count.
    """

    lines: tuple[str, ...]
    line_n: np.ndarray
    x_ng: np.ndarray
    total_n: np.ndarray

    def of(self, line: str) -> tuple[np.ndarray, np.ndarray]:
        """Cells of one line and their totals.

        Raises:
            TableError: If there are none.
        """
        if line not in self.lines:
            raise TableError(f"Cell line {line!r}: expected one of {list(self.lines)[:10]!r}. Give its control cells.")
        at_n = self.line_n == self.lines.index(line)
        return self.x_ng[at_n], self.total_n[at_n]


TARGET_SUM = 10_000  # counts per cell after scaling, the CP10k convention
COEXPRESSION_CELLS = 2_000  # control cells they are learnt from; bounds the cell x cell decomposition
FEW_CONTROLS = 20  # of a cell line, below which users are told what their intervals are made of


def load_tables(
    screen: Screen | Path | str,
    splits: Splits | Path | str,
    features: FeatureBank | Path | str | Sequence[FeatureBank | Path | str] | None = None,
) -> tuple[EffectTable, Conditions, Conditions]:
    """Make the training table and the conditions to predict.

    Args:
        screen: screen-v1, opened or a path.
        splits: splits-v1 of that screen, read or a path.
        features: features-v1, read or a path; several of them, each a source of its own; or None.

    Returns:
        train: Effects of the `train` conditions over all measured genes.
        val: The `val` conditions; their cells were not read.
        test: The `test` conditions; their cells were not read.

    Raises:
        ContractError: If a file breaks its contract.
        TableError: If a line lacks input controls, or a line with training conditions lacks reference controls.
    """
    screen = screen if isinstance(screen, Screen) else read_screen(screen)
    splits = splits if isinstance(splits, Splits) else read_splits(splits, screen)
    sources = [features] if isinstance(features, FeatureBank | Path | str) else list(features or ())
    banks = tuple(source if isinstance(source, FeatureBank) else read_features(source) for source in sources)
    gene_mask = screen.var["measured"].to_numpy()
    conditions = {part: _read_conditions(screen, splits, part) for part in ("train", "val", "test")}
    controls = _Controls(screen, splits, gene_mask)
    contexts = replace(controls.summarise(None), names=screen.targets.to_text())
    banks = tuple(bank_as_screen(contexts, bank) for bank in banks)
    table = _measure(screen, conditions["train"], controls, contexts, gene_mask, banks)
    val, test = (replace(conditions[part], contexts=contexts) for part in ("val", "test"))
    return table, val, test


def load_conditions(screen: Screen | Path | str, splits: Splits | Path | str, part: str, like: Contexts) -> Conditions:
    """Conditions of one part with the contexts of this screen, for a model fitted earlier.

    Args:
        screen: screen-v1, opened or a path; it must measure every gene of the model.
        splits: splits-v1 of that screen.
        part: `train`, `val` or `test`.
        like: The model's contexts; their genes and co-expression components are used.

    Raises:
        TableError: If a gene of the model is not measured here.
    """
    import pandas as pd

    screen = screen if isinstance(screen, Screen) else read_screen(screen)
    splits = splits if isinstance(splits, Splits) else read_splits(splits, screen)
    measured_g = np.flatnonzero(screen.var["measured"].to_numpy())
    position = screen.var.index[measured_g].get_indexer(pd.Index(genes_in(screen.targets, like.genes)))
    if (position < 0).any():
        absent = [gene for gene, at in zip(like.genes, position, strict=True) if at < 0]
        raise TableError(f"{screen.path}: expected all {len(like.genes)} genes of the model, found {len(absent)} not "
                         f"measured, e.g. {absent[:5]!r}. Convert onto the gene list the model was fitted on.")  # fmt: skip
    own = _Controls(screen, splits, measured_g[position]).summarise(like.basis_gk)
    found = _read_conditions(screen, splits, part)
    actions = actions_as_model(like, screen.targets, found.actions)
    return Conditions(found.cell_line, actions, replace(own, genes=like.genes, names=like.names), found.perturbation)


def load_control_cells(
    screen: Screen | Path | str, splits: Splits | Path | str, genes: Sequence[str], per_line: int
) -> ControlCells:
    """Read `input` control cells of every line, evenly spaced over the screen, so that no seed is needed.

    Args:
        screen: screen-v1, opened or a path.
        splits: splits-v1 of that screen.
        genes: The genes wanted, all measured here.
        per_line: At most so many cells of each line; the same number of each, the least that any line has.

    Raises:
        TableError: If a gene is not in the screen, or a line has no input control.
    """
    import pandas as pd

    screen = screen if isinstance(screen, Screen) else read_screen(screen)
    splits = splits if isinstance(splits, Splits) else read_splits(splits, screen)
    columns = screen.var.index.get_indexer(pd.Index(genes_in(screen.targets, genes)))
    if (columns < 0).any():
        raise TableError(f"{screen.path}: expected all genes of the model, found {(columns < 0).sum()} absent.")
    rows, line_n, lines = input_rows(screen, splits, per_line)
    blocks = [log1p_cp10k(screen, run[0], run[-1] + 1, columns)[run - run[0]].toarray() for run in slices(rows)]
    x_ng = np.concatenate(blocks)
    total_n = np.log1p(screen.obs["total_counts"].to_numpy(np.float64)[rows]).astype(np.float32)
    return ControlCells(lines, np.array([lines.index(line_n[row]) for row in rows]), x_ng, total_n)


def input_rows(screen: Screen, splits: Splits, per_line: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Rows of `input` controls, the same number of each line, evenly spaced; the line of every row; the lines."""
    line_n = screen.obs["cell_line"].astype(str).to_numpy()
    is_input = screen.obs.index.isin(splits.controls["input"])
    lines = tuple(dict.fromkeys(line_n.tolist()))
    counts = {line: int((is_input & (line_n == line)).sum()) for line in lines}
    bare = [line for line, count in counts.items() if count == 0]
    if bare:
        raise TableError(f"{splits.path}: controls.input: expected cells of every line, found none of {bare[:5]!r}.")
    rows = np.flatnonzero(_spread_over_lines(is_input, line_n, min(per_line, *counts.values())))
    return rows, line_n, lines


def _read_conditions(screen: Screen, splits: Splits, part: str) -> Conditions:
    """Names, modes and doses of the conditions of a part, in the order of the screen."""
    first: dict[tuple[str, str], tuple[int, int]] = {}
    groups = zip(*(screen.groups[key] for key in ("cell_line", "perturbation", "start", "stop")), strict=True)
    for line, label, start, stop in groups:
        key = (str(line), str(label))
        if splits.parts.get(key) == part:
            first[key] = (first[key][0] if key in first else int(start), int(stop))
    obs = screen.obs
    mode_n, dose_n = obs["mode"].to_numpy(), np.nan_to_num(obs["dose"].to_numpy(dtype=np.float64), nan=0.0)
    target_n = obs["target"].astype(str).to_numpy()
    actions = []
    for key, (start, stop) in first.items():
        described = {(target_n[i], int(mode_n[i]), float(dose_n[i])) for i in range(start, stop)}
        if len(described) > 1:
            raise TableError(
                f"{screen.path}: condition {key}: expected one target, mode and dose, found {len(described)}. "
                "Give cells of another mode or dose a perturbation label of their own."
            )
        target, mode, dose = described.pop()
        actions.append(Action(tuple(target.split("+")), mode, dose))
    return Conditions(
        np.array([line for line, _ in first], dtype=object), tuple(actions), None, tuple(label for _, label in first)
    )


def log1p_cp10k(screen: Screen, start: int, stop: int, columns: np.ndarray) -> Any:
    """log1p CP10k of some rows, divided by the library size over all genes the source measured."""
    x: Any = screen.rows(start, stop)
    x = x if np.array_equal(columns, np.arange(x.shape[1])) else x[:, columns]
    total_n = screen.obs["total_counts"].to_numpy()[start:stop].astype(np.float64)
    scale_n = np.divide(TARGET_SUM, total_n, out=np.zeros_like(total_n), where=total_n > 0)
    x.data = np.log1p(x.data * np.repeat(scale_n, np.diff(x.indptr))).astype(np.float32)
    return x


class _Controls:
    """Sums over the control cells of every (cell line, batch), by role."""

    def __init__(self, screen: Screen, splits: Splits, columns: np.ndarray) -> None:
        self.screen = screen
        self.columns = np.flatnonzero(columns) if columns.dtype == bool else columns
        self.genes = tuple(screen.var.index[self.columns].astype(str))
        control = screen.groups[screen.groups["perturbation"].astype(str) == CONTROL]
        self.slots = [
            (str(line), str(batch)) for line, batch in zip(control["cell_line"], control["batch"], strict=True)
        ]
        self.lines = tuple(dict.fromkeys(line for line, _ in self.slots))
        n_slots, n_genes = len(self.slots), len(self.genes)
        self.sum_srg = {role: np.zeros((n_slots, n_genes)) for role in ("input", "reference")}
        self.n_sr = {role: np.zeros(n_slots) for role in ("input", "reference")}
        self.square_sg, self.detected_sg = np.zeros((n_slots, n_genes)), np.zeros((n_slots, n_genes))
        member = {role: screen.obs.index.isin(splits.controls[role]) for role in ("input", "reference")}
        used_n = member["input"] | member["reference"]
        per_line = max(1, COEXPRESSION_CELLS // max(1, len(self.lines)))
        sampled_n = _spread_over_lines(used_n, screen.obs["cell_line"].astype(str).to_numpy(), per_line)
        sample: list[tuple[int, np.ndarray]] = []
        ranges = list(zip(control["start"], control["stop"], strict=True))
        for slot, (start, stop) in enumerate(progress(ranges, desc="controls")):
            for a, b in screen.blocks(int(start), int(stop)):
                x: Any = log1p_cp10k(screen, a, b, self.columns)
                for role, member_n in member.items():
                    mask = member_n[a:b].astype(np.float64)
                    self.sum_srg[role][slot] += mask @ x
                    self.n_sr[role][slot] += mask.sum()
                used = used_n[a:b].astype(np.float64)
                self.square_sg[slot] += used @ x.multiply(x)
                self.detected_sg[slot] += used @ (x > 0).astype(np.float64)
                if sampled_n[a:b].any():
                    sample.append((self.lines.index(self.slots[slot][0]), x[sampled_n[a:b]].toarray()))
        self.sample = sample
        self.sum_srg["both"] = self.sum_srg["input"] + self.sum_srg["reference"]
        self.n_sr["both"] = self.n_sr["input"] + self.n_sr["reference"]
        self.line_s = np.array([self.lines.index(line) for line, _ in self.slots])
        bare = [line for at, line in enumerate(self.lines) if self.n_sr["input"][self.line_s == at].sum() == 0]
        absent = sorted(set(screen.groups["cell_line"].astype(str)) - set(self.lines))
        n_c = {line: int(self.n_sr["both"][self.line_s == at].sum()) for at, line in enumerate(self.lines)}
        few = ", ".join(f"{n} of {line}" for line, n in n_c.items() if n < FEW_CONTROLS)
        if few:
            logger.warning(
                "%s: only %s control cells beside those kept for scoring: every effect carries their noise, and intervals are wide. "
                "Add control cells where you can.",
                screen.path,
                few,
            )
        if bare or absent:
            raise TableError(
                f"{splits.path}: controls.input: expected cells of every cell line, found none of {(bare + absent)[:5]!r}. "
                "Leave these lines out of the screen, or split it again."
            )

    def summarise(self, basis_gk: np.ndarray | None) -> Contexts:
        """Profiles, noise and co-expression of each line; the components are learnt when none are given."""
        lines = np.arange(len(self.lines))
        one_cs = (self.line_s == lines[:, None]).astype(np.float64)
        n_s, sum_sg = self.n_sr["both"], self.sum_srg["both"]
        within_cg = one_cs @ (self.square_sg - sum_sg**2 / np.maximum(n_s, 1)[:, None])
        dof_c = one_cs @ np.maximum(n_s - 1, 0)
        pooled_g = within_cg.sum(axis=0) / max(dof_c.sum(), 1)
        # A line with few controls borrows ten degrees of freedom from all lines together.
        sigma2_cg = (within_cg + 10 * pooled_g) / (dof_c + 10)[:, None]
        sigma2_cg = np.maximum(sigma2_cg, 1e-6)
        mean_rcg = {
            role: (one_cs @ self.sum_srg[role]) / np.maximum(one_cs @ self.n_sr[role], 1)[:, None] for role in self.n_sr
        }
        loadings_cgk, basis_gk = coexpression(self.sample, len(self.lines), len(self.genes), basis_gk)
        return Contexts(
            genes=self.genes,
            cell_lines=self.lines,
            input_cg=mean_rcg["input"].astype(np.float32),
            base_cg=mean_rcg["both"].astype(np.float32),
            sigma2_cg=sigma2_cg.astype(np.float32),
            detected_cg=((one_cs @ self.detected_sg) / (one_cs @ n_s)[:, None]).astype(np.float32),
            loadings_cgk=loadings_cgk,
            basis_gk=basis_gk,
        )


def _spread_over_lines(used_n: np.ndarray, line_n: np.ndarray, per_line: int) -> np.ndarray:
    """[n] bool, at most `per_line` used cells of each line, evenly spaced so that no seed is needed."""
    sampled_n = np.zeros(len(used_n), dtype=bool)
    for line in np.unique(line_n[used_n]):
        cells = np.flatnonzero(used_n & (line_n == line))
        sampled_n[cells[np.linspace(0, len(cells) - 1, min(per_line, len(cells))).astype(np.int64)]] = True
    return sampled_n


def _measure(
    screen: Screen,
    conditions: Conditions,
    controls: _Controls,
    contexts: Contexts,
    gene_mask: np.ndarray,
    banks: tuple[FeatureBank, ...],
) -> EffectTable:
    columns = np.flatnonzero(gene_mask)
    row_of = {key: row for row, key in enumerate(zip(conditions.cell_line, conditions.perturbation, strict=True))}
    slot_of = {key: slot for slot, key in enumerate(controls.slots)}
    ranges: dict[int, list[tuple[int, int]]] = {}
    n_p, n_slots = len(conditions), len(controls.slots)
    cells_ps, unknown_p = np.zeros((n_p, n_slots)), np.zeros(n_p)
    bare_batches: set[tuple[str, str]] = set()
    groups = (screen.groups[key] for key in ("cell_line", "perturbation", "batch", "start", "stop"))
    for line, label, batch, start, stop in zip(*groups, strict=True):
        row = row_of.get((str(line), str(label)))
        if row is None:
            continue
        ranges.setdefault(row, []).append((int(start), int(stop)))
        slot = slot_of.get((str(line), str(batch)))
        if slot is None:
            unknown_p[row] += stop - start
        else:
            cells_ps[row, slot] += stop - start
        if slot is None or controls.n_sr["reference"][slot] == 0:
            bare_batches.add((str(line), str(batch)))
    sum_pg = np.zeros((n_p, len(columns)))
    for row in progress(range(n_p), desc="conditions"):
        # A condition is one contiguous slice: its batches follow each other.
        for a, b in screen.blocks(ranges[row][0][0], ranges[row][-1][1]):
            sum_pg[row] += np.asarray(log1p_cp10k(screen, a, b, columns).sum(axis=0)).ravel()
    n_cells_p = cells_ps.sum(axis=1) + unknown_p
    mean_pg = sum_pg / n_cells_p[:, None]
    matched = {
        role: _match(role, cells_ps, unknown_p, conditions, controls, screen) for role in ("reference", "input", "both")
    }
    unmatched = int(n_cells_p.sum() - cells_ps[:, controls.n_sr["reference"] > 0].sum())
    notes = {"batches_without_reference": len(bare_batches), "cells_without_batch_reference": unmatched}
    if bare_batches:
        logger.warning(
            "%s: %d batch(es) have no reference control; %d cells were compared with their cell line's controls",
            screen.path,
            len(bare_batches),
            unmatched,
        )
    return EffectTable(
        contexts=contexts,
        conditions=Conditions(conditions.cell_line, conditions.actions, contexts, conditions.perturbation),
        delta_pg=(mean_pg - matched["both"][0]).astype(np.float32),
        half_pg=(mean_pg - matched["reference"][0]).astype(np.float32),
        check_pg=(mean_pg - matched["input"][0]).astype(np.float32),
        n_cells_p=n_cells_p.astype(np.float32),
        n_controls_p=matched["both"][1].astype(np.float32),
        n_half_p=matched["reference"][1].astype(np.float32),
        n_check_p=matched["input"][1].astype(np.float32),
        bank=banks[0] if banks else None,
        more_banks=banks[1:],
        notes=notes,
    )


def _match(
    role: str,
    cells_ps: np.ndarray,
    unknown_p: np.ndarray,
    conditions: Conditions,
    controls: _Controls,
    screen: Screen,
) -> tuple[np.ndarray, np.ndarray]:
    """Control profile of one role in the batches of each condition, [p, g], and its effective number of cells, [p].

    Cells of batches that have no such control are compared with all such controls of their line.
    """
    n_s = controls.n_sr[role]
    weight_ps = np.where(n_s > 0, cells_ps, 0)
    unmatched_p = unknown_p + cells_ps.sum(axis=1) - weight_ps.sum(axis=1)
    for at, line in enumerate(controls.lines):
        rows = np.flatnonzero(conditions.cell_line == line)
        share_s = np.where(controls.line_s == at, n_s, 0)
        if len(rows) and share_s.sum() == 0:
            raise TableError(
                f"{screen.path}: cell line {line!r} has {len(rows)} training conditions but no {role} control. "
                "Split the screen again with more controls, or leave the line out."
            )
        weight_ps[rows] += unmatched_p[rows, None] * share_s / max(share_s.sum(), 1)
    weight_ps /= weight_ps.sum(axis=1, keepdims=True)
    profile_sg = controls.sum_srg[role] / np.maximum(n_s, 1)[:, None]
    return weight_ps @ profile_sg, 1 / (weight_ps**2 @ (1 / np.maximum(n_s, 1)))
