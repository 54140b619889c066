"""The training loop: batches in, a trained state out, able to stop at any step and to go on as if it had not.

Order of a start:
1. put a fresh state on the mesh;
2. where the folder holds a save of the same run, restore it over the fresh one, and the data's position with it;
3. cut the metrics file to that step;
4. compile the step and go on.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from vc_contracts.progress import progress

from vc_model.errors import TrainingError
from vc_model.train.interrupt import InterruptedRun
from vc_model.train.log import MetricsLog, Tracker
from vc_model.train.optimiser import OptimiserConfig, make_optimiser
from vc_model.train.saver import Saver, gather_positions
from vc_model.train.schedule import one_cycle_beta1, one_cycle_rate
from vc_model.train.sharding import MeshConfig, count_cells, make_mesh, put_batch
from vc_model.train.state import Stage, TrainState, make_state, make_step

SAVES = "saves"
METRICS = "metrics.jsonl"


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Choices of a run."""

    steps: int
    """Updates in all; the schedule spans them."""
    optimiser: OptimiserConfig
    """Of this stage."""
    seed: int = 0
    """Root of the run's randomness."""
    mesh: MeshConfig = field(default_factory=MeshConfig)
    """Devices; may change when a run goes on."""
    log_every: int = 50
    """Steps between lines of the metrics file."""
    save_every: int = 500
    """Steps between saves; the last step is always saved."""
    keep: int = 2
    """Saves that stay."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no run.

        Raises:
            TrainingError: If any is below 1.
        """
        for name in ("steps", "log_every", "save_every", "keep"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name}: expected a whole number of 1 or more, found {getattr(self, name)}.")


class Batches(Protocol):
    """Where batches come from; a vc-data `Loader` behind a function is one."""

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Batches without end, from the present position."""
        ...

    def get_state(self) -> dict[str, Any]:
        """Position, JSON-ready and under 4 kB."""
        ...

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a position."""
        ...


def train(
    stage: Stage,
    params: dict[str, Any],
    frozen: dict[str, Any],
    batches: Batches,
    config: TrainConfig,
    folder: Path,
    *,
    n_genes: int,
    decay: Any = None,
    should_stop: Callable[[], bool] = lambda: False,
    tracker: Tracker | None = None,
) -> TrainState:
    """Run a stage to its last step, from the latest save in the folder where there is one.

    Args:
        stage: What to minimise.
        params: Trained arrays at the start.
        frozen: Arrays that are not trained, at the start.
        batches: Endless data; this process's share where there are several.
        config: How long and how.
        folder: For saves and metrics; what lies there must be of the same stage, seed and steps.
        n_genes: Length of the gene axis.
        decay: Tree of bool like `params`, true where weights decay; everything by default.
        should_stop: Asked after every step; true saves and stops (in all processes, at the next logged step, where there are
            several).
        tracker: Also gets the metrics.

    Returns:
        The state after the last step.

    Raises:
        InterruptedRun: After `should_stop` said so; the state is saved.
        TrainingError: If the folder holds another run, or the loss is not finite.
        CheckpointError: If the latest save cannot be read.
    """
    mesh = make_mesh(config.mesh)
    optimiser = make_optimiser(config.optimiser, config.steps, params, decay)
    state, shardings = make_state(params, frozen, optimiser, mesh, n_genes)
    settings = {"stage": stage.name, "steps": config.steps, "seed": config.seed, "optimiser": asdict(config.optimiser)}
    folder.mkdir(parents=True, exist_ok=True)
    with Saver(folder / SAVES, config.keep, beside=(METRICS,)) as saver:
        record: dict[str, Any] = {"monitors": {}, "cells": 0, "seconds": 0.0}
        if saver.latest is not None:
            state, record = saver.restore(saver.latest, state, shardings)
            _check_settings(saver.path(saver.latest), record["settings"], settings)
            batches.set_state(record["positions"][jax.process_index()])
        done = int(state.step)
        run = _Run(stage, config, mesh, batches, saver, settings, record)
        log = MetricsLog(folder / METRICS, done, tracker) if jax.process_index() == 0 else None
        if done == config.steps:
            return state
        step = make_step(stage, optimiser, shardings, config.seed, config.steps)
        # Model code states how activations are cut on the mesh that is set (`vc_model.train.rules.constrain`).
        with jax.set_mesh(mesh):
            return run.go(state, step, log, done, should_stop)


class _Run:
    """What the loop keeps between steps."""

    def __init__(self, stage, config, mesh, batches, saver, settings, record):
        self.stage, self.config, self.mesh, self.batches, self.saver = stage, config, mesh, batches, saver
        self.settings = settings
        self.monitors, self.cells, self.seconds = record["monitors"], record["cells"], record["seconds"]
        self.rate = one_cycle_rate(config.optimiser.peak_rate, config.steps)
        self.beta1 = one_cycle_beta1(config.steps)

    def go(self, state: TrainState, step, log: MetricsLog | None, done: int, should_stop) -> TrainState:
        config = self.config
        started = last_time = time.perf_counter()
        before, last_cells = self.seconds, self.cells
        pending: tuple[int, dict] | None = None
        quiet = None if jax.process_index() == 0 else True
        bar = progress(total=config.steps, initial=done, desc=self.stage.name, shown=not quiet, mininterval=1)
        with bar:
            for batch in self.batches:
                placed = put_batch(batch, self.mesh)
                state, metrics = step(state, placed)
                done += 1
                self.cells += count_cells(placed)
                # The loss is looked at one step late, so that the device never waits for the host.
                self._check_finite(pending)
                pending = (done, metrics)
                last = done == config.steps
                shown = done % config.log_every == 0 or last
                stop = _agree(should_stop(), shown)
                if shown:
                    self._check_finite(pending)
                    now = time.perf_counter()
                    values = {name: float(value) for name, value in metrics.items()}
                    # The rate of the update that was just done, which began after `done - 1` others.
                    values |= {"rate": float(self.rate(done - 1)), "beta1": float(self.beta1(done - 1))}
                    self.monitors = dict(values)
                    values["cells_per_s"] = (self.cells - last_cells) / max(now - last_time, 1e-9)
                    last_time, last_cells = now, self.cells
                    bar.set_postfix(loss=f"{values['loss']:.4g}", refresh=False)
                    if log is not None:
                        log.write(done, values)
                bar.update()
                if done % config.save_every == 0 or last or stop:
                    self._check_finite(pending)
                    self.seconds = before + time.perf_counter() - started
                    self.saver.save(done, state, self._record())
                if last:
                    return state
                if stop:
                    raise InterruptedRun(
                        f"{self.stage.name}: stopped after {done} of {config.steps} steps, saved in "
                        f"{self.saver.path(done)}. The same command goes on from there."
                    )
        raise TrainingError(f"{self.stage.name}: expected {config.steps} batches, found {done}. Give endless batches.")

    def _record(self) -> dict[str, Any]:
        return {
            "settings": self.settings,
            "positions": gather_positions(self.batches.get_state()),
            "monitors": self.monitors,
            "cells": self.cells,
            "seconds": self.seconds,
        }

    def _check_finite(self, pending: tuple[int, dict] | None) -> None:
        """Stop before a state that is not a number can be saved."""
        if pending is None:
            return
        step, metrics = pending
        found = {name: float(metrics[name]) for name in ("loss", "grad_norm")}
        if np.isfinite(list(found.values())).all():
            return
        good = self.saver.latest
        where = "there is no save to go back to" if good is None else f"the last good save is {self.saver.path(good)}"
        raise TrainingError(
            f"{self.stage.name}: step {step}: expected a finite loss and gradient, found {found}; {where}. Lower the "
            "learning rate, or look for broken values in the data."
        )


def _agree(stop: bool, shown: bool) -> bool:
    """Whether to stop here. Several processes stop at the same step, so they ask each other, and only where they wait anyway."""
    if jax.process_count() == 1:
        return stop
    if not shown:
        return False
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.array(stop))))


def _check_settings(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    differing = sorted(name for name in expected if found.get(name) != expected[name])
    if differing:
        raise TrainingError(
            f"{path}: expected a save of the same run, found other {differing}: "
            f"{ {name: found.get(name) for name in differing} } instead of { {name: expected[name] for name in differing} }. "
            "Give the settings of that run, or another folder."
        )
