"""The real stages on 1 device, on 8 and on two processes: the same loss, wherever cells, genes and parameters lie."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from vc_model.biojepa.config import STAGES

RUNS = [(stage, False) for stage in STAGES] + [("pretrain", True)]
EVERY_AXIS = {"data": 2, "fsdp": 2, "gene": 2}


def start(
    runs: list, mesh: dict, devices: int, process: int = 0, processes: int = 1, address: str = ""
) -> subprocess.Popen:
    listed = [{"stage": stage, "faithful": faithful, "mesh": mesh} for stage, faithful in runs]
    settings = {"runs": listed, "process": process, "processes": processes, "address": address}
    # Compiled without optimisation: much is compiled here and little computed.
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, Path(__file__).with_name("sharded_stages.py"), json.dumps(settings)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen, runs: list) -> dict:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    return dict(zip(runs, json.loads(out.splitlines()[-1]), strict=True))


@pytest.fixture(scope="module")
def found() -> tuple[dict, dict]:
    """Stage and kind -> what one device finds, and what eight do."""
    jobs = [start(RUNS, {}, devices=1), start(RUNS, EVERY_AXIS, devices=8)]
    with jobs[0], jobs[1]:
        return tuple(finish(job, RUNS) for job in jobs)


def assert_same(found: dict, expected: dict) -> None:
    (first, second), (one, two) = np.array(found["losses"]), np.array(expected["losses"])
    np.testing.assert_allclose(first[0], one[0], rtol=1e-5)
    np.testing.assert_allclose(first[1], one[1], rtol=1e-4)
    np.testing.assert_allclose(second[0], two[0], rtol=1e-5)


@pytest.mark.parametrize(("stage", "faithful"), RUNS)
def test_eight_devices_give_the_loss_of_one(stage, faithful, found):
    one, eight = (by[stage, faithful] for by in found)
    assert_same(eight, one)
    assert one["share"] == 1 and eight["share"] <= 0.5


def test_two_processes_give_the_loss_of_one(found):
    runs = [("ac", False)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    jobs = [start(runs, {"data": 2, "gene": 2}, 2, process, 2, address) for process in (0, 1)]
    with jobs[0], jobs[1]:
        for by in [finish(job, runs) for job in jobs]:
            assert_same(by["ac", False], found[0]["ac", False])
