"""Batches brought by torch's workers, and taken by JAX, are those of the loader."""

import pickle

import numpy as np
import pytest
from vc_data.loader import Loader, LoaderError, LoaderSteps
from vc_data.testing import small_screen

SETTINGS = {"mode": "cells", "batch_size": 64, "seed": 3, "epochs": 1}


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    return small_screen(folder, n_singles=6, n_pairs=1, cells_per_condition=20, controls_per_line=40)


@pytest.fixture(scope="module")
def expected(screen):
    return [{key: np.array(value) for key, value in batch.items()} for batch in Loader.open([screen], **SETTINGS)]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # as many workers on any machine
def test_torch_workers_bring_the_same_batches(screen, expected):
    data = pytest.importorskip("torch.utils.data")
    steps = LoaderSteps([screen], **SETTINGS)
    found = list(data.DataLoader(steps, batch_size=None, num_workers=2, multiprocessing_context="spawn"))
    assert len(found) == len(expected) > 2
    for batch, wanted in zip(found, expected, strict=True):
        for key, value in wanted.items():
            np.testing.assert_array_equal(batch[key].numpy(), value)


def test_a_forked_worker_says_what_to_do_instead(screen, monkeypatch):
    steps = LoaderSteps([screen], **SETTINGS)
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(LoaderError, match="spawn"):
        steps[0]
    assert len(pickle.loads(pickle.dumps(steps))[0]["x"]) == 64, "a spawned one opens the screens for itself"


def test_jax_arrays_stay_as_they_are_while_batches_go_on(screen, expected):
    jax = pytest.importorskip("jax")
    held = [jax.device_put(batch["x"]) for batch in Loader.open([screen], **SETTINGS)]
    for array, wanted in zip(held, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(array), wanted["x"])


def test_what_travels_is_small_and_an_end_is_needed(screen):
    steps = LoaderSteps([screen], **SETTINGS)
    assert len(pickle.dumps(steps)) < 2000
    with pytest.raises(ValueError, match="epochs"):
        LoaderSteps([screen], mode="cells")
