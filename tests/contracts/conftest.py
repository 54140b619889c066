import sys
from pathlib import Path

import numpy as np
import pytest

# The corpus is a script too, so it is imported from its folder rather than as part of a package.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory, worker_id) -> Path:
    """The files of every contract, made once for all test processes."""
    from filelock import FileLock
    from make_corpus import make_corpus

    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    with FileLock(shared / "corpus.lock"):
        if not (shared / "corpus.whole").exists():
            make_corpus(shared / "corpus")
            (shared / "corpus.whole").touch()
    return shared / "corpus"


@pytest.fixture(scope="session")
def world():
    """Training effects and held-out conditions of a few targets over 20 genes."""
    from vc_model.testing import make_world

    return make_world(n_train=24, n_test=6, n_genes=20, seed=0)


@pytest.fixture(scope="session")
def biojepa(world):
    """A BioJEPA of one thin layer whose weights were drawn, not trained, on that world."""
    import jax
    from vc_model.biojepa.actions import make_action_bank
    from vc_model.biojepa.config import STAGES, BioJepaConfig
    from vc_model.biojepa.fitted import FittedBioJepa, with_spread
    from vc_model.biojepa.stages import init_stage
    from vc_model.table.pseudobulk import ControlCells

    config = BioJepaConfig.tiny(n_genes=20, n_layers=1, target_width=64)
    parts = {}
    for stage in STAGES:
        params, frozen = init_stage(stage, config, 0, parts)
        parts |= params | {name: tree for name, tree in frozen.items() if name == "teacher"}
    rng = np.random.default_rng(0)
    # Fresh weights predict no change.
    parts = jax.tree.map(lambda leaf: leaf + 0.1 * rng.standard_normal(leaf.shape).astype(np.float32), parts)
    x_ng, total_n = rng.gamma(1, 1, (3, 20)).astype(np.float32), rng.normal(8, 1, 3).astype(np.float32)
    bank = make_action_bank(
        world.train,
        [target for action in world.test.actions for target in action.targets],
        seq_width=config.seq_width,
        target_width=config.target_width,
        modality_widths=config.modality_widths,
    )
    cells = ControlCells(("A",), np.zeros(3, int), x_ng, total_n)
    parts = jax.tree.map(np.asarray, parts)
    return with_spread(FittedBioJepa(config, parts, STAGES, world.train.contexts, cells, bank), world.train)
