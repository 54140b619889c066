"""Child process of test_sharded_stages.py: two updates of training stages on meshes; prints losses and shards as JSON.

The argument is JSON: `runs`, each a stage, `faithful`, and a mesh; and `process`, `processes`, `address` of a job of several.
"""

import json
import sys

import jax
import numpy as np
from vc_model.biojepa.config import STAGES, BioJepaConfig
from vc_model.biojepa.stages import decay_mask, ema_update, init_stage, make_loss
from vc_model.train.optimiser import OptimiserConfig, make_optimiser
from vc_model.train.sharding import MeshConfig, make_mesh, put_batch
from vc_model.train.state import Stage, keep_frozen, make_state, make_step

from conftest import jolt, make

N_CELLS, N_GENES, STEPS = 8, 40, 2
settings = json.loads(sys.argv[1])


def start(stage: str, cfg: BioJepaConfig) -> tuple[dict, dict]:
    """What a stage trains and reads, off its initial values so that every layer matters."""
    previous: dict = {}
    for earlier in STAGES:
        params, frozen = init_stage(earlier, cfg, 0, previous)
        if earlier == stage:
            return jolt(params, 1), jolt(frozen, 2)
        previous |= params | ({"teacher": frozen["teacher"]} if "teacher" in frozen else {})
    raise ValueError(stage)


def share(batch: dict) -> dict:
    """This process's cells of a batch."""
    at, of = settings["process"], settings["processes"]
    rows = slice(at * N_CELLS // of, (at + 1) * N_CELLS // of)
    return {name: array if name == "measured" else array[rows] for name, array in batch.items()}


def run(stage: str, faithful: bool, shape: dict) -> dict:
    """Loss, gradient and how much of the largest trained array each device holds."""
    cfg = BioJepaConfig.tiny(n_genes=N_GENES, n_layers=1, tau=0.2, faithful=faithful, objective="pairs").for_cells(30)
    mesh = make_mesh(MeshConfig(**shape))
    params, frozen = start(stage, cfg)
    optimiser = make_optimiser(OptimiserConfig(peak_rate=1e-3), STEPS, params, decay_mask(params, cfg))
    state, shardings = make_state(params, frozen, optimiser, mesh, N_GENES)

    def follow(params: dict, frozen: dict) -> dict:
        return {"teacher": ema_update(frozen["teacher"], params["encoder"], 0.9)}

    trained = Stage(stage, make_loss(stage, cfg), follow if stage == "pretrain" else keep_frozen)
    step = make_step(trained, optimiser, shardings, 0, STEPS)
    losses = []
    for at in range(STEPS):
        with jax.set_mesh(mesh):
            state, metrics = step(state, put_batch(share(make(cfg, N_CELLS, seed=at)), mesh))
        losses.append([float(metrics["loss"]), float(metrics["grad_norm"])])
    largest = max(jax.tree.leaves(state.params), key=lambda leaf: leaf.size)
    held = int(np.prod(largest.sharding.shard_shape(largest.shape)))
    return {"losses": losses, "share": held / largest.size}


if settings["processes"] > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(settings["address"], settings["processes"], settings["process"])
print(json.dumps([run(one["stage"], one["faithful"], one["mesh"]) for one in settings["runs"]]))
