"""Screens and the set mapper that is asked about them: made once, kept in the work folder."""

import contextlib
import sys
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SIZES = {"width": 64, "n_layers": 2, "n_heads": 4, "hidden": 128, "set_size": 16, "mlp_layers": 2}
CELLS = 48
STEPS = 1200


@dataclass(frozen=True, eq=False)
class Ready:
    """A screen with a fitted mapper and what is known of it."""

    folder: Path
    table: Any
    fitted: Any
    gene_sets: Mapping[str, Set[str]]
    targets: Mapping[str, Mapping[str, Set[str]]]
    """Network name -> regulator -> its targets."""
    sim: Any = None

    @property
    def screen(self) -> Path:
        """screen-v1."""
        return self.folder / "screen.zarr"

    @property
    def splits(self) -> Path:
        """splits-v1."""
        return self.folder / "splits.json"

    @property
    def labels(self) -> np.ndarray:
        """[p] perturbations that trained."""
        return np.array(self.table.conditions.perturbation)


def world(seed: int, folder: Path) -> Ready:
    """A simulated screen: 240 genes, 10 pathways, 50 perturbed genes, one line."""
    from vc_data.simulate import PRESETS, simulate
    from vc_interp.gmt import read_gmt

    config = replace(PRESETS["tiny"], n_genes=240, n_pathways=10, n_singles=50, n_pairs=0, cell_lines=("LineA",),
                     cells_per_condition=60, controls_per_line=400, depth_median=6000.0)  # fmt: skip
    sim = simulate(config, seed)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "st").exists():
        sim.adata.write_h5ad(folder / "demo.h5ad")
        gmt = "".join(f"{name}\tx\t" + "\t".join(genes) + "\n" for name, genes in sim.gene_sets.items())
        (folder / "sets.gmt").write_text(gmt)
    names = sim.world.gene_names.astype(str)
    targets: dict[str, set[str]] = {}
    for a, b in zip(sim.world.source, sim.world.target, strict=True):
        targets.setdefault(names[a], set()).add(names[b])
    table, fitted = fit(folder / "demo.h5ad", folder)
    return Ready(folder, table, fitted, read_gmt(folder / "sets.gmt"), {"true": targets}, sim)


def fit(source: Path, folder: Path, *options: str) -> tuple[Any, Any]:
    """Convert (with options), split and fit, or take what is there; the training table and the mapper on everything that trains."""
    from vc_model.checkpoint import load_checkpoint, save_checkpoint
    from vc_model.st import StTraining, fit_st
    from vc_model.table.pseudobulk import load_control_cells, load_tables

    screen, splits = folder / "screen.zarr", folder / "splits.json"
    if not splits.exists():
        run("vc-data", "convert", source, screen, *options, "--overwrite")
        run("vc-data", "split", screen, splits, "--recipe", "by_perturbation", "--test", "0.1", "--min-cells", "5")
    table = load_tables(screen, splits)[0]
    if (folder / "st").exists():
        return table, load_checkpoint(folder / "st")
    controls = load_control_cells(screen, splits, table.genes, CELLS)
    training = StTraining(steps=STEPS, n_sets=8, peak_rate=2e-3)
    fitted = fit_st(screen, splits, table, controls, training, folder / "st.train", per_condition=64, **SIZES)
    save_checkpoint(folder / "st", fitted)
    return table, load_checkpoint(folder / "st")


def run(*command: object) -> None:
    """A command of this workspace, in this process, so that what is compiled is compiled once."""
    module = {"vc-data": "vc_data.cli.main", "vc": "vc_apps.cli"}[str(command[0])]
    with contextlib.redirect_stdout(sys.stderr):
        code = import_module(module).main([str(part) for part in command[1:]])
    if code:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {code}")
