"""From the loader's batches to those of the training stages.

| stage | loader mode | a batch |
|---|---|---|
| pretrain | `cells` | training cells and the controls of the split's `input` and `reference` lists |
| align | none | distinct actions that have both a sequence and a target vector |
| ac, decode | `sets` of one cell | a training cell and one random `input` control of the same batch |

No cell of a held-out condition and no evaluation control is ever read here: the loader knows the split.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from vc_model.biojepa.actions import ActionBank
    from vc_model.table.effects import Action

Arrays = dict[str, np.ndarray]


class _Loaded:
    """What batches of cells share: a loader, its position, the model's genes, and the library size of every cell.

    `most_expressed` is the most genes that any cell of the screen expresses.
    """

    def __init__(self, screen: Path, splits: Path, genes: Sequence[str], **settings: Any):
        from vc_data.loader import Loader
        from vc_data.screen.file import read_screen

        self.loader = Loader.open([screen], [splits], **settings)
        counts = read_screen(screen)
        total_n = counts.obs["total_counts"].to_numpy(np.float64)
        self.most_expressed = int(np.diff(counts.X.indptr).max())
        self.log_total_n = np.log1p(total_n).astype(np.float32)
        self.measured_g = np.ones(len(genes), bool)
        # The model's genes are those that the screen measured, in its order; usually all.
        self._columns = None if list(genes) == self.loader.genes else [self.loader.genes.index(name) for name in genes]

    def get_state(self) -> dict[str, Any]:
        """Position."""
        return self.loader.get_state()

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a position."""
        self.loader.set_state(state)

    def _genes(self, x_bg: np.ndarray) -> np.ndarray:
        return x_bg if self._columns is None else x_bg[:, self._columns]


class CellBatches(_Loaded):
    """Cells for pretraining: `x`, `total`, `measured`."""

    def __init__(
        self,
        screen: Path,
        splits: Path,
        genes: Sequence[str],
        *,
        batch_size: int,
        seed: int,
        process: tuple[int, int] = (0, 1),
    ):
        at, of = process
        super().__init__(
            screen, splits, genes, mode="cells", batch_size=batch_size, seed=seed, process_index=at, process_count=of
        )

    def __iter__(self) -> Iterator[Arrays]:
        """Batches without end."""
        for batch in self.loader:
            total_b = self.log_total_n[batch["row"]]
            yield {"x": self._genes(batch["x"]), "total": total_b, "measured": self.measured_g}


class PairBatches(_Loaded):
    """Perturbed cells, each with a control of its batch, and what was done: `x_control`, `x_case`, `total_*`, the action.

    With effects, also `x_effect`, the measured effect of the cell's condition.

    Args:
        screen: screen-v1.
        splits: Its splits-v1.
        genes: The model's genes.
        bank: Vectors of targets.
        action_of: Label of a perturbation in the screen -> its action.
        batch_size: Pairs of a batch, of this process.
        seed: Of pairing and order.
        process: Which process this is, and of how many.
        effect_of: `cell line|perturbation` -> [g] its measured effect, of every training condition.
    """

    def __init__(
        self,
        screen: Path,
        splits: Path,
        genes: Sequence[str],
        bank: "ActionBank",
        action_of: Mapping[str, "Action"],
        *,
        batch_size: int,
        seed: int,
        process: tuple[int, int] = (0, 1),
        effect_of: Mapping[str, np.ndarray] | None = None,
    ):
        at, of = process
        super().__init__(
            screen, splits, genes, mode="sets", set_size=1, batch_size=batch_size, seed=seed, controls=("input",),
            process_index=at, process_count=of,
        )  # fmt: skip
        self._bank = bank
        self._index_np = bank.index([action_of[label] for label in self.loader.perturbations])
        labels = [f"{condition.cell_line}|{condition.perturbation}" for condition in self.loader.conditions]
        self._effect_cg = None if effect_of is None else np.stack([effect_of[label] for label in labels])

    def __iter__(self) -> Iterator[Arrays]:
        """Batches without end."""
        for batch in self.loader:
            index_bp = self._index_np[batch["perturbation"]]
            effects = {} if self._effect_cg is None else {"x_effect": self._effect_cg[batch["condition"]]}
            yield {
                "x_control": self._genes(batch["x_input"][:, 0]),
                "x_case": self._genes(batch["x"][:, 0]),
                "total_control": self.log_total_n[batch["input_row"][:, 0]],
                "total_case": self.log_total_n[batch["row"][:, 0]],
                "measured": self.measured_g,
                **effects,
                **self._bank.take(index_bp, batch["mode"][:, 0], batch["dose"][:, 0]),
            }


class ActionBatches:
    """Distinct training actions that have a sequence and a target vector; a batch is a function of the seed and the step."""

    def __init__(
        self,
        bank: "ActionBank",
        actions: Sequence["Action"],
        *,
        batch_size: int,
        seed: int,
        process: tuple[int, int] = (0, 1),
    ):
        arrays = bank.arrays(actions)
        self._actions = [
            a for a, row in zip(actions, arrays["has_seq"] & arrays["has_target"], strict=True) if row.any()
        ]
        self._bank, self._seed, self._step, self._process = bank, seed, 0, process
        self.size = min(batch_size * process[1], len(self._actions)) // process[1]

    def __iter__(self) -> Iterator[Arrays]:
        """Batches without end."""
        at, of = self._process
        while True:
            rng = np.random.default_rng([self._seed, self._step])
            self._step += 1
            drawn = rng.choice(len(self._actions), self.size * of, replace=False)[at::of]
            yield self._bank.arrays([self._actions[i] for i in drawn])

    def get_state(self) -> dict[str, Any]:
        """Position."""
        return {"step": self._step}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a position."""
        self._step = int(state["step"])
