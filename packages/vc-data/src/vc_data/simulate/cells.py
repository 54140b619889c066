"""The sequenced screen: which cells there are, and their counts.

Counts are made in blocks of cells, each block with a random stream of its own, so that a screen streamed to disk
equals the one made in memory whatever the number of threads.
"""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vc_data.simulate.config import SimulatorConfig
from vc_data.simulate.effects import Perturbation, TrueEffects, log_share
from vc_data.simulate.network import World

if TYPE_CHECKING:
    import scipy.sparse

CONTROL = "control"


@dataclass(frozen=True)
class CellPlan:
    """Every cell of the screen before it has counts; cells of one batch are contiguous, in random order."""

    line: np.ndarray
    """[n] index of the cell line."""
    condition: np.ndarray
    """[n] index of the perturbation, -1 for controls."""
    state: np.ndarray
    """[n] index of the cell's state among the states of its line (`TrueEffects`), -1 for controls."""
    batch: np.ndarray
    """[n] index of the batch within the cell line."""
    depth: np.ndarray
    """[n] expected UMIs, float32."""

    def __len__(self) -> int:
        return len(self.line)


def make_plan(
    config: SimulatorConfig, perturbations: list[Perturbation], effects: list[TrueEffects], rng: np.random.Generator
) -> CellPlan:
    """Draw how many cells of each condition survive, and their batch and depth.

    Args:
        config: The screen.
        perturbations: Conditions.
        effects: Per cell line, for its survival and states.
        rng: Source of everything random here.

    Returns:
        The cells.
    """
    columns: list[tuple[np.ndarray, ...]] = []
    for c, effect in enumerate(effects):
        expected = expected_cells(config, perturbations, effect)
        n_cells = np.append(config.controls_per_line, np.maximum(rng.poisson(expected), 1))
        condition = np.repeat(np.arange(-1, len(perturbations)), n_cells)
        state = np.full(len(condition), -1)
        stops = np.cumsum(n_cells)
        for i in range(len(perturbations)):
            lo, hi = effect.mixture.indptr[i : i + 2]
            states, share = effect.mixture.indices[lo:hi], effect.mixture.data[lo:hi]
            state[stops[i] : stops[i + 1]] = rng.choice(states, n_cells[i + 1], p=share)
        batch = rng.integers(0, config.n_batches, len(condition))
        batch_depth = rng.lognormal(0.0, 0.1, config.n_batches)
        batch_depth /= np.exp(np.log(batch_depth).mean())
        depth = config.depth_median * batch_depth[batch] * rng.lognormal(0.0, config.depth_log_sd, len(condition))
        order = np.lexsort((rng.random(len(condition)), batch))
        columns.append((np.full(len(condition), c)[order], condition[order], state[order], batch[order], depth[order]))
    line, condition, state, batch, depth = (np.concatenate(column) for column in zip(*columns, strict=True))
    return CellPlan(line, condition, state, batch, depth.astype(np.float32))


def expected_cells(config: SimulatorConfig, perturbations: list[Perturbation], effects: TrueEffects) -> np.ndarray:
    """Expected number of surviving cells of each perturbation in one cell line; [p]."""
    return config.cells_per_condition * np.array([p.abundance for p in perturbations]) * effects.survival


def make_obs(world: World, perturbations: list[Perturbation], plan: CellPlan):
    """Cell table without counts.

    Args:
        world: Names of the cell lines and genes.
        perturbations: Conditions.
        plan: Cells.

    Returns:
        Data frame [n] with `perturbation` (drugs without their dose), `target_genes` (what a drug binds, or the perturbed
        genes), `cell_line`, `batch`, `is_control`, `perturbation_type`, `dose` (NaN for genetic ones and controls).
    """
    import pandas as pd

    # The dose is a column of its own in the counts, as in real files.
    labels = [CONTROL, *(p.label.split("@")[0] for p in perturbations)]
    kinds = [CONTROL, *(p.kind for p in perturbations)]
    genes = [CONTROL, *("+".join(sorted(world.gene_names[list(p.targets)])) for p in perturbations)]
    doses = np.array([np.nan, *(p.dose for p in perturbations)], np.float32)
    names = [line.name for line in world.lines]
    n_batches = world.config.n_batches
    batches = [f"{name}_B{b + 1:0{len(str(n_batches))}d}" for name in names for b in range(n_batches)]
    index = [f"cell{i:0{len(str(len(plan)))}d}" for i in range(len(plan))]

    def category(values: list[str], codes: np.ndarray) -> pd.Categorical:
        unique = sorted(set(values))
        place = {value: i for i, value in enumerate(unique)}
        return pd.Categorical.from_codes(np.array([place[v] for v in values])[codes].tolist(), pd.Index(unique))

    row = plan.condition + 1
    return pd.DataFrame(
        {
            "perturbation": category(labels, row),
            "target_genes": category(genes, row),
            "cell_line": category(names, plan.line),
            "batch": category(batches, plan.line * n_batches + plan.batch),
            "is_control": plan.condition < 0,
            "perturbation_type": category(kinds, row),
            "dose": doses[row],
        },
        index=pd.Index(index),
    )


def iter_counts(
    world: World, effects: list[TrueEffects], plan: CellPlan, rng: np.random.Generator, *, n_threads: int | None = None
) -> Iterator["scipy.sparse.csr_matrix"]:
    """Raw counts of the planned cells, block by block.

    A cell's expected counts are depth times the shares of its condition, moved by its cell state and batch; counts are
    negative binomial around them (gamma times Poisson). Peak memory is about
    `(n_threads + 2) * block_cells * n_genes * 16` bytes plus one row per condition.

    Args:
        world: Cell lines and dispersions.
        effects: Per cell line.
        plan: Cells.
        rng: Source of everything random here; blocks get streams of their own.
        n_threads: Threads; the cores of this machine, at most 8, by default. Does not change the result.

    Yields:
        CSR blocks of at most `block_cells` cells, float32, sorted indices.
    """
    config = world.config
    # Per line: controls, then each state.
    base = [
        log_share(
            line, np.vstack([np.zeros(config.n_genes), effect.state_change])
        ).astype(np.float32)
        for line, effect in zip(world.lines, effects, strict=True)
    ]  # fmt: skip
    batch_rng, *block_rngs = rng.spawn(1 + -(-len(plan) // config.block_cells))
    batch_effect = [_batch_effect(config, base[c][0], batch_rng) for c in range(len(world.lines))]
    shape = (1.0 / world.dispersion).astype(np.float32)

    def block(index: int):
        rows = slice(index * config.block_cells, (index + 1) * config.block_cells)
        return _count_block(world, base, batch_effect, shape, plan, rows, block_rngs[index])

    n_threads = n_threads or min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(n_threads) as pool:
        waiting: deque = deque()
        for index in range(len(block_rngs)):
            waiting.append(pool.submit(block, index))
            if len(waiting) > n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _batch_effect(config: SimulatorConfig, control_log_share: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[b, g] log factors of a line's batches; their weighted mean over genes is 0, so depth stays depth."""
    effect = rng.normal(0.0, config.batch_log_sd, (config.n_batches, config.n_genes))
    effect -= 0.5 * config.batch_log_sd**2
    return (effect - (effect @ np.exp(control_log_share))[:, None]).astype(np.float32)


def _count_block(world, base, batch_effect, shape, plan: CellPlan, rows: slice, rng: np.random.Generator):
    import scipy.sparse as sp

    line_n, depth = plan.line[rows], plan.depth[rows]
    state_n = plan.state[rows]
    rate = np.empty((len(line_n), world.config.n_genes), np.float32)
    for c in np.unique(line_n):
        here = line_n == c
        loading = world.lines[c].state_loading
        factor = rng.standard_normal((here.sum(), len(loading)), dtype=np.float32)
        # The first two factors are the cell cycle: two phases of one clock instead of independent noise.
        phase = rng.uniform(0.0, 2 * np.pi, here.sum())
        factor[:, 0], factor[:, 1] = np.sqrt(2) * np.cos(phase), np.sqrt(2) * np.sin(phase)
        log_rate = factor @ loading
        log_rate -= 0.5 * np.sum(loading**2, axis=0)
        log_rate += base[c][state_n[here] + 1]
        log_rate += batch_effect[c][plan.batch[rows][here]]
        rate[here] = log_rate
    np.exp(rate, out=rate)
    rate *= rng.standard_gamma(np.broadcast_to(shape, rate.shape), dtype=np.float32)
    rate *= world.dispersion.astype(np.float32)
    rate *= depth[:, None]
    return sp.csr_matrix(rng.poisson(rate).astype(np.float32))
