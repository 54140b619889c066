import importlib.util
from pathlib import Path

import pytest


@pytest.fixture
def torch_mapper():
    """The torch twin."""
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("torch_mapper", Path(__file__).parent / "torch_twin.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.TorchMapper
