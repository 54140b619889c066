"""Whether 90 % intervals of `anchored` hold: by expression, by size of the prediction, and for genes called changed.

    uv run python experiments/quality/intervals.py all run/intervals docs/results/intervals.md
    uv run python experiments/quality/intervals.py scores run/intervals norman2019_k562_crispra_500g
    uv run python experiments/quality/intervals.py scores run/intervals few --world-seed 60
    uv run python experiments/quality/intervals.py page run/intervals docs/results/intervals.md

Two things can be covered. *The measured effect* of held-out cells: the interval then has the noise of measuring in it, as
`Prediction.noise` gives it before the experiment from numbers of cells, or as vc-eval counts it from the held-out cells themselves. And
*the effect itself*, without noise, which only the simulator knows. `scores` keeps one row per held-out condition and stratum. `few`, `noisy` and `rich` are simulated
worlds, all others real screens (`fair.SCREENS`). Intervals of the shares are of conditions, resampled by perturbation.
"""

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import anndata
import numpy as np
import pandas as pd
from command import run_parts, share
from fair import CELLS, SCREENS
from sources import tables_of
from vc_data.simulate import SimulatorConfig, write_simulation
from vc_model.anchored import Anchored

LEVEL = 0.9
_WORLD = replace(SimulatorConfig(), n_genes=600, n_pathways=20, n_pairs=0, cell_lines=("LineA",))
WORLDS = {
    "few": replace(_WORLD, n_singles=24, controls_per_line=400, cells_per_condition=80),
    "noisy": replace(_WORLD, n_singles=50, controls_per_line=150, cells_per_condition=25, depth_median=4000.0),
    "rich": replace(_WORLD, n_singles=80, n_pairs=16, controls_per_line=600, cell_lines=("LineA", "LineB")),
}
CHOSEN_ON = ("norman", "datlinger", "kang", "zhao")
STRATA = ("all", "quarter 1", "quarter 2", "quarter 3", "quarter 4", "30 largest", "next 100", "rest", "called changed")
TARGETS = {"measured": "measured, noise as planned", "scored": "measured, noise as scored", "free": "the effect itself"}


def scores(folder: Path, name: str, splits: int, seed: int) -> None:
    """Fit on every split and keep what is covered; one parquet per screen or world."""
    frames, world = [], name in WORLDS
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        kind, recipe = ("", "by_perturbation") if world else SCREENS[name]
        if world:
            write_simulation(WORLDS[name], seed, place / "sim")
        source = str(place / "sim" / "screen.h5ad") if world else f"../shared/data/{kind}/{name}.h5ad"
        asked = SimpleNamespace(
            genesets=place / "sim" / "pathways.gmt" if world else None, cell_line=None, recipe=recipe, splits=splits,
            test=0.25, min_cells=20, world_seed=seed,
        )  # fmt: skip
        truth = anndata.read_h5ad(place / "sim" / "truth.h5ad") if world else None
        for at, (train, test, truths) in enumerate(tables_of(source, asked, place)):
            if at >= splits:
                break
            said = Anchored().fit(train).predict(test)
            frames += [covered(said, test, train.genes, one, truth).assign(split=at) for one in truths]
            print(name, at, len(train), len(test), flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    label = f"{name}-{seed}" if world else name
    pd.concat(frames).assign(screen=label).to_parquet(folder / f"{label}.parquet")


def covered(said, test, genes: tuple[str, ...], truth, free) -> pd.DataFrame:
    """One row per condition and stratum: shares inside."""
    row_of = {key: row for row, key in enumerate(zip(test.cell_line, test.perturbation, strict=True))}
    rows = np.array([row_of[truth.cell_line, name] for name in truth.perturbations])
    column_of = {gene: column for column, gene in enumerate(genes)}
    at = np.ix_(rows, np.array([column_of[gene] for gene in truth.genes]))
    delta_pg, sd_pg = said.delta_pg[at].astype(np.float64), np.sqrt(said.var_pg[at].astype(np.float64))
    width_p1 = said.conformal.width(said.table_p[rows], LEVEL)[:, None].astype(np.float64)
    n_cells = np.ones(len(said.line_p))
    n_cells[rows] = truth.sizes
    planned_pg = said.noise(n_cells, truth.evaluation.shape[0])[at]
    half = {name: width_p1 * np.sqrt(sd_pg**2 + noise_pg) for name, noise_pg in
            {"measured": planned_pg, "scored": truth.noise_var_pg, "free": 0.0}.items()}  # fmt: skip
    gap_pg = np.abs(truth.effects.delta_pg - delta_pg)
    gaps = {"measured": gap_pg, "scored": gap_pg, "free": np.full_like(gap_pg, np.nan)}
    if free is not None:
        names = [f"{truth.cell_line}|{name}" for name in truth.perturbations]
        gaps["free"] = np.abs(np.asarray(free[names, truth.genes.tolist()].X) - delta_pg)
    # A gene that no cell and no control shows says nothing about an interval; nor does an infinite one.
    use_pg = ~truth.excluded_pg & ~((truth.noise_var_pg == 0) & (truth.effects.delta_pg == 0)) & np.isfinite(width_p1)
    found = []
    for stratum, in_pg in strata_of(delta_pg, said.base_pg[at][0], half["free"]).items():
        for p, label in enumerate(truth.perturbations):
            mask_g = in_pg[p] & use_pg[p]
            if not mask_g.any():
                continue
            row = {"cell_line": truth.cell_line, "perturbation": label, "stratum": stratum, "genes": mask_g.sum()}
            row |= {name: np.mean(gaps[name][p][mask_g] <= half[name][p][mask_g]) for name in TARGETS}
            found.append(row)
    frame = pd.DataFrame(found, columns=None if found else ["cell_line", "perturbation", "stratum", "genes", *TARGETS])
    return frame.assign(free=np.nan) if free is None else frame


def strata_of(delta_pg: np.ndarray, base_g: np.ndarray, half_pg: np.ndarray) -> dict[str, np.ndarray]:
    """[p, g] bool of each stratum; called changed: the interval of the effect itself excludes 0."""
    quarter_g = np.argsort(np.argsort(base_g)) * 4 // len(base_g)
    rank_pg = np.argsort(np.argsort(-np.abs(delta_pg), axis=1), axis=1)
    masks = [np.ones(delta_pg.shape, bool), *(np.broadcast_to(quarter_g == e, delta_pg.shape) for e in range(4))]
    masks += [rank_pg < 30, (rank_pg >= 30) & (rank_pg < 130), rank_pg >= 130, np.abs(delta_pg) > half_pg]
    return dict(zip(STRATA, masks, strict=True))


def tables(folder: Path) -> str:
    """Coverage by stratum for each of `TARGETS`."""
    rows, text = read(folder), []
    for target, title in TARGETS.items():
        head = ["screen", *STRATA, "called"]
        lines = [f"### Covered: {title}", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        for screen in rows["screen"].unique():
            found = rows.loc[rows["screen"] == screen, :]
            if found[target].notna().any():
                lines.append(f"| {screen} | " + " | ".join(row(found, target)) + " |")
        text.append("\n".join(lines))
    return "\n\n".join(text) + "\n"


def read(folder: Path) -> pd.DataFrame:
    """All rows of a folder; worlds of a kind together, screens that the design was chosen on first."""
    found = pd.concat([pd.read_parquet(fpath) for fpath in sorted(folder.glob("*.parquet"))], ignore_index=True)
    world = found["screen"].str.extract(r"^([a-z]+)-(\d+)$")
    fresh = world[1].astype(float) >= 60
    kind = "simulated " + world[0] + np.where(fresh, ", fresh", ", chosen on")
    found["split"] = found["split"].astype(str) + "/" + found["screen"]
    found[list(TARGETS)] = found[list(TARGETS)].astype(float)  # a screen without rows made them objects
    chosen = found["screen"].str.startswith(CHOSEN_ON)
    named = found["screen"].str.split("_").str[0] + np.where(chosen, ", chosen on", "")
    return found.assign(screen=kind.where(world[0].notna(), named)).sort_values("screen", kind="stable")


def row(found: pd.DataFrame, target: str) -> list[str]:
    """Shares with their intervals, bold beyond 0.05 of the level, and the number of genes called changed."""
    cells = [share(found[found["stratum"] == stratum], target, LEVEL) for stratum in STRATA]
    return [*cells, str(int(found["genes"].to_numpy()[found["stratum"] == "called changed"].sum()))]


def main() -> None:
    """Run one of the parts."""
    screens = [(name, 4, 0) for name, (kind, _) in SCREENS.items() if kind == CELLS]
    worlds = [(name, 2, seed) for name in WORLDS for seed in (20, 21, 22, 60, 61, 62, 63)]
    run_parts(__doc__, 4, scores, [*screens, *worlds], tables, "\n### ", "# 90 % intervals")


if __name__ == "__main__":
    main()
