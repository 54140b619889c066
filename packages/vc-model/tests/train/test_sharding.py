"""The same loss on 1 device, on 8, and on two processes: a batch is one batch wherever its cells lie."""

import json
import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec
from vc_model.errors import TrainingError
from vc_model.train.sharding import MESH_AXES, MeshConfig, make_mesh, make_spec, parameter_axes, put_batch

RUN = """
import json, sys
import jax
settings = json.loads(sys.argv[1])
if settings["processes"] > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(settings["address"], settings["processes"], settings["process"])
from vc_model.train.optimiser import OptimiserConfig, make_optimiser
from vc_model.train.sharding import MeshConfig, make_mesh, put_batch
from vc_model.train.state import make_state, make_step
from vc_model.train.testing import ToyBatches, make_toy_params, make_toy_stage

batches = ToyBatches(process_index=settings["process"], process_count=settings["processes"])
found = {}
for shape in settings["meshes"]:
    mesh = make_mesh(MeshConfig(**shape))
    params, frozen = make_toy_params()
    optimiser = make_optimiser(OptimiserConfig(peak_rate=1e-2), 4, params)
    state, shardings = make_state(params, frozen, optimiser, mesh, 24)
    step = make_step(make_toy_stage(), optimiser, shardings, 0, 4)
    losses = []
    for at in range(4):
        with jax.set_mesh(mesh):
            state, metrics = step(state, put_batch(batches.at(at), mesh))
        losses.append([float(metrics["loss"]), float(metrics["grad_norm"])])
    moment = jax.tree.leaves(state.opt_state[1].inner_state[0].mu["student"]["gene_gd"])[0]
    shards = [list(leaf.sharding.shard_shape(leaf.shape)) for leaf in (state.params["student"]["gene_gd"], moment)]
    found[json.dumps(shape)] = {"losses": losses, "shards": shards}
print(json.dumps(found))
"""
MESHES = [{"data": 8}, {"fsdp": 8}, {"gene": 8}, {"data": 2, "fsdp": 2, "gene": 2}]


def start(
    devices: int, meshes: list[dict], process: int = 0, processes: int = 1, address: str = ""
) -> subprocess.Popen:
    settings = {"meshes": meshes, "process": process, "processes": processes, "address": address}
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", RUN, json.dumps(settings)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> dict:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def one_device() -> list:
    return finish(start(1, [{}]))["{}"]["losses"]


def test_eight_devices_give_the_loss_of_one(one_device):
    found = finish(start(8, MESHES))
    for shape in MESHES:
        np.testing.assert_allclose(found[json.dumps(shape)]["losses"], one_device, rtol=1e-5, err_msg=str(shape))
    shards = {tuple(shape): found[json.dumps(shape)]["shards"] for shape in MESHES}
    # [24 genes, 8 wide]: copied by data, cut by width or by genes; the optimiser's moments lie as the parameters do.
    assert shards["data",] == [[24, 8]] * 2 and shards["fsdp",] == [[24, 1]] * 2 and shards["gene",] == [[3, 8]] * 2
    assert shards["data", "fsdp", "gene"] == [[12, 4]] * 2


def test_two_processes_give_the_loss_of_one(one_device):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    meshes = [{"data": 4}, {"data": 2, "gene": 2}]
    first, second = (start(2, meshes, process, 2, address) for process in (0, 1))
    with first, second:
        found_by = [finish(process) for process in (first, second)]
    for found in found_by:
        for shape in meshes:
            np.testing.assert_allclose(found[json.dumps(shape)]["losses"], one_device, rtol=1e-5, err_msg=str(shape))


def fake_mesh(data=1, fsdp=1, gene=1) -> Mesh:
    """A mesh of a shape that this machine may not have; enough for specs."""
    return jax.sharding.AbstractMesh((data, fsdp, gene), MESH_AXES)


def test_the_table_places_parameters_and_batches():
    mesh = fake_mesh(2, 2, 2)
    assert make_spec(("batch", "gene"), mesh) == PartitionSpec(("data", "fsdp"), "gene")
    assert make_spec(parameter_axes((24, 8), 24), mesh, (24, 8)) == PartitionSpec("gene", "fsdp")
    assert make_spec(parameter_axes((6, 8, 16), 24), mesh, (6, 8, 16)) == PartitionSpec(None, None, "fsdp")
    # Biases stay whole, as does a width that two devices do not divide.
    assert make_spec(parameter_axes((16,), 24), mesh, (16,)) == PartitionSpec(None)
    assert make_spec(parameter_axes((8, 3), 24), mesh, (8, 3)) == PartitionSpec(None, None)


def test_axes_that_collide_are_refused():
    with pytest.raises(ValueError, match="would all be cut along"):
        make_spec(("batch", "param"), fake_mesh(fsdp=2))
    with pytest.raises(TrainingError, match=r"expected logical axes .*found \['cell'\]"):
        make_spec(("cell",), fake_mesh())


def test_a_mesh_that_the_devices_cannot_make_is_refused():
    with pytest.raises(TrainingError, match=r"product is the number of devices .*'gene': 512"):
        make_mesh(MeshConfig(gene=512))
    with pytest.raises(TrainingError, match="expected sizes >= 1"):
        make_mesh(MeshConfig(data=0))


def test_cells_that_cannot_be_dealt_out_are_refused():
    with pytest.raises(TrainingError, match=r"'x': expected a batch axis that 2 devices divide evenly, found 3"):
        put_batch({"x": np.zeros((3, 4), np.float32)}, fake_mesh(data=2))
