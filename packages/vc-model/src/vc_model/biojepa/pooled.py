"""Latents of populations: means over cells of the frozen encoder, which single cells' noise has left.

The cells of a condition differ from each other by many times an effect, so a pair of cells says little of it and the mean
over a set says all that was measured. With a frozen encoder these means never change: they are made once, and the action
stage (`vc_model.biojepa.conditions`) then needs no encoder.

Letters: n cells, g genes, d latent width, p conditions, l lines.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from vc_contracts.progress import progress

from vc_model.biojepa.config import BioJepaConfig
from vc_model.biojepa.cpu import few_cells
from vc_model.biojepa.stages import bind
from vc_model.contracts import Screen, Splits, read_screen, read_splits
from vc_model.contracts.screen import CONTROL
from vc_model.table.effects import Conditions
from vc_model.table.pseudobulk import ControlCells, log1p_cp10k
from vc_model.table.shift import shift_cells, shift_factors

CELLS_AT_ONCE = 32
"""Cells in one compiled call; the last one is filled up."""
CELLS_OF_A_SHIFT = 16
"""Control cells that are moved to a predicted profile; what they differ by is the same before and after."""


class MeanLatents:
    """Means over cells of an encoder's latents.

    Args:
        cfg: The model.
        encoder: Parameters of the encoder.
    """

    def __init__(self, cfg: BioJepaConfig, encoder: Mapping[str, Any]) -> None:
        self._cfg, self._encoder = cfg, jax.tree.map(jnp.asarray, dict(encoder))

    @property
    def width(self) -> int:
        """D."""
        return self._cfg.width

    def of(self, x_ng: np.ndarray, total_n: np.ndarray) -> np.ndarray:
        """[g, d] float32 mean latents of cells, each read whole.

        Args:
            x_ng: log1p CP10k.
            total_n: log1p of the raw total counts.
        """
        total_gd, n = np.zeros((self._cfg.n_genes, self._cfg.width), np.float32), len(x_ng)
        for start in range(0, n, CELLS_AT_ONCE):
            rows = np.minimum(np.arange(start, start + CELLS_AT_ONCE), n - 1)
            real_n = (np.arange(start, start + CELLS_AT_ONCE) < n).astype(np.float32)
            total_gd += np.asarray(_sum(self._cfg, self._encoder, x_ng[rows], total_n[rows], real_n))
        return total_gd / n

    def shift(self, x_ng: np.ndarray, total_n: np.ndarray, mean_qg: np.ndarray) -> np.ndarray:
        """[q, g, d] float16, how latents of control cells change when their mean profile becomes another one.

        Args:
            x_ng: Control cells.
            total_n: log1p of their raw total counts.
            mean_qg: [q, g] >= 0, the profiles, as a change of the cells' own mean.
        """
        some = np.linspace(0, len(x_ng) - 1, min(CELLS_OF_A_SHIFT, len(x_ng))).astype(int)
        before_gd = self.of(x_ng[some], total_n[some])
        out_qgd = np.empty((len(mean_qg), *before_gd.shape), np.float16)
        for row, mean_g in enumerate(mean_qg):
            moved_ng = shift_cells(x_ng[some], shift_factors(x_ng, mean_g))
            out_qgd[row] = self.of(moved_ng, total_n[some]) - before_gd
        return out_qgd


@partial(jax.jit, static_argnums=0)
def _sum(cfg: BioJepaConfig, encoder: Any, x_ng: jax.Array, total_n: jax.Array, weight_n: jax.Array) -> jax.Array:
    z_ngd = few_cells(bind("encoder", cfg, encoder), (x_ng, total_n), cfg.n_genes)
    return jnp.einsum("ngd,n->gd", z_ngd.astype(jnp.float32), weight_n)


@dataclass(frozen=True, eq=False)
class PooledLatents:
    """What is learnt from.

    Attributes:
        context_lgd: [l, g, d] float32, mean latents of the `input` controls of every line.
        change_pgd: [p, g, d] float16, mean latents of a condition's cells less those of `reference` controls of the same
            batches: the input's own sampling noise is not part of what is to be predicted.
    """

    context_lgd: np.ndarray
    change_pgd: np.ndarray


def pool_latents(
    screen: Screen | Path | str,
    splits: Splits | Path | str,
    means: MeanLatents,
    controls: ControlCells,
    conditions: Conditions,
    genes: tuple[str, ...],
    per_condition: int,
) -> PooledLatents:
    """Encode some cells of every training condition and their controls, and keep the means.

    Args:
        screen: screen-v1, opened or a path.
        splits: splits-v1 of that screen.
        means: The frozen encoder.
        controls: `input` controls of every line, the contexts.
        conditions: The p training conditions; no other perturbed cell is read.
        genes: Of the model, all measured here.
        per_condition: At most so many cells of a condition, and of the controls of a batch, evenly spaced.
    """
    screen = screen if isinstance(screen, Screen) else read_screen(screen)
    splits = splits if isinstance(splits, Splits) else read_splits(splits, screen)
    cells = _Cells(screen, splits, genes, per_condition)
    context_lgd = np.stack([means.of(*controls.of(line)) for line in controls.lines])
    reference = _References(cells, means)
    change_pgd = np.empty((len(conditions), *context_lgd.shape[1:]), np.float16)
    pairs = zip(conditions.cell_line, conditions.perturbation, strict=True)
    for row, (line, label) in enumerate(progress(list(pairs), desc="latents of conditions")):
        rows = cells.of_condition(str(line), str(label))
        change_pgd[row] = means.of(*cells.read(rows)) - reference.beside(str(line), rows)
    return PooledLatents(context_lgd, change_pgd)


class _Cells:
    """Rows of a screen by condition and by batch of controls, and their expression."""

    def __init__(self, screen: Screen, splits: Splits, genes: tuple[str, ...], most: int) -> None:
        import pandas as pd

        self._screen, self._most = screen, most
        self._columns = screen.var.index.get_indexer(pd.Index(list(genes)))
        self.batch_n = screen.obs["batch"].astype(str).to_numpy()
        is_reference = screen.obs.index.isin(splits.controls["reference"])
        self._slices: dict[tuple[str, str], list[int]] = {}
        self.reference: dict[tuple[str, str], np.ndarray] = {}
        groups = (screen.groups[key] for key in ("cell_line", "perturbation", "batch", "start", "stop"))
        for line, label, batch, start, stop in zip(*groups, strict=True):
            rows = np.arange(int(start), int(stop))
            if str(label) == CONTROL:
                rows = rows[is_reference[rows]]
                if len(rows):
                    self.reference[str(line), str(batch)] = self._some(rows)
            else:
                self._slices.setdefault((str(line), str(label)), []).extend(rows.tolist())

    def of_condition(self, line: str, label: str) -> np.ndarray:
        """Rows of some cells of a condition."""
        return self._some(np.array(self._slices[line, label]))

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[n, g] log1p CP10k of rows in ascending order, and [n] log1p of their raw totals."""
        x: Any = log1p_cp10k(self._screen, int(rows[0]), int(rows[-1]) + 1, self._columns)[rows - rows[0]]
        total_n = self._screen.obs["total_counts"].to_numpy(np.float64)[rows]
        return x.toarray().astype(np.float32), np.log1p(total_n).astype(np.float32)

    def _some(self, rows: np.ndarray) -> np.ndarray:
        return rows[np.linspace(0, len(rows) - 1, min(self._most, len(rows))).astype(int)]


class _References:
    """Mean latents of the `reference` controls beside the cells of a condition."""

    def __init__(self, cells: _Cells, means: MeanLatents) -> None:
        self._cells = cells
        self._mean = {
            key: means.of(*cells.read(rows))
            for key, rows in progress(list(cells.reference.items()), desc="latents of controls")
        }

    def beside(self, line: str, rows: np.ndarray) -> np.ndarray:
        """[g, d], weighted as these cells are spread over batches; of all batches of the line where there is none."""
        own = {batch: mean for (of, batch), mean in self._mean.items() if of == line}
        batches = [batch for batch in self._cells.batch_n[rows] if batch in own] or list(own)
        names, count = np.unique(batches, return_counts=True)
        return np.average([own[name] for name in names], axis=0, weights=count).astype(np.float32)
