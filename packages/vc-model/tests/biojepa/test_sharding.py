"""Genes spread over devices: the numbers stay, and attention exchanges its state and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from jax.sharding import PartitionSpec
from vc_model.train.rules import RULES, constrain


@pytest.fixture(scope="module")
def report():
    """What eight fake devices, two along cells and four along genes, compute and exchange."""
    child = Path(__file__).with_name("sharded_block.py")
    done = subprocess.run([sys.executable, child], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_eight_devices_give_the_latents_of_one(report):
    assert report["devices"] == 8
    assert report["difference"] < 1e-5


def test_no_genes_are_gathered_and_only_the_state_is_reduced(report):
    # One exchange in the scanned block: state and normaliser of the two cells that a device holds.
    assert report["exchanged"] == [["all-reduce", 2 * report["state"]]]


def test_table_of_axes():
    assert RULES.spec(("batch", "gene", "width")) == PartitionSpec(("data", "fsdp"), ("gene",), None)
    with pytest.raises(ValueError, match="would all be cut along"):
        RULES.spec(("batch", "batch"))
    x = object()
    assert constrain(x, "batch") is x
