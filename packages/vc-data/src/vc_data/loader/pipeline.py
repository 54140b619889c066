"""The loader: brings the cells that `sample` draws, fast, in bounded memory.

Blocks of neighbouring rows are read ahead and kept only as long as the shuffle window needs them; control pools stay in
memory in packed form; one compiled pass writes rows as log1p CP10k into buffers that are used again once no one holds
them. grain carries the position and reads ahead in a thread.
"""

import itertools
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from vc_data.errors import few
from vc_data.loader import kernel
from vc_data.loader.batch import CellBatch, ProfileBatch, SetBatch
from vc_data.loader.packed import PackedScreen, open_packed
from vc_data.loader.sample import MODES, POOLS, Draw, LoaderError, Plan, Sampler, Settings, Weights

READ_AHEAD = 16
"""Blocks being read before they are needed."""
BATCH_SIZES = {"sets": 8, "cells": 512, "pseudobulk": 16}
"""Items per batch where none is given."""
_ALIGNMENT = 64  # bytes; JAX on CPU takes an aligned array without copying it
_ROWS_PER_READ = 512


class Loader:
    """An endless (or `epochs` long) iterator over batches of one or several screens; make it with `Loader.open`.

    Attributes:
        screens: Paths of the screens.
        genes: The gene axis.
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
        read_threads: int = 1,
        packed_dir: str | Path | None = None,
    ) -> "Loader":
        """Open screens for training; makes their packed copies where there are none.

        Batches hold conditions of the splits' `train` part only, and controls of the lists in `controls`; never a
        control of an `evaluation` list. Where one split of a mix holds targets out, the other screens' conditions with
        them are left out too (`excluded`).

        Memory: the shuffle window and the blocks read ahead (some 200 MB at 2,000 stored counts a cell), the batches
        that are in use, 25 bytes a cell, and the control pools.

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
            read_threads: Threads that prepare batches ahead; 0 prepares each when asked.
            packed_dir: Folder for packed copies; default: beside the screens.

        Raises:
            ContractError: A file is absent or breaks its contract, or a split is of another screen.
            LoaderError: Screens or settings that do not go together.
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
        _check_settings(settings, screens, splits, output, epochs, read_threads)
        packed = [open_packed(path, packed_dir) for path in screens]
        paths = [None if path is None else Path(path) for path in splits]
        sampler = Sampler(packed, paths, settings, weights)
        return cls(sampler, output=output, epochs=epochs, read_threads=read_threads)

    def __init__(self, sampler: Sampler, *, output: str, epochs: int | None, read_threads: int):
        self.sampler = sampler
        self.screens = [screen.screen_path for screen in sampler.screens]
        self.genes = list(sampler.screens[0].genes)
        self.conditions = sampler.conditions
        self.perturbations = sampler.perturbations
        self.cell_lines = sampler.cell_lines
        self.batches = sampler.batches
        self.steps_per_epoch = sampler.steps_per_epoch
        self.fallbacks = sampler.fallbacks
        self.excluded = sampler.excluded
        self.max_nonzero = max(screen.attributes["max_nonzero"] for screen in sampler.screens)
        self._length = sys.maxsize if epochs is None else epochs * self.steps_per_epoch
        self._read_threads = read_threads
        self._output = output
        self._buffers = _Buffers()
        self._blocks = _Blocks(sampler, margin=4 * (read_threads + 1))
        self._residents = [
            _Resident(screen, pools) for screen, pools in zip(sampler.screens, sampler.pools, strict=True)
        ]
        self._iterator = None

    def __iter__(self) -> Iterator[SetBatch | CellBatch | ProfileBatch]:
        """The loader itself, at its present position."""
        return self

    def __next__(self) -> SetBatch | CellBatch | ProfileBatch:
        """The next batch."""
        return next(self._grain())

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
        return {"step": int(self._grain().get_state()["next_index"]), "fingerprint": self.sampler.fingerprint()}

    def set_state(self, state: Mapping) -> None:
        """Go on from a position that `get_state` gave, of a loader of the same data and settings.

        Raises:
            LoaderError: The state is of other data or settings, so the batches to come would not be the same.
        """
        if state.get("fingerprint") != self.sampler.fingerprint() or not isinstance(state.get("step"), int):
            found = "a state of other screens, splits, settings, weights or process"
            do = "Open the loader with the arguments of the run that saved the state."
            raise LoaderError("loader state", "fingerprint", "that of this loader", found, do)
        self._grain().set_state({"next_index": state["step"]})

    def _grain(self):
        if self._iterator is None:
            import grain

            ahead = self._read_threads + 1 if self._read_threads else 0
            options = grain.ReadOptions(num_threads=self._read_threads, prefetch_buffer_size=ahead)
            self._iterator = iter(grain.MapDataset.source(self).to_iter_dataset(options))
        return self._iterator

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
            entries, offset = self._blocks.get(epoch, plan, int(block)), screen.offsets[first]
            begin, end = screen.offsets[rows] - offset, screen.offsets[rows + 1] - offset
            x.write(place[of].ravel(), entries, begin, end, _scale(screen, rows))
        batch = x.finish("x", shape)
        for name, (positions, tiers) in draw.controls.items():
            out = self._make_output(draw.rows.size)
            row = np.empty(shape, np.int64)
            for s in np.unique(table["screen"]):
                of = table["screen"] == s
                self._residents[s].write(out, place[of].ravel(), name, positions[of].ravel())
                row[of] = sampler.screens[s].row[sampler.pools[s][name].rows[positions[of]]]
            batch |= out.finish(f"x_{name}", shape)
            batch |= {f"{name}_row": row, f"{name}_tier": tiers}
        if sampler.settings.mode == "cells":
            table |= {key: value[:, 0] for key, value in table.items() if value.ndim == 2}
            batch = {key: value[:, 0] for key, value in batch.items()}
        return batch | table

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
            for start, stop, entries in _read_rows(screen, int(rows[0]), int(rows[-1]) + 1):
                ends = screen.offsets[start : stop + 1] - screen.offsets[start]
                scales = _scale(screen, np.arange(start, stop))
                kernel.add_profile(total, entries[0], entries[1], ends[:-1], ends[1:], scales)
            batch["x"][i] = total / len(rows)
            for name in sampler.settings.controls:
                batch[f"x_{name}"][i] = self._residents[s].mean_matched(name, screen.pool[rows], g)
        return batch | table | {"n_cells": np.array([hi - lo for lo, hi in spans], np.int32)}

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

    def __init__(self, buffers: "_Buffers", n: int, n_genes: int):
        self._x = buffers.take(n, n_genes, np.float32)

    def write(self, places, entries, starts, stops, scales) -> None:
        kernel.fill_dense(self._x, places, entries[0], entries[1], starts, stops, scales)

    def finish(self, name: str, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        return {name: self._x.reshape(*shape, -1)}


class _PaddedSparse:
    """Rows as genes and values of a fixed width."""

    def __init__(self, buffers: "_Buffers", n: int, n_genes: int, width: int):
        self._genes, self._values = buffers.take(n, width, np.int32), buffers.take(n, width, np.float32)
        self._n_genes = n_genes

    def write(self, places, entries, starts, stops, scales) -> None:
        kernel.fill_padded(
            self._genes, self._values, self._n_genes, places, entries[0], entries[1], starts, stops, scales
        )

    def finish(self, name: str, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        return {f"{name}_genes": self._genes.reshape(*shape, -1), f"{name}_values": self._values.reshape(*shape, -1)}


class _Buffers:
    """Large arrays that are handed out again once nobody holds them or a view of them.

    Fresh memory for every batch costs a third of the speed (page faults). An array is idle when its reference count is
    that of one which only this list holds; views, JAX arrays and torch tensors that share its memory hold a reference.
    """

    _MOST = 16

    def __init__(self):
        self._lock = threading.Lock()
        self._arrays: list[np.ndarray] = [np.empty(0, np.uint8)]
        self._idle = self._count(0)

    def take(self, n: int, width: int, dtype: type) -> np.ndarray:
        """An array [n, width] with any content."""
        size = n * width * np.dtype(dtype).itemsize + _ALIGNMENT
        with self._lock:
            for i in range(len(self._arrays)):
                if self._arrays[i].nbytes == size and self._count(i) == self._idle:
                    return self._view(self._arrays[i], n, width, dtype)
            array = np.empty(size, np.uint8)
            self._arrays.append(array)
            del self._arrays[1 : max(1, len(self._arrays) - self._MOST)]
            return self._view(array, n, width, dtype)

    def _count(self, i: int) -> int:
        return sys.getrefcount(self._arrays[i])

    @staticmethod
    def _view(array: np.ndarray, n: int, width: int, dtype: type) -> np.ndarray:
        skip = -array.ctypes.data % _ALIGNMENT
        return array[skip : skip + n * width * np.dtype(dtype).itemsize].view(dtype).reshape(n, width)


class _Blocks:
    """Blocks of the shuffle window, read before they are needed and dropped after their last use."""

    def __init__(self, sampler: Sampler, margin: int):
        self._sampler = sampler
        self._margin = margin
        self._lock = threading.Lock()
        self._reads: dict[tuple[int, int], tuple[PackedScreen, object]] = {}
        self._arrays: dict[tuple[int, int], np.ndarray] = {}

    def read_ahead(self, epoch: int, plan: Plan, step: int) -> None:
        """Begin to read what this step and the next ones need; drop what is behind."""
        size = self._sampler.settings.batch_size
        begin, end = step * size, (step + 1) * size
        first = plan.first[plan.arrival]
        now = np.searchsorted(first, begin), np.searchsorted(first, end) + READ_AHEAD
        with self._lock:
            for block in plan.arrival[now[0] : now[1]]:
                self._begin(epoch, plan, int(block))
            if now[1] > len(plan.arrival):
                following = self._sampler.plan(epoch + 1)
                for block in following.arrival[: now[1] - len(plan.arrival)]:
                    self._begin(epoch + 1, following, int(block))
            for key in [key for key in self._reads if self._is_behind(key, epoch, plan, begin)]:
                del self._reads[key]
                self._arrays.pop(key, None)

    def get(self, epoch: int, plan: Plan, block: int) -> np.ndarray:
        """Entries of a block; reads it where it was not read ahead."""
        key = (epoch, block)
        with self._lock:
            if key in self._arrays:
                return self._arrays[key]
            self._begin(epoch, plan, block)
            screen, read = self._reads[key]
        entries = screen.finish(read)
        with self._lock:
            if key in self._reads:
                self._arrays[key] = entries
        return entries

    def _begin(self, epoch: int, plan: Plan, block: int) -> None:
        if (epoch, block) not in self._reads:
            s, start, stop = self._sampler.span(plan, block)
            screen = self._sampler.screens[s]
            self._reads[epoch, block] = screen, screen.read(start, stop)

    def _is_behind(self, key: tuple[int, int], epoch: int, plan: Plan, position: int) -> bool:
        late = position - self._margin * self._sampler.settings.batch_size
        if key[0] == epoch:
            return plan.last[key[1]] < late
        return key[0] < epoch and late >= 0


class _Resident:
    """The control pools of a screen, in memory in packed form, brought at first use."""

    def __init__(self, screen: PackedScreen, pools: dict):
        self._screen, self._pools = screen, pools
        self._lock = threading.Lock()
        self._entries: dict[str, tuple] = {}
        self._means: dict[tuple[str, int, int], np.ndarray] = {}

    def write(self, out: "_Dense | _PaddedSparse", places: np.ndarray, name: str, positions: np.ndarray) -> None:
        """Write controls at positions of a pool."""
        entries, starts, stops, scales = self._pool(name)
        out.write(places, entries, starts[positions], stops[positions], scales[positions])

    def mean_matched(self, name: str, pairs: np.ndarray, n_genes: int) -> np.ndarray:
        """[g] Mean, over cells of the given (cell line, batch) pairs, of the mean of each cell's controls."""
        pool = self._pools[name]
        total = np.zeros(n_genes)
        codes, numbers = np.unique(pairs, return_counts=True)
        for code, n in zip(codes, numbers, strict=True):
            lo, hi = pool.lo[code], pool.hi[code]
            if lo == hi:
                lo, hi = pool.line_lo[code], pool.line_hi[code]
            total += n * self._mean(name, int(lo), int(hi), n_genes)
        return total / len(pairs)

    def _mean(self, name: str, lo: int, hi: int, n_genes: int) -> np.ndarray:
        if (name, lo, hi) not in self._means:
            entries, starts, stops, scales = self._pool(name)
            total = np.zeros(n_genes)
            kernel.add_profile(total, entries[0], entries[1], starts[lo:hi], stops[lo:hi], scales[lo:hi])
            self._means[name, lo, hi] = (total / (hi - lo)).astype(np.float32)
        return self._means[name, lo, hi]

    def _pool(self, name: str) -> tuple:
        with self._lock:
            if name not in self._entries:
                self._entries[name] = self._bring(name)
            return self._entries[name]

    def _bring(self, name: str) -> tuple:
        screen, rows = self._screen, self._pools[name].rows
        ascending = np.sort(rows)
        lengths = screen.offsets[ascending + 1] - screen.offsets[ascending]
        ends = np.cumsum(lengths)
        held = np.empty((2, ends[-1]), np.uint8)
        breaks = np.flatnonzero(np.diff(ascending) > _ROWS_PER_READ) + 1
        for run in np.split(ascending, breaks):
            for start, stop, entries in _read_rows(screen, int(run[0]), int(run[-1]) + 1):
                i, j = np.searchsorted(ascending, (start, stop))
                if i == j:
                    continue
                own = ascending[i:j]
                begin, end = (screen.offsets[own + k] - screen.offsets[start] for k in (0, 1))
                to = slice(ends[i] - lengths[i], ends[j - 1])
                kernel.gather_rows(entries[0], entries[1], begin, end, held[0, to], held[1, to])
        at = np.searchsorted(ascending, rows)
        return held, ends[at] - lengths[at], ends[at], _scale(screen, rows)


def _read_rows(screen: PackedScreen, start: int, stop: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Packed rows in pieces (start, stop, entries), several being read ahead."""
    edges = [*range(start, stop, _ROWS_PER_READ), stop]
    spans = list(itertools.pairwise(edges))
    reads = [screen.read(*span) for span in spans[:READ_AHEAD]]
    for i, (begin, end) in enumerate(spans):
        if i + READ_AHEAD < len(spans):
            reads.append(screen.read(*spans[i + READ_AHEAD]))
        yield begin, end, screen.finish(reads[i])
        reads[i] = None


def _scale(screen: PackedScreen, rows: np.ndarray) -> np.ndarray:
    return kernel.TARGET_SUM / screen.total[rows]


def _check_settings(settings: Settings, screens, splits, output: str, epochs, read_threads: int) -> None:
    def refuse(field: str, expected: str, found: object):
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
