import importlib.util
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from vc_model.biojepa.actions import ActionBank
from vc_model.biojepa.config import STAGES, BioJepaConfig
from vc_model.biojepa.fitted import FittedBioJepa
from vc_model.biojepa.stages import init_stage
from vc_model.table.pseudobulk import ControlCells

N_CELLS, N_SLOTS = 4, 2


def make(cfg, n_cells=N_CELLS, n_slots=N_SLOTS, seed=0):
    """A batch that serves every stage: some genes unmeasured, some slots padded, some embeddings absent."""
    rng = np.random.default_rng(seed)
    shape, genes = (n_cells, n_slots), (n_cells, cfg.n_genes)

    def cells():
        return (rng.gamma(1, 1, genes) * (rng.random(genes) > 0.5)).astype(np.float32)

    mask = np.arange(n_slots) < rng.integers(1, n_slots + 1, (n_cells, 1))
    mask[0] = np.arange(n_slots) < 1
    has_seq = rng.random(shape) > 0.3
    batch = {
        "x": cells(),
        "x_control": cells(),
        "x_case": cells(),
        "x_effect": rng.normal(size=genes).astype(np.float32),
        **{name: rng.normal(8, 1, n_cells).astype(np.float32) for name in ("total", "total_control", "total_case")},
        "measured": rng.random(cfg.n_genes) > 0.2,
        "seq_emb": rng.normal(size=(*shape, cfg.seq_width)).astype(np.float32),
        "target_emb": rng.normal(size=(*shape, cfg.target_width)).astype(np.float32),
        "modality": rng.integers(0, 3, shape).astype(np.int32),
        "mode": rng.integers(0, cfg.n_modes, shape).astype(np.int32),
        "has_seq": has_seq,
        "has_target": ~has_seq | (rng.random(shape) > 0.5),
        "pert_mask": mask,
        "dose": np.where(rng.random(shape) > 0.5, -1, rng.gamma(1, 10, shape)).astype(np.float32),
    }
    return batch


def jolt(tree, seed=0, scale=0.1):
    """Parameters moved off their initial values, so that gates, biases and zero-initialised layers all matter."""
    leaves, structure = jax.tree.flatten(tree)
    rng = np.random.default_rng(seed)
    moved = [np.asarray(leaf) + scale * rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
    return jax.tree.unflatten(structure, moved)


@pytest.fixture(scope="session")
def faithful():
    """The small published model, with a temperature at which gradients are not all rounding."""
    return BioJepaConfig.tiny(faithful=True, fusion_dropout=0.0, tau=0.2, beta_nll=0.5)


@pytest.fixture(scope="session")
def repaired():
    """The small repaired model, which learns from pairs: what both forms can be compared on."""
    return BioJepaConfig.tiny(fusion_dropout=0.0, objective="pairs")


@pytest.fixture(scope="session")
def parts():
    """cfg -> every part, moved off its initial values; `teacher` differs from `encoder`."""
    made = {}

    def get(cfg):
        if cfg not in made:
            previous = {}
            for stage in STAGES:
                params, frozen = init_stage(stage, cfg, 0, previous)
                previous |= params | ({"teacher": frozen["teacher"]} if "teacher" in frozen else {})
            made[cfg] = {name: jolt(tree, at) for at, (name, tree) in enumerate(sorted(previous.items()))}
        return made[cfg]

    return get


@pytest.fixture(scope="session")
def fitted(faithful, repaired, parts):
    """Faithful or not -> a model with three targets in its bank, the last without a sequence."""
    rng = np.random.default_rng(0)
    x_ng = (rng.gamma(1, 2, (5, faithful.n_genes)) * (rng.random((5, faithful.n_genes)) > 0.6)).astype(np.float32)
    cells = ControlCells(("line",), np.zeros(5, int), x_ng, rng.normal(8, 1, 5).astype(np.float32))
    bank = ActionBank(
        source="random",
        entities=("A", "B", "C"),
        seq_es=rng.normal(size=(3, faithful.seq_width)).astype(np.float32),
        modality_e=np.zeros(3, np.int32),
        has_seq_e=np.array([True, True, False]),
        target_et=rng.normal(size=(3, faithful.target_width)).astype(np.float32),
        has_target_e=np.ones(3, bool),
    )
    return {cfg.faithful: FittedBioJepa(cfg, parts(cfg), (), None, cells, bank) for cfg in (faithful, repaired)}


@pytest.fixture(scope="session")
def twin():
    """The torch twin."""
    spec = importlib.util.spec_from_file_location("torch_twin", Path(__file__).parent / "torch_twin.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make_batch():
    """Makes batches."""
    return make


@pytest.fixture(scope="session")
def quick_jit():
    """Compiles with little optimisation: tests compile much and compute little."""
    return partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
