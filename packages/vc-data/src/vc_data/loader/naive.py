"""The reference: the same cells, one random row at a time, from X and obs as screen-v1 has them.

Slow and plain on purpose. It shares with the fast loader which rows make which batch (`sample`), and nothing else: not the
packed counts, not the packed labels, not the compiled passes.
"""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from vc_data.loader.kernel import TARGET_SUM
from vc_data.loader.pack import open_tables
from vc_data.loader.pipeline import Loader


class NaiveLoader:
    """Dense batches of a loader's steps (modes `sets` and `cells`), read row by row.

    Args:
        loader: Whose batches to repeat.
    """

    def __init__(self, loader: Loader):
        self._loader = loader
        self._files = contextlib.ExitStack()
        self._screens = [self._files.enter_context(open_tables(Path(path))) for path in loader.screens]
        self._indptr = [np.asarray(X["indptr"][:]) for *_, X in self._screens]

    def __enter__(self) -> "NaiveLoader":
        return self

    def __exit__(self, *_: Any) -> None:
        self._files.close()

    def read_cell(self, screen: int, row: int) -> np.ndarray:
        """[g] float32 log1p CP10k of one cell."""
        obs, var, _, X = self._screens[screen]
        inside = slice(int(self._indptr[screen][row]), int(self._indptr[screen][row + 1]))
        counts = np.zeros(len(var))
        counts[np.asarray(X["indices"][inside])] = X["data"][inside]
        return np.log1p(counts / obs["total_counts"].iloc[row] * TARGET_SUM).astype(np.float32)

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        """Expression and names of the batch of a step: `x` [b, s, g] (`x_input`, `x_reference`), `row`, `name`."""
        sampler = self._loader.sampler
        draw = sampler.draw(step)
        screens = sampler.unit_screen[draw.unit]
        rows = {"x": (draw.rows, lambda s: sampler.screens[s].row)}
        for name, (positions, _) in draw.controls.items():
            of_pool = lambda s, name=name: sampler.screens[s].row[sampler.pools[s][name].rows]  # noqa: E731
            rows[f"x_{name}"] = positions, of_pool
        batch: dict[str, np.ndarray] = {}
        for key, (places, rows_of) in rows.items():
            row = np.stack([rows_of(s)[place] for s, place in zip(screens, places, strict=True)])
            x = np.stack([[self.read_cell(s, r) for r in one] for s, one in zip(screens, row, strict=True)])
            flat = sampler.settings.mode == "cells"
            batch[key], batch[key.replace("x_", "") + "_row" if key != "x" else "row"] = (
                (x[:, 0], row[:, 0]) if flat else (x, row)
            )
        return batch
