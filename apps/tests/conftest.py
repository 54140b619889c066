"""One tiny simulated screen and one fitted model for every test."""

from pathlib import Path

import pytest
from vc_apps.cli import main


@pytest.fixture(scope="session")
def screen(tmp_path_factory) -> Path:
    from vc_data.testing import small_screen

    sizes = {
        "n_genes": 80,
        "n_singles": 16,
        "n_pairs": 3,
        "cells_per_condition": 30,
        "controls_per_line": 80,
        "n_batches": 2,
    }
    return small_screen(tmp_path_factory.mktemp("screen"), **sizes, depth_median=3000.0)


@pytest.fixture(scope="session")
def model(screen, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("model") / "model"
    assert main(["-q", "fit", str(screen), "-o", str(out), "--model", "kernel_ridge"]) == 0
    return out
