"""A simulated screen from end to end: in memory, or streamed to a folder; with its truth and its prior knowledge."""

import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vc_data.contract import write_whole
from vc_data.simulate.cells import CellPlan, expected_cells, iter_counts, make_obs, make_plan
from vc_data.simulate.config import DIFFICULTIES, SimulatorConfig
from vc_data.simulate.effects import (
    Perturbation,
    TrueEffects,
    log_share,
    make_expectation,
    make_perturbations,
    solve_effects,
)
from vc_data.simulate.network import World
from vc_data.simulate.world import make_world

if TYPE_CHECKING:
    import anndata


@dataclass(frozen=True)
class Simulation:
    """A simulated screen and everything that is true about it."""

    adata: "anndata.AnnData"
    """Cells x genes, raw counts; obs as `make_obs` describes, plus `total_counts`; var `gene_id`."""
    truth: "anndata.AnnData"
    """(cell line, perturbation) x genes, noise-free; see `make_truth`."""
    gene_sets: dict[str, list[str]]
    """Noisy, incomplete prior knowledge: name -> gene symbols."""
    world: World
    """The mechanism; `solve_effects` answers for perturbations that were not screened."""
    perturbations: tuple[Perturbation, ...]
    """What was screened, in every cell line."""


@dataclass(frozen=True)
class _Prepared:
    world: World
    perturbations: list[Perturbation]
    effects: list[TrueEffects]
    plan: CellPlan
    gene_sets: dict[str, list[str]]
    count_rng: np.random.Generator


def simulate(config: SimulatorConfig, seed: int) -> Simulation:
    """Simulate a screen in memory.

    Args:
        config: The screen, e.g. `PRESETS["small"]` or a `dataclasses.replace` of it.
        seed: Same config and seed, same arrays.

    Returns:
        Counts, truth, gene sets and the mechanism.

    Examples:
        >>> sim = simulate(PRESETS["tiny"], seed=0)  # doctest: +SKIP
        >>> sim.truth.to_df().loc["LineA|G042"]  # doctest: +SKIP
    """
    import anndata
    import scipy.sparse as sp

    ready = _prepare(config, seed)
    counts = sp.vstack(list(_progress(iter_counts(ready.world, ready.effects, ready.plan, ready.count_rng), ready)))
    obs = make_obs(ready.world, ready.perturbations, ready.plan)
    obs["total_counts"] = np.asarray(counts.sum(axis=1), np.float32).ravel()
    return Simulation(
        adata=anndata.AnnData(counts.tocsr(), obs=obs, var=_var(ready.world)),
        truth=make_truth(ready.world, ready.perturbations, ready.effects, ready.plan),
        gene_sets=ready.gene_sets,
        world=ready.world,
        perturbations=tuple(ready.perturbations),
    )


def write_simulation(config: SimulatorConfig, seed: int, out_dir: str | Path, *, overwrite: bool = False) -> Path:
    """Simulate a screen into a folder, whole or not at all; memory does not grow with the number of cells.

    Args:
        config: The screen.
        seed: Same config and seed, same arrays as `simulate`.
        out_dir: Folder to make: `screen.h5ad` (raw counts), `truth.h5ad`, `pathways.gmt`.
        overwrite: Replace an existing folder.

    Returns:
        The folder.

    Raises:
        OutputError: The folder exists and `overwrite` is false, or cannot be made there.
    """
    with write_whole(out_dir, kind="simulation", overwrite=overwrite) as temporary:
        ready = _prepare(config, seed)
        temporary.mkdir()
        _check_space(temporary, ready)
        make_truth(ready.world, ready.perturbations, ready.effects, ready.plan).write_h5ad(temporary / "truth.h5ad")
        lines = [f"{name}\tsimulated gene set\t" + "\t".join(genes) for name, genes in ready.gene_sets.items()]
        (temporary / "pathways.gmt").write_text("\n".join(lines) + "\n")
        _stream_screen(temporary / "screen.h5ad", ready)
    return Path(out_dir)


def make_truth(
    world: World, perturbations: list[Perturbation], effects: list[TrueEffects], plan: CellPlan | None = None
):
    """What an infinitely large experiment would report, with the mechanism behind it.

    Args:
        world: Genes, network, cell lines.
        perturbations: Rows, repeated per cell line.
        effects: Per cell line, from `solve_effects`.
        plan: Drawn cells, for `n_cells_observed`.

    Returns:
        AnnData, one row per (cell line, perturbation), named `LINE|PERTURBATION`. `X`: expected delta of the pseudobulk
        mean of log1p(CP10k) against controls. Layers: `lfc`, natural-log fold change of the gene's mean share over all
        cells of the condition, escapers included; `steady_state`, log fold change of mRNA in a responding cell before
        closure; `interaction`, for pairs `X` minus the `X` of both singles, else 0. obs: `viability` (responding
        cells), `survival` (all), `n_cells` expected, `n_cells_observed`, `synergy` (norm of `interaction`), `targets`,
        `efficiency`, `dose`. var: expected control profiles. uns: network, gates, pathways, lethal pairs, config.
    """
    import anndata
    import pandas as pd

    config, n = world.config, len(perturbations)
    singles = _singles_behind(perturbations)
    blocks, tables, var = [], [], _var(world)
    for c, (line, effect) in enumerate(zip(world.lines, effects, strict=True)):
        expectation = make_expectation(world, line)
        lone = solve_effects(world, line, singles)
        delta, lfc, control = _expected(world, line, effect, expectation)
        lone_delta, _, _ = _expected(world, line, lone, expectation)
        place = {single.targets: i for i, single in enumerate(singles)}
        interaction = np.zeros_like(delta)
        for i, p in enumerate(perturbations):
            if p.kind != "drug" and len(p.targets) > 1:
                interaction[i] = delta[i] - sum(lone_delta[place[(gene,)]] for gene in p.targets)
        blocks.append((delta, lfc, effect.steady, interaction))
        var[f"control_{line.name}"] = control.astype(np.float32)
        table = pd.DataFrame(
            {
                "cell_line": line.name,
                "perturbation": [p.label for p in perturbations],
                "perturbation_type": [p.kind for p in perturbations],
                "targets": ["+".join(world.gene_names[list(p.targets)]) for p in perturbations],
                "efficiency": ["+".join(f"{x:.4g}" for x in p.strengths) for p in perturbations],
                "escape": ["+".join(f"{x:.4g}" for x in p.escapes) for p in perturbations],
                "dose": np.array([p.dose for p in perturbations], np.float32),
                "viability": effect.viability,
                "survival": effect.survival,
                "n_cells": expected_cells(config, perturbations, effect),
                "synergy": np.linalg.norm(interaction, axis=1),
            },
            index=pd.Index([f"{line.name}|{p.label}" for p in perturbations]),
        )
        if plan is not None:
            drawn = plan.condition[plan.line == c]
            table["n_cells_observed"] = np.bincount(drawn[drawn >= 0], minlength=n)
        tables.append(table)
    x, lfc, steady, interaction = (np.vstack(part).astype(np.float32) for part in zip(*blocks, strict=True))
    layers = {"lfc": lfc, "steady_state": steady, "interaction": interaction}
    return anndata.AnnData(x, obs=pd.concat(tables), var=var, layers=layers, uns=_mechanism(world))


def _expected(world: World, line, effect: TrueEffects, expectation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Expected delta and log fold change of the mixture of states, and the control profile."""
    control = log_share(line, np.zeros((1, world.config.n_genes)))
    states = log_share(line, effect.state_change)
    base = expectation(control)
    delta = effect.mixture @ expectation(states) - base
    lfc = np.log(effect.mixture @ np.exp(states)) - control
    return delta, lfc, base[0]


def _singles_behind(perturbations: list[Perturbation]) -> list[Perturbation]:
    """The single perturbations that the pairs are made of, screened alone or not."""
    found = {p.targets: p for p in perturbations if p.kind != "drug" and len(p.targets) == 1}
    return list(found.values())


def _mechanism(world: World) -> dict:
    """The network and all it rests on, as arrays that h5ad can hold; indices refer to the genes of the file."""
    config = asdict(world.config)
    config["cell_lines"], config["modes"] = np.array(config["cell_lines"]), np.array(config["modes"])
    config["doses"] = np.array(config["doses"], float)
    gates = world.gates
    weights = {f"weight_{line.name}": line.edge_weight.astype(np.float32) for line in world.lines}
    return {
        "network": {
            "source": world.source.astype(np.int32),
            "target": world.target.astype(np.int32),
            "weight": world.weight.astype(np.float32),
            **weights,
        },
        "gates": {
            "source_a": gates.source_a.astype(np.int32),
            "source_b": gates.source_b.astype(np.int32),
            "target": gates.target.astype(np.int32),
            "weight": gates.weight.astype(np.float32),
        },
        "pathways": {
            "pathway": world.member_pathway.astype(np.int32),
            "gene": world.member_gene.astype(np.int32),
            "regulator": world.regulators.astype(np.int32),
            "regulator_pathway": world.regulator_pathway.astype(np.int32),
        },
        "lethal_pairs": {
            "a": world.lethal_a.astype(np.int32),
            "b": world.lethal_b.astype(np.int32),
            "cost": world.lethal_cost.astype(np.float32),
        },
        "essentiality": {line.name: line.essentiality.astype(np.float32) for line in world.lines},
        "stress": {line.name: line.stress.astype(np.float32) for line in world.lines},
        "shift": world.shift.astype(np.float32),
        "config": config,
    }


def _prepare(config: SimulatorConfig, seed: int) -> _Prepared:
    world_rng, choice_rng, plan_rng, prior_rng, count_rng = np.random.default_rng(seed).spawn(5)
    world = make_world(config, world_rng)
    perturbations = make_perturbations(world, choice_rng)
    effects = [solve_effects(world, line, perturbations) for line in world.lines]
    plan = make_plan(config, perturbations, effects, plan_rng)
    return _Prepared(world, perturbations, effects, plan, _gene_sets(world, prior_rng), count_rng)


def _gene_sets(world: World, rng: np.random.Generator) -> dict[str, list[str]]:
    """Pathways as databases would know them: members missing, false members added, and sets that mean nothing here.

    Half of the pathways are in two databases, which err independently.
    """
    config, difficulty = world.config, DIFFICULTIES[world.config.difficulty]
    sets = []
    for k in np.repeat(np.arange(config.n_pathways), rng.integers(1, 3, config.n_pathways)):
        members = world.member_gene[world.member_pathway == k]
        known = members[rng.random(len(members)) >= difficulty.prior_missing]
        false_share = difficulty.prior_false / (1 - difficulty.prior_false)
        false = rng.choice(config.n_genes, rng.binomial(len(members), min(1.0, false_share)), replace=False)
        sets.append(np.union1d(known, false))
    sizes = [len(s) for s in sets]
    for _ in range(max(1, round(0.2 * config.n_pathways))):
        sets.append(rng.choice(config.n_genes, max(3, int(rng.choice(sizes))), replace=False))
    order = rng.permutation(len(sets))
    width = len(str(len(sets)))
    kept = [np.sort(sets[i]) for i in order if len(sets[i]) >= 2]
    return {f"SET{i + 1:0{width}d}": world.gene_names[genes].tolist() for i, genes in enumerate(kept)}


def _var(world: World):
    import pandas as pd

    return pd.DataFrame({"gene_id": world.gene_ids}, index=pd.Index(world.gene_names.astype(str)))


def _progress(blocks: Iterator, ready: _Prepared) -> Iterator:
    """Blocks as they are, with a progress bar over cells."""
    from vc_contracts.progress import progress

    with progress(total=len(ready.plan), unit="cell", desc="simulate") as bar:
        for block in blocks:
            yield block
            bar.update(block.shape[0])


def _check_space(folder: Path, ready: _Prepared) -> None:
    """Refuse a disk that cannot hold the files: HDF5 does not survive a write that fails half-way.

    Raises:
        OSError: ENOSPC, if fewer bytes are free than the uncompressed counts and effects take.
    """
    config = ready.world.config
    stored = len(ready.plan) * min(config.n_genes, config.depth_median)
    conditions = len(ready.perturbations) * len(config.cell_lines)
    if shutil.disk_usage(folder).free < stored * 4 + conditions * config.n_genes * 12:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _stream_screen(path: Path, ready: _Prepared) -> None:
    """Write an AnnData file block by block; X grows as a compressed CSR group of anndata's encoding 0.1.0."""
    import anndata
    import h5py

    n_cells, n_genes = len(ready.plan), ready.world.config.n_genes
    obs = make_obs(ready.world, ready.perturbations, ready.plan)
    total, indptr, n_stored = np.empty(n_cells, np.float32), np.zeros(n_cells + 1, np.int64), 0
    anndata.AnnData(obs=obs.iloc[:0], var=_var(ready.world)).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        del file["obs"]
        if "X" in file:
            del file["X"]
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": (n_cells, n_genes)})
        options = {"shape": (0,), "maxshape": (None,), "chunks": (1 << 18,), "compression": "gzip"}
        options |= {"compression_opts": 1, "shuffle": True}
        data = group.create_dataset("data", dtype=np.float32, **options)
        indices = group.create_dataset("indices", dtype=np.int32, **options)
        row = 0
        for block in _progress(iter_counts(ready.world, ready.effects, ready.plan, ready.count_rng), ready):
            stop = n_stored + block.nnz
            data.resize((stop,))
            indices.resize((stop,))
            data[n_stored:stop], indices[n_stored:stop] = block.data, block.indices
            rows = slice(row, row + block.shape[0])
            indptr[row + 1 : rows.stop + 1] = n_stored + block.indptr[1:]
            total[rows] = np.asarray(block.sum(axis=1)).ravel()
            row, n_stored = rows.stop, stop
        group.create_dataset("indptr", data=indptr)
        obs["total_counts"] = total
        anndata.io.write_elem(file, "obs", obs)
