"""The loader: brings the cells that `sample` draws, fast, in bounded memory.

Blocks of neighbouring rows are read ahead and kept only as long as the shuffle window needs them; control pools stay in
memory in packed form; one compiled pass writes rows as log1p CP10k into buffers that are used again once no one holds
them. `ahead` prepares batches before they are asked for.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

import numpy as np

from vc_data.errors import few
from vc_data.loader import kernel
from vc_data.loader.ahead import Ahead, default_threads
from vc_data.loader.batch import CellBatch, ProfileBatch, SetBatch
from vc_data.loader.eligible import POOLS, LoaderError, select_cells
from vc_data.loader.memory import Blocks, Buffers, ControlPools, read_rows, scale_rows
from vc_data.loader.pack import pack_screen
from vc_data.loader.packed import load_packed
from vc_data.loader.sample import MODES, Draw, Sampler, Settings, Weights

BATCH_SIZES = {"sets": 8, "cells": 512, "pseudobulk": 16}
"""Items per batch where none is given."""


class Loader:
    """An endless (or `epochs` long) iterator over batches of one or several screens; make it with `Loader.open`.

    Attributes:
        screens: Paths of the screens.
        genes: The gene axis.
        measured: [screens, g] bool: false where a screen did not measure a gene (its counts are filled with 0).
        conditions, perturbations, cell_lines, batches: What the codes in a batch mean; training conditions only.
        steps_per_epoch: Batches of one epoch, the same for every process.
        fallbacks: List -> tier -> number of training cells whose matched controls come from there.
        excluded: Conditions left out because another screen's split holds their targets out.
        max_nonzero: Width k of padded sparse output.
    """

    @classmethod
    def open(
        cls,
        screens: Sequence[str | Path],
        splits: Sequence[str | Path | None] | None = None,
        *,
        mode: Literal["sets", "cells", "pseudobulk"] = "sets",
        set_size: int = 64,
        batch_size: int | None = None,
        seed: int = 0,
        output: Literal["dense", "padded_sparse"] = "dense",
        controls: Sequence[str] = ("input",),
        weights: Weights | None = None,
        epochs: int | None = None,
        shuffle_cells: int = 32_768,
        process_index: int = 0,
        process_count: int = 1,
        read_threads: int | None = None,
        packed_dir: str | Path | None = None,
    ) -> "Loader":
        """Open screens for training; makes their packed copies where there are none.

        Batches hold conditions of the splits' `train` part only, and controls of the lists in `controls`; never a
        control of an `evaluation` list. Where one split of a mix holds targets out, the other screens' conditions with
        them are left out too (`excluded`).

        Memory: the shuffle window and the blocks read ahead (some 150 MB at 2,000 stored counts a cell), the batches
        that are in use, 25 bytes a cell, and the control pools (in mode `pseudobulk` also the mean of each batch's controls).

        Args:
            screens: screen-v1 files with the same gene axis, of different data sets.
            splits: splits-v1 files, one per screen; None (for one or all) trains on every condition with all controls.
            mode: `sets` of one condition with matched controls; plain `cells`; `pseudobulk` profiles of conditions.
            set_size: Cells in a set.
            batch_size: Sets, cells or profiles in a batch; default 8, 512 or 16.
            seed: Decides every draw, together with the step.
            output: `dense`, or `padded_sparse` (not for `pseudobulk`).
            controls: Lists of the splits from which controls are paired: `input` (what a model sees as the unperturbed
                state), `reference` (what training effects are measured against), or both.
            weights: How often data sets and perturbations are drawn; default: every cell once per epoch.
            epochs: End after as many epochs; default: never.
            shuffle_cells: Size of the window within which batches are mixed, beyond the random order of blocks.
            process_index: Which share of each epoch this process gets.
            process_count: Number of processes that share an epoch.
            read_threads: Threads that prepare batches ahead; 0 prepares each when asked. Default: the cores that this
                process may use, up to 4. The batches are the same for any number.
            packed_dir: Folder for packed copies; default: beside the screens.

        Raises:
            ContractError: A file is absent or breaks its contract, or a split is of another screen.
            LoaderError: Screens or settings that do not go together.
            LeakError: A split trains on what it says it holds out.
        """
        controls = (controls,) if isinstance(controls, str) else tuple(controls)
        splits = [None] * len(screens) if splits is None else list(splits)
        settings = Settings(
            mode=mode,
            set_size=set_size,
            batch_size=BATCH_SIZES.get(mode, 1) if batch_size is None else batch_size,
            seed=seed,
            controls=() if mode == "cells" else controls,
            shuffle_cells=shuffle_cells,
            process_index=process_index,
            process_count=process_count,
        )
        read_threads = default_threads() if read_threads is None else read_threads
        _check_settings(settings, screens, splits, output, epochs, read_threads)
        packed = [load_packed(pack_screen(path, packed_dir), Path(path)) for path in screens]
        paths = [None if path is None else Path(path) for path in splits]
        eligible = select_cells(packed, paths, with_controls=mode == "cells")
        sampler = Sampler(packed, eligible, settings, weights)
        return cls(sampler, output=output, epochs=epochs, read_threads=read_threads)

    def __init__(self, sampler: Sampler, *, output: str, epochs: int | None, read_threads: int):
        self.sampler = sampler
        self.screens = [screen.screen_path for screen in sampler.screens]
        self.genes = list(sampler.screens[0].genes)
        self.measured = np.array([screen.attributes["measured"] for screen in sampler.screens])
        self.conditions = sampler.conditions
        self.perturbations = sampler.perturbations
        self.cell_lines = sampler.cell_lines
        self.batches = sampler.batches
        self.steps_per_epoch = sampler.steps_per_epoch
        self.fallbacks = sampler.fallbacks
        self.excluded = sampler.excluded
        self.max_nonzero = max(screen.attributes["max_nonzero"] for screen in sampler.screens)
        self._length = sys.maxsize if epochs is None else epochs * self.steps_per_epoch
        self._output = output
        self._buffers = Buffers()
        self._blocks = Blocks(sampler, margin=4 * (read_threads + 1))
        self._residents = [
            ControlPools(screen, pools) for screen, pools in zip(sampler.screens, sampler.pools, strict=True)
        ]
        self._batches = Ahead(self.__getitem__, self._length, read_threads)

    def __iter__(self) -> Iterator[SetBatch | CellBatch | ProfileBatch]:
        """The loader itself, at its present position."""
        return self

    def __next__(self) -> SetBatch | CellBatch | ProfileBatch:
        """The next batch."""
        return next(self._batches)

    def __len__(self) -> int:
        """Number of batches of all epochs (`sys.maxsize` where there is no end)."""
        return self._length

    def __getitem__(self, step: int) -> SetBatch | CellBatch | ProfileBatch:
        """The batch of any step, without moving the position.

        Raises:
            IndexError: No such step.
        """
        if not 0 <= step < self._length:
            raise IndexError(f"step {step} is not in 0..{self._length - 1}")
        draw = self.sampler.draw(step)
        if self.sampler.settings.mode == "pseudobulk":
            return self._bring_profiles(draw)
        return self._bring_cells(step, draw)

    def get_state(self) -> dict:
        """Position in the sequence of batches, as JSON-ready values."""
        return {"step": self._batches.position, "fingerprint": self.sampler.fingerprint}

    def set_state(self, state: Mapping) -> None:
        """Go on from a position that `get_state` gave, of a loader of the same data and settings.

        Raises:
            LoaderError: The state is of other data or settings, so the batches to come would not be the same.
        """
        if state.get("fingerprint") != self.sampler.fingerprint or not isinstance(state.get("step"), int):
            found = "a state of other screens, splits, settings, weights or process"
            do = "Open the loader with the arguments of the run that saved the state."
            raise LoaderError("loader state", "fingerprint", "that of this loader", found, do)
        self._batches.move(state["step"])

    def _bring_cells(self, step: int, draw: Draw) -> SetBatch | CellBatch:
        sampler = self.sampler
        shape = draw.rows.shape
        epoch = step // sampler.steps_per_epoch
        plan = sampler.plan(epoch)
        self._blocks.read_ahead(epoch, plan, step % sampler.steps_per_epoch)
        place = np.arange(draw.rows.size).reshape(shape)
        table = self._make_table(draw, shape)
        x = self._make_output(draw.rows.size)
        for block in np.unique(draw.block):
            of = draw.block == block
            s, first, _ = sampler.span(plan, block)
            screen, rows = sampler.screens[s], draw.rows[of].ravel()
            codes, offset = self._blocks.get(epoch, plan, int(block)), screen.offsets[first]
            begin, end = screen.offsets[rows] - offset, screen.offsets[rows + 1] - offset
            x.write(place[of].ravel(), codes, begin, end, scale_rows(screen, rows))
        batch = x.finish("x", shape)
        for name, (positions, tiers) in draw.controls.items():
            out = self._make_output(draw.rows.size)
            row = np.empty(shape, np.int64)
            for s in np.unique(table["screen"]):
                of = table["screen"] == s
                out.write(place[of].ravel(), *self._residents[s].rows(name, positions[of].ravel()))
                row[of] = sampler.screens[s].row[sampler.pools[s][name].rows[positions[of]]]
            batch |= out.finish(f"x_{name}", shape)
            batch |= {f"{name}_row": row, f"{name}_tier": tiers}
        if sampler.settings.mode == "cells":
            table |= {key: value[:, 0] for key, value in table.items() if value.ndim == 2}
            batch = {key: value[:, 0] for key, value in batch.items()}
        return cast("SetBatch | CellBatch", batch | table)

    def _bring_profiles(self, draw: Draw) -> ProfileBatch:
        sampler = self.sampler
        b, g = len(draw.unit), len(self.genes)
        table = self._make_table(draw, (b,))
        batch = {name: np.zeros((b, g), np.float32) for name in ("x", *(f"x_{n}" for n in sampler.settings.controls))}
        spans = [(sampler.starts[unit], sampler.starts[unit + 1]) for unit in draw.unit]
        for i, (unit, (lo, hi)) in enumerate(zip(draw.unit, spans, strict=True)):
            s = int(sampler.unit_screen[unit])
            screen, rows = sampler.screens[s], sampler.rows[lo:hi]
            total = np.zeros(g)
            for start, stop, codes in read_rows(screen, int(rows[0]), int(rows[-1]) + 1):
                ends = screen.offsets[start : stop + 1] - screen.offsets[start]
                scales = scale_rows(screen, np.arange(start, stop))
                kernel.add_profile(total, codes, ends[:-1], ends[1:], scales)
            batch["x"][i] = total / len(rows)
            for name in sampler.settings.controls:
                batch[f"x_{name}"][i] = self._residents[s].mean_matched(name, screen.pool[rows], g)
        return cast("ProfileBatch", batch | table | {"n_cells": np.array([hi - lo for lo, hi in spans], np.int32)})

    def _make_table(self, draw: Draw, shape: tuple[int, ...]) -> dict:
        """Everything about a batch that is not expression."""
        sampler, unit = self.sampler, draw.unit
        table = {
            "mask": draw.mask,
            "screen": sampler.unit_screen[unit].astype(np.int32),
            "condition": unit.astype(np.int32),
            "perturbation": sampler.unit_perturbation[unit].astype(np.int32),
            "cell_line": sampler.unit_cell_line[unit].astype(np.int32),
        }
        if len(shape) == 1:
            return table
        columns = {"row": np.int64, "batch": np.int32, "mode": np.int8, "dose": np.float32}
        table |= {name: np.empty(shape, dtype) for name, dtype in columns.items()}
        for s in np.unique(table["screen"]):
            of, screen = table["screen"] == s, sampler.screens[s]
            rows = draw.rows[of]
            table["row"][of], table["mode"][of], table["dose"][of] = (
                screen.row[rows],
                screen.mode[rows],
                screen.dose[rows],
            )
            table["batch"][of] = screen.pool[rows] + sampler.batch_base[s]
        return table

    def _make_output(self, n: int) -> "_Dense | _PaddedSparse":
        if self._output == "dense":
            return _Dense(self._buffers, n, len(self.genes))
        return _PaddedSparse(self._buffers, n, len(self.genes), self.max_nonzero)


class _Dense:
    """Rows as dense float32."""

    def __init__(self, buffers: "Buffers", n: int, n_genes: int):
        self._x = buffers.take(n, n_genes, np.float32)

    def write(self, places, codes, starts, stops, scales) -> None:
        kernel.fill_dense(self._x, places, codes, starts, stops, scales)

    def finish(self, name: str, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        return {name: self._x.reshape(*shape, -1)}


class _PaddedSparse:
    """Rows as genes and values of a fixed width."""

    def __init__(self, buffers: "Buffers", n: int, n_genes: int, width: int):
        self._genes, self._values = buffers.take(n, width, np.int32), buffers.take(n, width, np.float32)
        self._n_genes = n_genes

    def write(self, places, codes, starts, stops, scales) -> None:
        kernel.fill_padded(self._genes, self._values, self._n_genes, places, codes, starts, stops, scales)

    def finish(self, name: str, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        return {f"{name}_genes": self._genes.reshape(*shape, -1), f"{name}_values": self._values.reshape(*shape, -1)}


def _check_settings(settings: Settings, screens, splits, output: str, epochs, read_threads: int) -> None:
    def refuse(field: str, expected: str, found: Any) -> NoReturn:
        raise LoaderError("Loader.open", field, expected, repr(found), "Mend the argument.")

    if isinstance(screens, str | Path) or not len(screens):
        refuse("screens", "a list of one or more paths", screens)
    if len(splits) != len(screens):
        refuse("splits", f"one per screen ({len(screens)})", len(splits))
    if settings.mode not in MODES:
        refuse("mode", f"one of {few(MODES)}", settings.mode)
    if output not in ("dense", "padded_sparse") or (output != "dense" and settings.mode == "pseudobulk"):
        refuse("output", "'dense', or 'padded_sparse' in the modes sets and cells", output)
    if settings.mode != "cells" and (not set(settings.controls) <= set(POOLS) or len(set(settings.controls)) == 0):
        refuse("controls", f"some of {few(POOLS)} (evaluation controls never train)", settings.controls)
    if len(settings.controls) > 1 and None in splits:
        refuse("controls", "one list where a screen has no split, whose lists would share cells", settings.controls)
    numbers = {
        "set_size": settings.set_size,
        "batch_size": settings.batch_size,
        "process_count": settings.process_count,
    }
    numbers |= {"epochs": 1 if epochs is None else epochs, "shuffle_cells": settings.shuffle_cells}
    for name, number in numbers.items():
        if not isinstance(number, int) or number < 1:
            refuse(name, "a whole number of 1 or more", number)
    if not isinstance(settings.seed, int) or settings.seed < 0:
        refuse("seed", "a whole number of 0 or more", settings.seed)
    if not 0 <= settings.process_index < settings.process_count:
        refuse("process_index", f"in 0..{settings.process_count - 1}", settings.process_index)
    if not isinstance(read_threads, int) or read_threads < 0:
        refuse("read_threads", "a whole number of 0 or more", read_threads)
