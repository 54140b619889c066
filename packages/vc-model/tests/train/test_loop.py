"""A run can be stopped anywhere, killed anyhow, and goes on as if it had not been."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from vc_model.errors import CheckpointError, TrainingError
from vc_model.train.interrupt import InterruptedRun
from vc_model.train.log import MetricsLog, open_tracker, read_metrics
from vc_model.train.loop import TrainConfig, train
from vc_model.train.optimiser import OptimiserConfig
from vc_model.train.testing import ToyBatches, make_toy_params, make_toy_stage

CONFIG = TrainConfig(steps=24, optimiser=OptimiserConfig(peak_rate=1e-2), log_every=4, save_every=6, keep=2, seed=3)
STAGE = make_toy_stage()


def run(folder, config=CONFIG, batches=None, **more):
    return train(STAGE, *make_toy_params(), batches or ToyBatches(), config, folder, n_genes=24, **more)


def losses(folder):
    return [(row["step"], row["loss"], row["cell_std"]) for row in read_metrics(folder / "metrics.jsonl")]


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    return folder, run(folder)


def test_the_loss_falls_and_the_log_tells(straight):
    folder, state = straight
    rows = read_metrics(folder / "metrics.jsonl")
    assert int(state.step) == 24 and [row["step"] for row in rows] == [4, 8, 12, 16, 20, 24]
    assert rows[-1]["loss"] < rows[0]["loss"]
    expected = {"loss", "rate", "beta1", "grad_norm", "cell_std", "cells_per_s", "error"}
    assert expected <= set(rows[0])
    assert sorted(path.name for path in (folder / "saves").iterdir()) == ["18", "24"]


def test_the_same_seed_gives_the_same_bytes(straight, tmp_path):
    assert_same(run(tmp_path).params, straight[1].params)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(straight, tmp_path):
    asked = iter(range(100))
    with pytest.raises(InterruptedRun, match=r"stopped after 10 of 24 steps, saved in .*saves/10.*same command"):
        run(tmp_path, should_stop=lambda: next(asked) == 9)
    assert_same(run(tmp_path), straight[1])
    assert losses(tmp_path) == losses(straight[0])


KILLED = """
import sys, time
from pathlib import Path
from test_loop import CONFIG, STAGE
from vc_model.train.loop import train
from vc_model.train.testing import ToyBatches, make_toy_params

class Slow(ToyBatches):
    def at(self, step):
        time.sleep(0.05)
        return super().at(step)

train(STAGE, *make_toy_params(), Slow(), CONFIG, Path(sys.argv[1]), n_genes=24)
"""


def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(straight, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], env=environment)
    metrics = tmp_path / "metrics.jsonl"
    # Killed after a line that is newer than the newest save.
    while process.poll() is None and not (metrics.exists() and '"step": 8' in metrics.read_text()):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    saved = [int(path.name) for path in (tmp_path / "saves").iterdir() if path.name.isdigit()]
    assert saved and max(saved) < 24
    assert_same(run(tmp_path), straight[1])
    assert losses(tmp_path) == losses(straight[0])


TWO = """
import json, sys
from dataclasses import replace
from pathlib import Path
import jax
folder, address, at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(address, 2, at)
from test_loop import CONFIG, run
from vc_model.train.interrupt import InterruptedRun
from vc_model.train.sharding import MeshConfig, fetch
from vc_model.train.testing import ToyBatches

said = []
for stop in (at == 1, False):
    batches = ToyBatches(process_index=at, process_count=2)
    config = replace(CONFIG, mesh=MeshConfig(fsdp=2))
    try:
        state = run(folder, config, batches, should_stop=lambda: stop)
    except InterruptedRun as interrupt:
        said.append(str(interrupt))
print(json.dumps({"said": said, "params": jax.tree.map(lambda a: a.tolist(), fetch(state.params))}))
"""


def test_two_processes_stop_at_one_step_and_go_on(straight, tmp_path):
    """Saves of parameters that lie on both; together they learn what one process learns."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    environment = os.environ | flags | {"PYTHONPATH": str(Path(__file__).parent)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    command = [sys.executable, "-c", TWO, str(tmp_path / "two"), address]
    jobs = [subprocess.Popen([*command, str(at)], **pipes) for at in (0, 1)]
    with jobs[0], jobs[1]:
        ended = [(*job.communicate(timeout=300), job.returncode) for job in jobs]
    assert [code for *_, code in ended] == [0, 0], ended
    found = [json.loads(out.splitlines()[-1]) for out, *_ in ended]
    # Only process 1 was asked to stop; both did, at the first line of the log.
    for by in found:
        (said,) = by["said"]
        assert f"stopped after {CONFIG.log_every} of {CONFIG.steps} steps" in said
    assert found[0]["params"] == found[1]["params"]
    assert [row["step"] for row in read_metrics(tmp_path / "two" / "metrics.jsonl")] == [4, 8, 12, 16, 20, 24]
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(straight[0]), rtol=1e-4)


def test_a_finished_run_is_not_run_again(straight):
    before = losses(straight[0])
    assert_same(run(straight[0], batches=Exploding()), straight[1])
    assert losses(straight[0]) == before


class Exploding(ToyBatches):
    """Broken from the 9th batch on."""

    def at(self, step):
        batch = super().at(step)
        return batch | {"x": np.full_like(batch["x"], np.nan)} if step >= 8 else batch


def test_a_loss_that_is_no_number_stops_the_run_and_is_not_saved(tmp_path):
    with pytest.raises(TrainingError, match=r"toy: step 9: expected a finite loss.*nan.*last good save is .*saves/6"):
        run(tmp_path, batches=Exploding())
    assert [path.name for path in (tmp_path / "saves").iterdir()] == ["6"]
    early = replace(CONFIG, save_every=24)
    with pytest.raises(TrainingError, match="no save to go back to"):
        run(tmp_path / "early", early, Exploding())


@pytest.mark.parametrize(
    ("change", "name"),
    [({"seed": 4}, "seed"), ({"steps": 30}, "steps"), ({"optimiser": OptimiserConfig(peak_rate=1e-3)}, "optimiser")],
)
def test_a_folder_of_another_run_is_refused(straight, change, name):
    with pytest.raises(TrainingError, match=f"found other \\['{name}'\\]"):
        run(straight[0], replace(CONFIG, **change))


def test_a_save_of_other_shapes_is_refused(straight):
    with pytest.raises(
        CheckpointError, match=r"saves/24.*expected the arrays of this model, found .*gene_gd.*another folder"
    ):
        train(STAGE, *make_toy_params(width=4), ToyBatches(), CONFIG, straight[0], n_genes=24)


def test_a_damaged_save_is_refused(straight, tmp_path):
    shutil.copytree(straight[0], tmp_path / "run")
    (tmp_path / "run" / "saves" / "24" / "record" / "metadata").write_text("{")
    with pytest.raises(CheckpointError, match=r"saves/24: record.*Delete that folder"):
        run(tmp_path / "run")


def test_batches_that_end_too_early_are_refused(tmp_path):
    class Short(ToyBatches):
        def __iter__(self):
            return iter([self.at(0)])

    with pytest.raises(TrainingError, match="expected 24 batches, found 1"):
        run(tmp_path, batches=Short())


def test_numbers_that_make_no_run_are_refused():
    with pytest.raises(TrainingError, match="steps: expected a whole number of 1 or more, found 0"):
        replace(CONFIG, steps=0)


def test_a_log_forgets_what_was_lost_and_a_cut_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n{"step": 3, "lo')
    seen = []

    class Seen:
        def log(self, values, step):
            seen.append((step, dict(values)))

    MetricsLog(path, 1, Seen()).write(2, {"loss": float("nan")})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 1, "loss": 2.0},
        {"step": 2, "loss": None},
    ]
    assert seen[0][0] == 2 and np.isnan(seen[0][1]["loss"])
    path.write_text('nonsense\n{"step": 2}\n')
    with pytest.raises(TrainingError, match="line 1: expected a JSON object with a step"):
        read_metrics(path)


class FakeWandb:
    """What matters of wandb: a run left open is given out again, and it drops steps that are not newer than its last."""

    def __init__(self):
        self.runs, self.open = [], None

    def init(self, name, config):
        if self.open is None:
            self.open = FakeRun(self, name, config)
            self.runs.append(self.open)
        return self.open


class FakeRun:
    def __init__(self, module, name, config):
        self.module, self.name, self.config, self.rows = module, name, config, []

    def log(self, values, step):
        if not self.rows or step > self.rows[-1][0]:
            self.rows.append((step, dict(values)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.module.open = None


def test_a_tracker_sees_every_line_of_every_stage(tmp_path, monkeypatch):
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for name in ("one", "two"):
        with open_tracker("wandb", run=name, config={"out": tmp_path / name, "seed": 3}) as tracker:
            run(tmp_path / name, tracker=tracker)
    assert [(seen.name, seen.config["out"]) for seen in wandb.runs] == [
        (name, str(tmp_path / name)) for name in ("one", "two")
    ]
    for seen in wandb.runs:
        rows = read_metrics(tmp_path / seen.name / "metrics.jsonl")
        assert [{"step": step, **values} for step, values in seen.rows] == rows and len(rows) == 6
    assert wandb.open is None


def test_a_tracker_is_imported_only_when_asked_for(monkeypatch):
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with open_tracker(None, run="r", config={}) as tracker:
        assert tracker is None
    with (
        pytest.raises(TrainingError, match="expected 'wandb' or none, found 'other'"),
        open_tracker("other", run="r", config={}),
    ):
        pass
    assert "wandb" not in sys.modules
    monkeypatch.setitem(sys.modules, "wandb", None)
    with (
        pytest.raises(TrainingError, match=r"wandb is not installed. Run `uv pip install"),
        open_tracker("wandb", run="r", config={}),
    ):
        pass
