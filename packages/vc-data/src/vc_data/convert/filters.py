"""Which converted cells are left out on request: perturbations and cells without knockdown, small conditions, batches.

On-target residual, defined here: x is 10,000 x counts of the target gene / total counts of the cell. The residual of a
perturbation in a cell line is the mean of x over its cells divided by the mean of x over the control cells of that line;
of a cell, its own x divided by the same. Both must be strictly below their limits. Only CRISPRi cells are judged: other
modes need not lower the messenger. A combination is judged by each of its targets that can be. A target that is not among
the genes of the file, or that no control cell expresses, cannot be judged.

The order is: perturbations, cells, batches, then sizes, as in STATE's preprocessing (Adduri et al. 2025), which uses 0.3,
0.5 and 30.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vc_data.convert.counts import Spool
from vc_data.convert.notes import Notes, say
from vc_data.errors import ControlError, OptionError, TooFewError, few
from vc_data.genes.names import GeneNames
from vc_data.options import Filters
from vc_data.text.modes import CRISPRI

BLOCK_ROWS = 4096


def apply_filters(
    obs: pd.DataFrame, spool: Spool, genes: GeneNames, places: np.ndarray, filters: Filters, path: Path
) -> tuple[pd.DataFrame, Notes, dict | None]:
    """Leave cells out.

    Args:
        obs: [n] Cells with `place` (row in the spool) and `total_counts`.
        spool: Counts of the source.
        genes: Genes of the source.
        places: [genes] Column of each gene in the spool.
        filters: What is asked for.
        path: File name for messages.

    Returns:
        The cells that stay, what was decided and dropped, and the JSON object for `uns["filters"]` (None: nothing asked).

    Raises:
        OptionError: A limit that is not above 0, or one for knockdown where no cell is CRISPRi.
        ControlError: A batch without controls, where that is to be refused.
        TooFewError: Nothing but controls is left.
    """
    limits = {"max_residual": filters.max_residual, "max_cell_residual": filters.max_cell_residual}
    for name, limit in limits.items():
        if limit is not None and not limit > 0:
            flag = f"--{name.replace('_', '-')}"
            raise OptionError(path, flag, "a share above 0", limit, "Pass for example 0.3.")
    dropped: dict[str, int] = {}
    report: dict = {}
    notes = Notes()

    def leave(keep: np.ndarray, why: str):
        n = int((~keep).sum())
        if n:
            dropped[why] = n
        return obs[keep]

    if any(limit is not None for limit in limits.values()):
        judged = on_target(obs, spool, genes, places, path)
        report["on_target"] = judged.to_json()
        if not filters.keep_unjudged:
            obs, judged = leave(judged.known, "target not measured or not expressed in controls"), judged.keep("known")
        if filters.max_residual is not None:
            low = ~(judged.residual >= filters.max_residual)
            obs = leave(low, f"on-target residual of the perturbation {filters.max_residual:g} or more")
            judged = judged.take(low)
        if filters.max_cell_residual is not None:
            low = ~(judged.cell_residual >= filters.max_cell_residual)
            obs = leave(low, f"on-target residual of the cell {filters.max_cell_residual:g} or more")
    lonely = without_controls(obs)
    if lonely.any():
        batches = obs.loc[lonely, ["cell_line", "batch"]].astype(str).agg("/".join, axis=1).unique()
        found = (
            f"{len(batches)} batches without control cells of their line ({few(batches, 3)}): {int(lonely.sum())} cells"
        )
        if filters.batches_without_controls == "refuse":
            do = "Pass --batches-without-controls keep or drop, another --batch, or --batch none."
            raise ControlError(path, "obs", "control cells in every batch", found, do)
        if filters.batches_without_controls == "drop":
            obs = leave(~lonely, "batch without control cells")
        else:
            notes = say(f"{found}, kept")
    if filters.min_cells > 1:
        sizes = obs.groupby(["cell_line", "perturbation"])["place"].transform("size")
        small = (sizes < filters.min_cells).to_numpy() & ~obs["is_control"].to_numpy()
        obs = leave(~small, f"condition with fewer than {filters.min_cells} cells")
    if obs["is_control"].all():
        found = "; ".join(f"{why}: {n} cells" for why, n in dropped.items())
        raise TooFewError(path, "filters", "perturbed cells that pass", f"none ({found})", "Relax the filters.")
    asked = filters != Filters()
    return (
        obs,
        notes + Notes(dropped=dropped),
        {"settings": vars(filters), "dropped": dropped, **report} if asked else None,
    )


def without_controls(obs) -> np.ndarray:
    """[n] bool: perturbed cells in a (cell line, batch) that holds no control cell; unknown batches count as one."""
    keys = obs["cell_line"].astype(str) + "\x1f" + obs["batch"].astype(str)
    return ~keys.isin(keys[obs["is_control"].to_numpy()].unique()).to_numpy() & ~obs["is_control"].to_numpy()


@dataclass(frozen=True)
class OnTarget:
    """How far targets went down; for controls and for modes other than CRISPRi `known` is true and residuals are NaN."""

    known: np.ndarray
    """[n] bool: judged, or not to be judged."""
    residual: np.ndarray
    """[n] Residual of the cell's perturbation in its cell line; the greatest where it has several targets."""
    cell_residual: np.ndarray
    """[n] Residual of the cell."""
    table: list[dict]
    """One object per judged (cell line, perturbation): `cell_line`, `perturbation`, `residual`."""

    def take(self, keep: np.ndarray) -> "OnTarget":
        """The same for some of the cells."""
        return OnTarget(self.known[keep], self.residual[keep], self.cell_residual[keep], self.table)

    def keep(self, name: str) -> "OnTarget":
        """The same for the cells of which a boolean field is true."""
        return self.take(getattr(self, name))

    def to_json(self) -> list[dict]:
        """The table, rounded."""
        return [row | {"residual": round(row["residual"], 4)} for row in self.table]


def on_target(obs: pd.DataFrame, spool: Spool, genes: GeneNames, places: np.ndarray, path: Path) -> OnTarget:
    """Measure how much of each target's expression is left, in one pass over the counts.

    Raises:
        OptionError: No cell is CRISPRi.
    """
    is_crispri = (obs["mode"] == CRISPRI).to_numpy() & ~obs["is_control"].to_numpy()
    if not is_crispri.any():
        do = "Pass --mode-name crispri if it is, or leave the knockdown limits out."
        raise OptionError(path, "knockdown limits", "CRISPRi cells", "none", do)
    columns_of: dict[str, list[int]] = {}
    for column, gene_id, symbol in zip(places.tolist(), genes.gene_ids, genes.symbols, strict=True):
        for name in {gene_id, symbol} - {""}:
            columns_of.setdefault(name, []).append(column)
    label = obs["cell_line"].astype(str) + "\x1f" + obs["perturbation"].astype(str)
    first = label[is_crispri].drop_duplicates()
    at: Any = obs.at
    targets_of = {key: at[cell, "target"].split("+") for cell, key in first.items()}
    wanted = sorted({t for targets in targets_of.values() for t in targets if t in columns_of})
    line, place = obs["cell_line"].astype(str).to_numpy(), obs["place"].to_numpy()
    x_nt = _expression(spool, place, obs["total_counts"].to_numpy(np.float64), [columns_of[t] for t in wanted])
    number = {target: i for i, target in enumerate(wanted)}
    is_control = obs["is_control"].to_numpy()
    base = {
        one: np.asarray(x_nt[is_control & (line == one)].mean(axis=0)).ravel() for one in np.unique(line[is_control])
    }
    known, residual, own = ~is_crispri, np.full(len(obs), np.nan), np.full(len(obs), np.nan)
    table = []
    cells_of: dict[Any, Any] = label[is_crispri].groupby(label[is_crispri]).groups
    for key, cells in cells_of.items():
        rows = obs.index.get_indexer(cells)
        cell_line, perturbation = key.split("\x1f")
        controls = base.get(cell_line)
        if controls is None:
            continue
        judged = [number[t] for t in targets_of[key] if t in number and controls[number[t]] > 0]
        if not judged:
            continue
        ratio_ct = x_nt[rows][:, judged].toarray() / controls[judged]
        known[rows], residual[rows], own[rows] = True, ratio_ct.mean(axis=0).max(), ratio_ct.max(axis=1)
        table.append(
            {"cell_line": cell_line, "perturbation": perturbation, "residual": float(ratio_ct.mean(axis=0).max())}
        )
    return OnTarget(known, residual, own, table)


def _expression(spool: Spool, place: np.ndarray, totals: np.ndarray, columns: list[list[int]]) -> Any:
    """[n, targets] CSR: 10,000 x counts / total counts; columns of one target are summed."""
    import scipy.sparse as sp

    width = spool.shape[1]
    rows = [column for group in columns for column in group]
    which = [i for i, group in enumerate(columns) for _ in group]
    pick = sp.csr_matrix((np.ones(len(rows)), (rows, which)), shape=(width, len(columns)))
    blocks = []
    for start in range(0, len(place), BLOCK_ROWS):
        span = slice(start, start + BLOCK_ROWS)
        blocks.append(sp.diags_array(1e4 / totals[span]) @ (spool.rows(place[span]).astype(np.float64) @ pick))
    return sp.csr_matrix(sp.vstack(blocks)) if blocks else sp.csr_matrix((0, len(columns)))
