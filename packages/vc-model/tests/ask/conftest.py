import pytest
from vc_model.ask.memory import make_memory
from vc_model.ask.model import AskModel
from vc_model.checkpoint import save_checkpoint
from vc_model.models import make_model
from vc_model.testing import make_world


@pytest.fixture(scope="session")
def world():
    return make_world(n_train=30, n_test=8, n_genes=60, n_combos=10, lines=("A", "B"), seed=1)


@pytest.fixture(scope="session")
def model(world):
    fitted = make_model("kernel_ridge").fit(world.train)
    return AskModel(fitted, make_memory(world.train, fitted))


@pytest.fixture(scope="session")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("ask") / "model"
    save_checkpoint(path, model.fitted, memory=model.memory)
    return path
