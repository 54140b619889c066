"""Predicted cells beside held-out cells where responses depend on the state of a cell."""

import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from distances import Judge, fit_components
from screens import REAL, SEPARATOR, STATES, Arena, real_screen, state_world
from vc_data import split as splitting
from vc_data.screen.file import read_screen as read_source
from vc_model.anchored import Anchored
from vc_model.contracts import read_screen, read_splits
from vc_model.emit.cells import draw_cells, source_of
from vc_model.st import FittedSt, StTraining, fit_st
from vc_model.table.effects import Action
from vc_model.table.pseudobulk import ControlCells, load_control_cells, load_tables, log1p_cp10k

MODELS = {
    "anchored, drawn": "`anchored`, cells drawn by the emitter",
    "moved controls": "control cells plus the same mean effect",
    "no change": "control cells as they are",
    "st": "set mapper, tiny, by itself",
    "st on anchored": "set mapper, tiny, that starts from `anchored` behind a gate",
    "told states": "`anchored` that is told the state of every cell, cells drawn by the emitter",
    "half": "half of the measured cells against the other half: as near as a model can come",
}
N_CELLS = 120  # predicted cells of a condition
PER_LINE = 200  # control cells that a model starts from
ST = {"steps": 1500, "n_sets": 8, "peak_rate": 2e-3}
LEAST_CELLS = 20

type Maker = Callable[[str, Action, int], np.ndarray]
"""Line, action and row of the test conditions -> [n, g] predicted cells, log1p CP10k."""


def compare_cells(folder: Path, name: str, seed: int, wanted: Sequence[str] = ()) -> None:
    """Scores of models (all by default) on a world (`states`) or a real screen; one parquet, which grows model by model."""
    rows: list[dict] = []
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        arena = real_screen(place, name) if name in REAL else state_world(place, seed)
        for line in arena.lines:
            for more in hide(arena, line, seed, place, wanted or tuple(MODELS)):
                rows += more
                pd.DataFrame(rows).assign(screen=name, split=seed).to_parquet(folder / f"cells-{arena.name}.parquet")
                print(
                    f"{arena.name}, {line}: {more[0]['model']}, {time.process_time():.0f} s of CPU so far", flush=True
                )


def hide(arena: Arena, line: str, seed: int, place: Path, wanted: Sequence[str]) -> Iterator[list[dict]]:
    """Fit without a line and score the cells predicted there: for each model one row per condition."""
    splits = place / f"{line.replace('+', '-')}.json"
    made = splitting.by_cell_line(
        read_source(arena.screen), test_lines=[line], unseen=arena.unseen, seed=seed, min_cells=LEAST_CELLS
    )
    splitting.write_splits(made, splits, parents={})
    train, _, test = load_tables(arena.screen, splits, arena.features)
    trained = {action.targets for action in train.conditions.actions}
    unseen_ng, real = measured(arena.screen, splits, train.genes, line)
    pca = fit_components(unseen_ng, *real.values())
    for name, make in make_models(arena, splits, real, seed, place, wanted):
        rows = []
        for row, (label, action) in enumerate(zip(test.perturbation, test.actions, strict=True)):
            real_ng, half_n = real[label], np.random.default_rng([seed, row]).permutation(len(real[label])) % 2 == 0
            # Half of the cells are judged by the other half, all models by all.
            judge = Judge(real_ng[half_n] if name == "half" else real_ng, unseen_ng, pca)
            values = judge.measures(real_ng[~half_n] if name == "half" else make(line, action, row))
            kind = "seen elsewhere" if action.targets in trained else "seen nowhere"
            key = {"cell_line": line, "perturbation": label, "kind": kind, "model": name, "n": len(real_ng)}
            rows.append(key | values)
        yield rows


def make_models(
    arena: Arena, splits: Path, real: dict[str, np.ndarray], seed: int, place: Path, wanted: Sequence[str]
) -> Iterator[tuple[str, Maker]]:
    """One fitted model after the other, the cheapest first."""
    train, _, test = load_tables(arena.screen, splits, arena.features)
    controls = load_control_cells(arena.screen, splits, train.genes, PER_LINE)
    anchored = Anchored().fit(train)
    said = anchored.predict(test)
    makers: dict[str, Maker] = {
        "anchored, drawn": lambda line, action, row: drawn(controls, line, said.mean_pg[row], N_CELLS, action.label),
        "moved controls": lambda line, action, row: np.maximum(controls.of(line)[0] + said.delta_pg[row], 0),
        "no change": lambda line, action, row: controls.of(line)[0],
        "half": lambda line, action, row: real[action.label],
    }
    yield from ((name, make) for name, make in makers.items() if name in wanted)
    if arena.told is not None and "told states" in wanted:
        yield "told states", told_states(arena, splits, seed, place)
    for name, anchor in (("st", None), ("st on anchored", anchored)):
        few = len({action.targets for action in train.conditions.actions}) < 4
        if name not in wanted or (few and anchor is not None):
            continue  # too few perturbations to choose its gate on
        fitted = fit_st(
            arena.screen, splits, train, controls, StTraining(preset="tiny", seed=seed, **ST), place / f"{name}-{splits.stem}",
            anchor=anchor, per_condition=64,
        )  # fmt: skip
        print(f"{arena.name}, {splits.stem}: gate of {name} {fitted.gate:g}", flush=True)

        def make(line: str, action: Action, row: int, fitted: FittedSt = fitted) -> np.ndarray:
            return fitted.make_cells(line, action, None if fitted.anchor is None else said.mean_pg[row])

        yield name, make


def told_states(arena: Arena, splits: Path, seed: int, place: Path) -> Maker:
    """`anchored` on lines that are (donor, state); a donor has as many cells of each state as among its control cells."""
    hidden = [f"{splits.stem}{SEPARATOR}{state}" for state in STATES]
    told, source = place / "told.json", read_source(arena.told)
    # The same seed and targets: what is hidden in every donor is the same as for the others.
    made = splitting.by_cell_line(source, test_lines=hidden, unseen=arena.unseen, seed=seed, min_cells=2)
    splitting.write_splits(made, told, parents={})
    train, _, test = load_tables(arena.told, told, arena.features)
    said, controls = Anchored().fit(train).predict(test), load_control_cells(arena.told, told, train.genes, PER_LINE)
    lines = source.obs["cell_line"].astype(str)[source.obs["is_control"]]
    shares = {line: float((lines == line).sum()) for line in hidden}
    row_of = {(line, action): row for row, (line, action) in enumerate(zip(test.cell_line, test.actions, strict=True))}

    def make(_: str, action: Action, __: int) -> np.ndarray:
        # A state may have lost its cells.
        asked = {one: share for one, share in shares.items() if (one, action) in row_of}
        n_of = {one: round(N_CELLS * share / sum(asked.values())) for one, share in asked.items()}
        return np.concatenate(
            [drawn(controls, one, said.mean_pg[row_of[one, action]], n, action.label) for one, n in n_of.items()]
        )

    return make


def drawn(controls: ControlCells, line: str, profile_g: np.ndarray, n_cells: int, label: str) -> np.ndarray:
    """[n, g] log1p CP10k of cells by the emitter."""
    rng = np.random.default_rng([0, zlib.crc32(label.encode())])
    count_ng, total_n = draw_cells(source_of(controls, line), profile_g, n_cells, rng)
    return np.log1p(count_ng * (1e4 / total_n)[:, None])


def measured(
    screen_fpath: Path, splits_fpath: Path, genes: tuple[str, ...], line: str
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Control cells that no model saw, and the perturbed cells of every condition of a line, log1p CP10k."""
    screen = read_screen(screen_fpath)
    kept = set(read_splits(splits_fpath, screen).controls["evaluation"])
    columns = screen.var.index.get_indexer(pd.Index(genes))
    x_ng = log1p_cp10k(screen, 0, len(screen.obs), columns).toarray()
    line_n, label_n = (screen.obs[name].astype(str).to_numpy() for name in ("cell_line", "perturbation"))
    control_n = screen.obs["is_control"].to_numpy()
    mine_n = line_n == line
    real = {str(label): x_ng[mine_n & (label_n == label)] for label in np.unique(label_n[mine_n & ~control_n])}
    return x_ng[mine_n & control_n & screen.obs.index.isin(kept)], real
